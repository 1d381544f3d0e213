import { type Endpoint, endpointBody } from './endpoint.js';
import { type Network, networkBody } from './network.js';
import { type Node, nodeBody } from './node.js';
import { type Peer, peerBody } from './peer.js';
import { type Sandbox, sandboxBody } from './sandbox.js';
import { type Service, serviceBody } from './service.js';

/** The nouns of the API: plural in paths and gossip tables, with the schema of their PUT body. */
export const BODIES = {
  networks: networkBody,
  sandboxes: sandboxBody,
  endpoints: endpointBody,
  services: serviceBody,
  nodes: nodeBody,
  peers: peerBody,
} as const;

export interface Specs {
  networks: Network;
  sandboxes: Sandbox;
  endpoints: Endpoint;
  services: Service;
  nodes: Node;
  peers: Peer;
}

export type Table = keyof Specs;
export const TABLES = Object.keys(BODIES) as Table[];

/** The singular, as objects of the wish are named in statuses and aliases: `network/app`. */
export const SINGULAR: { [T in Table]: string } = {
  networks: 'network',
  sandboxes: 'sandbox',
  endpoints: 'endpoint',
  services: 'service',
  nodes: 'node',
  peers: 'peer',
};

/** api: asked for over the socket; gossip: spread by the control plane; store: from the cluster store. */
export type Origin = 'api' | 'gossip' | 'store';

/** A backend is taken out of balancing, whatever its own state says. */
export interface Drain {
  /** Milliseconds since 1970; until then its connections may end. */
  until: number;
  /** The time is up: it is no backend any more, and what connections are left are cut. */
  over?: true;
  /** Only as a backend of these; of every service that it serves when not given. */
  services?: readonly string[];
}

/** An object of the wish with its bookkeeping. */
export interface Stored<T extends Table = Table> {
  table: T;
  id: string;
  origin: Origin;
  /** Revision of the wish at which it last changed. */
  revision: number;
  spec: Specs[T];
  /** Gossip rows only: who hosts it, and the Lamport time of the row. */
  node?: string;
  ltime?: number;
  /** Endpoints and peers only; it stays when the object is stated anew. */
  drain?: Drain;
  /** Endpoints of this node only: its own probes fail (health of the service), whatever `spec.state` says. */
  unhealthy?: true;
}

/** An immutable reading of the whole wish. */
export interface Wish {
  readonly revision: number;
  readonly networks: ReadonlyMap<string, Stored<'networks'>>;
  readonly sandboxes: ReadonlyMap<string, Stored<'sandboxes'>>;
  readonly endpoints: ReadonlyMap<string, Stored<'endpoints'>>;
  readonly services: ReadonlyMap<string, Stored<'services'>>;
  readonly nodes: ReadonlyMap<string, Stored<'nodes'>>;
  readonly peers: ReadonlyMap<string, Stored<'peers'>>;
}

/** In one piece: a template leaves a chain of pieces, and an agent keeps one name for each of its peers. */
export const nameOf = (o: { table: Table; id: string }): string => [SINGULAR[o.table], o.id].join('/');
