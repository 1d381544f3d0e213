import type { Stored } from '../model/registry.js';
import type { Ns } from '../objects/kind.js';
import type { Wants, World } from './world.js';

/** An interface, and everybody who hears what is sent out of it. */
export interface Segment {
  ns: Ns;
  dev: string;
}

/**
 * A network driver turns the wish into kernel objects. Pure: no I/O, the same world gives the same objects.
 * A new driver is a folder with one of these and a line in the registry.
 */
export interface NetworkDriver {
  /** The network itself: namespace, bridge, tunnel. */
  network(world: World, network: Stored<'networks'>, wants: Wants): void;
  /** An endpoint of a sandbox of this node. */
  endpoint(world: World, network: Stored<'networks'>, endpoint: Stored<'endpoints'>, wants: Wants): void;
  /** Where the neighbours of an endpoint here hear announcements of its addresses; missing where nobody caches them. */
  segment?(world: World, network: Stored<'networks'>, endpoint: Stored<'endpoints'>): Segment;
  /** An endpoint on another node; networks of one node have none. */
  peer?(world: World, network: Stored<'networks'>, peer: Stored<'peers'>, wants: Wants): void;
  /** Another node that has an address of its own on this network (ingress). */
  node?(world: World, network: Stored<'networks'>, node: Stored<'nodes'>, wants: Wants): void;
}
