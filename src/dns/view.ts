import type { Prefix } from '../base/cidr.js';
import type { Ip } from '../base/ip.js';
import type { Rdata } from './record.js';
import type { Served } from './served.js';
import type { Server } from './server-address.js';

/**
 * Seconds for which our own answers may be kept, when nothing else is said. Docker says 600, and whatever caches then
 * holds a stopped task's address for ten minutes; 0 makes some stub resolvers ask for every connection. Five seconds is
 * about what a drain lasts.
 */
export const LOCAL_TTL = 5;

/**
 * What the resolver knows, as the agent last said. Never changed in place: a patch makes a new view that shares the
 * entries it does not name. Maps, not plain objects: clients choose the keys that are looked up (`constructor`).
 */
export interface View {
  revision: number;
  /** Seconds for which answers from the view may be kept. */
  ttl: number;
  /** File to which a line is written for each query. */
  queryLog?: string;
  /** The node's own name servers, in the order to try them. */
  upstreams: readonly Server[];
  split: Split;
  sandboxes: ReadonlyMap<string, SandboxView>;
  networks: ReadonlyMap<string, NetworkView>;
}

/** By domain in lower case, without final dot: who is asked for names there and below. */
export type Split = ReadonlyMap<string, readonly Server[]>;

export interface SandboxView {
  /** Path of the network namespace. */
  netns: string;
  /** Names of its networks, in the order of connection. */
  networks: readonly string[];
  /** Name servers of its own, instead of the node's. */
  servers: readonly Server[] | undefined;
  /** Over the view's. */
  split: Split;
  /**
   * Of an earlier resolver's sockets. Rules lead there, and so do tracked flows: a client that keeps its port would be
   * sent to the old ports for as long as it asks.
   */
  ports?: { udp: number; tcp: number };
}

export interface NetworkView {
  /** No way out: nothing is forwarded for a sandbox that has only such networks. */
  internal: boolean;
  /** The ingress network carries published ports; its addresses are no names' addresses. */
  ingress: boolean;
  /** Whose addresses nobody else names: they are never asked for elsewhere. */
  subnets: readonly Prefix[];
  /** By name in lower case, without final dot. */
  names: ReadonlyMap<string, NameEntry>;
  /** By address, the whole name it belongs to. */
  pointers: ReadonlyMap<Ip, string>;
}

/** Addresses packed in network order, 4 and 16 bytes each: the bytes of the answers, a tenth of the memory of strings. */
export interface NameEntry {
  a: Uint8Array;
  aaaa: Uint8Array;
  /** Of `tasks.SERVICE`; several where services share the name. Their addresses are in `a` and `aaaa` too. */
  served?: readonly Served[];
  txt?: readonly Rdata[];
}

export const EMPTY_VIEW: View = {
  revision: 0,
  ttl: LOCAL_TTL,
  upstreams: [],
  split: new Map(),
  sandboxes: new Map(),
  networks: new Map(),
};
