import { isServed } from '../balance/assign.js';
import { FULL_CHAIN } from '../balance/nft/memory.js';
import { packetsCounted } from '../kernel/real/nft-counters.js';
import { NFT_TABLE } from '../kernel/real/nft-port.js';
import type { Spaces } from '../kernel/real/spaces.js';
import { nameOf, type Stored, type Wish } from '../model/registry.js';
import { type BalancerChoice, familiesOf, isHere, networkNs } from '../network/world.js';

/** How full the memory of flows is in a network that balancer nft serves. */
export type FlowMemory = { network: string } & (
  | { entries: number; limit: number }
  /** Packets of new flows for which dynamic sets had no room, since the network's balancer was made. */
  | { unremembered: number }
);

const COUNT = 'net/netfilter/nf_conntrack_count';
const LIMIT = 'net/netfilter/nf_conntrack_max';
/** From this share of the limit on it is worth a word. */
const NEARLY_FULL = 0.9;

/** Of every such network of this node; IPVS has no limit but the kernel's memory. @throws WEFT_NETLINK */
export async function flowMemories(spaces: Spaces, wish: Wish, balancer: BalancerChoice): Promise<FlowMemory[]> {
  if (balancer.name !== 'nft') return [];
  const served = [...wish.networks.values()].filter((network) => isHere({ wish }, network) && isServed(wish, network));
  const found = await Promise.all(
    served.map((network) => (balancer.bridgeConntrack ? tracked(spaces, network) : inSets(spaces, network))),
  );
  return found.filter((memory) => memory !== undefined);
}

/** Connection tracking counts each namespace for itself, but the limit is the host's. */
async function tracked(spaces: Spaces, { id }: Stored<'networks'>): Promise<FlowMemory | undefined> {
  const space = spaces.open(networkNs(id));
  const [entries, limit] = space?.native.sysctlRead(space.fd, [COUNT, LIMIT]).map(Number) ?? [];
  return entries === undefined || !limit ? undefined : { network: id, entries, limit };
}

async function inSets(spaces: Spaces, network: Stored<'networks'>): Promise<FlowMemory> {
  let unremembered = 0;
  for (const of of familiesOf(network)) {
    const chain = { family: 'bridge', table: NFT_TABLE, chain: `${FULL_CHAIN}${of}` } as const;
    unremembered += await packetsCounted(spaces, networkNs(network.id), chain);
  }
  return { network: network.id, unremembered };
}

/** What `weft status` warns of. */
export function memoryWarnings(memories: readonly FlowMemory[]): { object: string; message: string }[] {
  return memories.flatMap((memory) => {
    const object = nameOf({ table: 'networks', id: memory.network });
    if ('unremembered' in memory) {
      const { unremembered } = memory;
      return unremembered === 0 ? [] : [{ object, message: `flow memory was full for ${unremembered} packets` }];
    }
    const { entries, limit } = memory;
    return entries < NEARLY_FULL * limit ? [] : [{ object, message: `flow memory has ${entries} of ${limit} entries` }];
  });
}
