import type { Family, Ip, Mac } from '../base/ip.js';
import type { Stored } from '../model/registry.js';
import type { Wants, World } from '../network/world.js';
import type { Backend, Frontend } from './backends.js';

/** A namespace in which a balancer works, and how frames for it look. */
export interface Arena {
  /** Namespace of the network. */
  ns: string;
  families: readonly Family[];
  /** Frames for a VIP are addressed to the bridge. */
  bridge: Mac;
  /** The ingress network: frontends are this node's address, protocol and port instead of a VIP. */
  ingress: boolean;
}

/** What a service asks of a balancer in one arena and family. */
export interface Assignment {
  service: Stored<'services'>;
  network: string;
  family: Family;
  frontends: readonly Frontend[];
  backends: readonly Backend[];
}

/**
 * A load balancer chooses the destination MAC of frames to a VIP; the IP header stays as the client wrote it. Pure.
 * A new balancer is a folder with one of these and a line in the registry.
 */
export interface Balancer {
  /** What an arena has whatever its services: tables, chains, maps. */
  arena(world: World, arena: Arena, wants: Wants): void;
  /** A service in an arena. Without backends nothing is marked or mapped: the bridge's own stack refuses at once. */
  service(world: World, arena: Arena, assignment: Assignment, wants: Wants): void;
  /** An endpoint of this node that may be a client. */
  client(world: World, arena: Arena, mac: Mac, wants: Wants): void;
  /** This node's ingress address: replies that bear it are a client's. */
  ingress(world: World, arena: Arena, own: Ip, leg: Mac, wants: Wants): void;
}
