import { packetsCounted } from '../kernel/real/nft-counters.js';
import { NFT_TABLE } from '../kernel/real/nft-port.js';
import type { Spaces } from '../kernel/real/spaces.js';
import { GUARD_CHAIN } from '../network/guard.js';
import { NODE_NS } from '../objects/kind.js';

/** Whether frames that arrive at the data path port are checked, and how many were dropped since the node came up. */
export type GuardState = { on: true; dropped: number } | { on: false; reason: string; hint: string };

export async function guardState(spaces: Spaces, nftInet: boolean): Promise<GuardState> {
  if (!nftInet) {
    const reason =
      'the kernel has no nf_tables of family inet: whoever reaches the data path port can send on any network';
    return { on: false, reason, hint: 'use a kernel with CONFIG_NF_TABLES_INET, or let only nodes reach that port' };
  }
  const chain = { family: 'inet', table: NFT_TABLE, chain: GUARD_CHAIN } as const;
  return { on: true, dropped: await packetsCounted(spaces, NODE_NS, chain) };
}
