import { contains, parseCidr } from '../base/cidr.js';
import { canonicalIp } from '../base/ip.js';
import type { Stored, Wish } from '../model/registry.js';
import { servicesOf } from '../model/serving.js';
import type { Change } from './affected.js';
import type { Giver } from './name-gifts.js';
import { endpointsOf, namedNetworks, servicesOn } from './on-network.js';

/** What the resolver is told about a sandbox. */
export interface SandboxNames {
  /** Path of its network namespace. */
  netns: string;
  /** In the order of connection. */
  networks: string[];
  dns?: string[];
  split?: Record<string, string[]>;
  /** Those of `dns` and `split` that are asked from its namespace. */
  inside?: string[];
}

/** @param netns path at which the resolver finds the sandbox's namespace */
export function sandboxNames(wish: Wish, sandbox: Stored<'sandboxes'>, netns: string): SandboxNames {
  const networks = endpointsOf(wish, sandbox.id).map(({ spec }) => spec.network);
  const { dns, dnsSplit: split } = sandbox.spec;
  const inside = [...new Set([dns, ...Object.values(split)].flat())].filter((server) =>
    isInside(wish, sandbox, server),
  );
  return {
    netns,
    networks,
    ...(dns.length > 0 && { dns }),
    ...(Object.keys(split).length > 0 && { split }),
    ...(inside.length > 0 && { inside }),
  };
}

/** Is a name server to be asked from the sandbox's namespace? One on its networks is reached from nowhere else. */
function isInside(wish: Wish, sandbox: Stored<'sandboxes'>, server: string): boolean {
  const { dnsFrom } = sandbox.spec;
  if (dnsFrom !== 'auto') return dnsFrom === 'sandbox';
  const [address = ''] = server.split('#');
  const networks = endpointsOf(wish, sandbox.id).map(({ spec }) => wish.networks.get(spec.network)?.spec);
  return networks.some((network) =>
    network?.subnets.some((subnet) => contains(parseCidr(subnet), canonicalIp(address))),
  );
}

/** Entries of the view that changes of the wish may have altered. */
export class AffectedNames {
  /** As a whole. */
  readonly networks = new Set<string>();
  /** By network, whose names there are perhaps others, by `TABLE/ID`. */
  readonly givers = new Map<string, Map<string, Giver>>();
  readonly sandboxes = new Set<string>();

  get isEmpty(): boolean {
    return this.networks.size + this.givers.size + this.sandboxes.size === 0;
  }

  giver(network: string, { table, id }: Giver): void {
    const there = this.givers.get(network) ?? new Map();
    this.givers.set(network, there.set(`${table}/${id}`, { table, id }));
  }

  add(other: AffectedNames): void {
    for (const name of other.networks) this.networks.add(name);
    for (const [network, givers] of other.givers) for (const giver of givers.values()) this.giver(network, giver);
    for (const name of other.sandboxes) this.sandboxes.add(name);
  }

  clear(): void {
    for (const memory of [this.networks, this.givers, this.sandboxes]) memory.clear();
  }
}

/** @param before the wish as it was, for what is gone from it or has moved */
export function affectedNames(changes: readonly Change[], before: Wish, after: Wish): AffectedNames {
  const affected = new AffectedNames();
  for (const change of changes) for (const wish of [before, after]) AFFECTS[change.table](wish, change.id, affected);
  return affected;
}

const AFFECTS: { [T in Change['table']]: (wish: Wish, id: string, affected: AffectedNames) => void } = {
  networks: (_wish, id, { networks }) => void networks.add(id),
  sandboxes(wish, id, affected) {
    affected.sandboxes.add(id);
    // Its host name is a name there.
    for (const endpoint of endpointsOf(wish, id)) affected.giver(endpoint.spec.network, giver(endpoint));
  },
  endpoints(wish, id, affected) {
    const endpoint = wish.endpoints.get(id);
    if (!endpoint) return;
    affected.sandboxes.add(endpoint.spec.sandbox);
    backend(endpoint, affected);
  },
  services(wish, id, affected) {
    for (const network of wish.services.get(id)?.spec.networks ?? [])
      affected.giver(network, { table: 'services', id });
  },
  // Whether it is alive decides about backends on any network.
  nodes(wish, _id, affected) {
    for (const network of namedNetworks(wish).keys())
      for (const { id } of servicesOn(wish, network)) affected.giver(network, { table: 'services', id });
  },
  peers(wish, id, affected) {
    const peer = wish.peers.get(id);
    if (peer) backend(peer, affected);
  },
};

const giver = ({ table, id }: Stored<'endpoints'> | Stored<'peers'>): Giver => ({ table, id });

/** Its own names, and those of the services that it serves. */
function backend(stored: Stored<'endpoints'> | Stored<'peers'>, affected: AffectedNames): void {
  const { network } = stored.spec;
  affected.giver(network, giver(stored));
  for (const id of servicesOf(stored.spec)) affected.giver(network, { table: 'services', id });
}
