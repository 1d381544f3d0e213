import { isLocalScope } from '../model/network.js';
import type { Stored, Wish } from '../model/registry.js';
import { poolUse } from '../state/pools.js';

/** What uses a network. */
interface Users {
  endpoints: Stored<'endpoints'>[];
  services: string[];
  peers: number;
}

const usersCache = new WeakMap<Wish, ReadonlyMap<string, Users>>();

/** What uses each network; made once for each reading of the wish. */
function usersOf(wish: Wish, network: string): Users {
  let users = usersCache.get(wish);
  if (!users) {
    const made = new Map<string, Users>();
    const of = (id: string): Users => {
      const found = made.get(id) ?? { endpoints: [], services: [], peers: 0 };
      made.set(id, found);
      return found;
    };
    for (const endpoint of wish.endpoints.values()) of(endpoint.spec.network).endpoints.push(endpoint);
    for (const service of wish.services.values())
      for (const id of service.spec.networks) of(id).services.push(service.id);
    for (const peer of wish.peers.values()) of(peer.spec.network).peers++;
    users = made;
    usersCache.set(wish, users);
  }
  return users.get(network) ?? { endpoints: [], services: [], peers: 0 };
}

/** Whether a network is of this node alone, and how many use it, as listings show it. */
export function networkCounts(wish: Wish, network: Stored<'networks'>): Record<string, unknown> {
  const { endpoints, services, peers } = usersOf(wish, network.id);
  const scope = isLocalScope(network.spec.driver) ? 'local' : 'global';
  return { scope, counts: { endpoints: endpoints.length, services: services.length, peers } };
}

/** Who uses a network, and how much of its addresses is used. */
export function networkDetail(wish: Wish, network: Stored<'networks'>): Record<string, unknown> {
  const { endpoints, services } = usersOf(wish, network.id);
  return {
    ...networkCounts(wish, network),
    endpoints: endpoints.map(({ id, spec: { addresses, mac } }) => ({ id, addresses, mac })),
    services,
    pools: poolUse(wish, network),
  };
}
