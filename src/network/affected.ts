import { isServed } from '../balance/assign.js';
import { sameJson } from '../base/same.js';
import { holdersOf } from '../model/holders.js';
import { meshPorts } from '../model/published.js';
import { nameOf, type Stored, type Table, type Wish } from '../model/registry.js';
import { serves, servicesOf } from '../model/serving.js';
import { networksWithOtherHosts } from './hosts.js';
import { endpointsOf, endpointsOn } from './on-network.js';
import { isBroadcast } from './overlay/broadcast.js';
import { isHere } from './world.js';

/** An object of the wish that changed. */
export interface Change {
  table: Table;
  id: string;
}

/** Producers that are no objects of the wish: the node's own, and what was measured of the underlay, not asked for. */
export const NODE_PRODUCER = 'node';
export const PATHS_PRODUCER = 'paths';

/**
 * Which producers a batch of changes concerns. A peer stands alone but for the service it serves, a network that
 * broadcasts, and one that gets the first peer of a node or loses the last, so that one more among 10,000 costs two
 * producers; a sandbox or endpoint concerns what it is made of, its network and the node, so that one more among hundreds
 * does not cost hundreds; a service concerns its tasks here, the first and last with a VIP its network, and one that
 * publishes ports the node and who gains or loses some by that. Anything else that others refer to (a network, a node's
 * being alive) concerns all.
 */
export function affected(changes: readonly Change[], before: Wish, after: Wish): readonly string[] | 'all' {
  const out = new Set<string>();
  for (const change of changes) {
    const concerns = CONCERNS[change.table];
    if (!concerns) return 'all';
    out.add(nameOf(change));
    for (const wish of [before, after]) for (const name of concerns(wish, change.id)) out.add(name);
    if (change.table === 'endpoints') for (const name of claimants(change.id, before, after)) out.add(name);
    const network = change.table === 'endpoints' ? networkOf(change.id) : undefined;
    if (network !== undefined && carries(before, network) !== carries(after, network)) return 'all';
  }
  const peers = changes.filter(({ table }) => table === 'peers').map(({ id }) => id);
  for (const id of networksWithOtherHosts(peers, before, after)) out.add(nameOf({ table: 'networks', id }));
  if (changes.some(({ table }) => table === 'services'))
    for (const name of [...balanced(before, after), ...publishing(before, after)]) out.add(name);
  return [...out];
}

const CONCERNS: Partial<Record<Table, (wish: Wish, id: string) => string[]>> = {
  peers: (wish, id) => [...servedBy(wish.peers.get(id)), ...hostedBy(wish, wish.peers.get(id))],
  sandboxes: (wish, id) => [NODE_PRODUCER, ...within(wish, id)],
  endpoints(wish, id) {
    const stored = wish.endpoints.get(id);
    if (!stored) return [];
    const { sandbox, network } = stored.spec;
    const place = [nameOf({ table: 'sandboxes', id: sandbox }), nameOf({ table: 'networks', id: network })];
    // Which of its interfaces gives the default route is decided among all of a sandbox's.
    return [NODE_PRODUCER, ...place, ...within(wish, sandbox), ...servedBy(stored)];
  },
  services(wish, id) {
    const tasks = [...wish.endpoints.values()].filter(({ spec }) => serves(spec, id));
    const places = tasks.map(({ spec }) => nameOf({ table: 'sandboxes', id: spec.sandbox }));
    return wish.services.get(id)?.spec.publish.length ? [NODE_PRODUCER, ...places] : places;
  },
};

/** Networks that begin or end to be balanced, and who is a client there. */
function balanced(before: Wish, after: Wish): string[] {
  const other = [...after.networks.values()].filter(
    (network) => isServed(before, network) !== isServed(after, network),
  );
  return other.flatMap((network) => [nameOf(network), ...endpointsOn(after, network.id).map(nameOf)]);
}

/** Services that have other ports of the mesh here: what one publishes, another with the same may lose. */
function publishing(before: Wish, after: Wish): string[] {
  const [was, is] = [meshPorts(before), meshPorts(after)];
  const services = new Set([...was.keys(), ...is.keys()]);
  return [...services]
    .filter((id) => !sameJson(was.get(id), is.get(id)))
    .map((id) => nameOf({ table: 'services', id }));
}

const within = (wish: Wish, sandbox: string): string[] => endpointsOf(wish, sandbox).map(nameOf);

/** Peers with an address that the endpoint has, or had. Peers that come or go with the same change are in it themselves. */
function claimants(endpoint: string, before: Wish, after: Wish): string[] {
  return [before, after].flatMap((wish) => {
    const { network, addresses } = wish.endpoints.get(endpoint)?.spec ?? {};
    if (network === undefined || addresses === undefined) return [];
    const holders = addresses.flatMap((ip) => holdersOf(after, network).of(ip));
    return holders.filter(({ table }) => table === 'peers').map(nameOf);
  });
}

const servedBy = (stored: Stored<'peers'> | Stored<'endpoints'> | undefined): string[] =>
  servicesOf(stored?.spec ?? {}).map((id) => nameOf({ table: 'services', id }));

/** Its node may be the first or last of the hosts that get a network's broadcasts. */
function hostedBy(wish: Wish, peer: Stored<'peers'> | undefined): string[] {
  const network = peer && wish.networks.get(peer.spec.network);
  return network && isBroadcast(network) ? [nameOf(network)] : [];
}

const networkOf = (endpoint: string): string => endpoint.slice(endpoint.indexOf(':') + 1);

/** Does the node carry the network? All that is said of a network elsewhere depends on it. */
function carries(wish: Wish, id: string): boolean {
  const network = wish.networks.get(id);
  return network !== undefined && isHere({ wish }, network);
}
