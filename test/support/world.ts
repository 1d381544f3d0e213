import type { Wish } from '../../src/model/registry.js';
import type { World } from '../../src/network/world.js';
import { SELF } from './store.js';

/** The world of a node that stands alone, with every means; numbers are those that were asked for first. */
export function plainWorld(wish: Wish, more: Partial<World> = {}): World {
  return {
    wish,
    self: { ...SELF, dataPathPort: 4789, addresses: { 4: SELF.vtep } },
    underlayMtu: 1500,
    smallPaths: new Map(),
    balancer: { name: 'nft', bridgeConntrack: false, hash: true },
    nftInet: true,
    gateway: { 4: { subnet: '172.31.0.0/16', address: '172.31.0.1' } },
    number: (_space, _name, first) => first,
    resolverPorts: () => undefined,
    chosenPort: () => undefined,
    ...more,
  };
}
