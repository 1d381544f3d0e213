import type { Ip } from '../base/ip.js';
import type { Stored, Wish } from '../model/registry.js';
import { WishIndex } from '../model/wish-index.js';

/** Where peers of a network are said to be: `VTEP NODE`, and how many are. */
type Hosts = Map<string, number>;

const hostOf = ({ node, spec }: Stored<'peers'>): string => (node === undefined ? spec.vtep : `${spec.vtep} ${node}`);

const count = (networks: Map<string, Hosts>, peer: Stored<'peers'>, by: 1 | -1): void => {
  const { network } = peer.spec;
  const hosts: Hosts = networks.get(network) ?? new Map();
  const host = hostOf(peer);
  const left = (hosts.get(host) ?? 0) + by;
  if (left > 0) hosts.set(host, left);
  else hosts.delete(host);
  if (hosts.size > 0) networks.set(network, hosts);
  else networks.delete(network);
};

/** By network. */
const hosts = new WishIndex<Map<string, Hosts>>(
  ['peers'],
  () => new Map(),
  (networks, stored) => count(networks, stored as Stored<'peers'>, 1),
  (networks, stored) => count(networks, stored as Stored<'peers'>, -1),
);

/**
 * VTEPs of the nodes that host peers of a network, sorted. Where a node's row and its peers' differ, as they do for a moment when it
 * returns with another underlay address, both count.
 */
export function hostVteps(wish: Wish, network: string): Ip[] {
  const out = new Set<Ip>();
  for (const host of hosts.of(wish).get(network)?.keys() ?? []) {
    const [vtep, node] = host.split(' ') as [Ip, string | undefined];
    out.add(vtep);
    const said = node === undefined ? undefined : wish.nodes.get(node)?.spec.vtep;
    if (said !== undefined) out.add(said);
  }
  return [...out].sort();
}

/** Networks that have other hosts after changes of these peers: one more peer on a node that hosts some is no such change. */
export function networksWithOtherHosts(peers: Iterable<string>, before: Wish, after: Wish): string[] {
  const changes = new Map<string, Hosts>();
  for (const id of new Set(peers)) {
    const [was, is] = [before.peers.get(id), after.peers.get(id)];
    for (const [peer, by] of [[was, -1] as const, [is, 1] as const]) {
      if (!peer) continue;
      const there: Hosts = changes.get(peer.spec.network) ?? new Map();
      changes.set(peer.spec.network, there.set(hostOf(peer), (there.get(hostOf(peer)) ?? 0) + by));
    }
  }
  return [...changes].flatMap(([network, there]) => {
    // Of the reading before only the rows are asked for: its indexes have been handed on.
    const now = hosts.of(after).get(network);
    const other = [...there].some(([host, by]) => {
      const left = now?.get(host) ?? 0;
      return left > 0 !== left - by > 0;
    });
    return other ? [network] : [];
  });
}
