import { bitsAre, drop, meta, startsWith } from '../codec/nft/build.js';
import { NODE_NS } from '../objects/kind.js';
import { TableWriter } from './bridge-table.js';
import { GATEWAY_ENDS } from './names.js';
import type { Wants } from './world.js';

/** "Translated to a published port's sandbox": one bit of a packet's mark in the node's namespace (design.md section 3). */
export const TRANSLATED_BIT = 0x04000000;
/** After the rules of the IP layer, which br_netfilter runs at -1 (NF_BR_PRI_BRNF - 1). */
const FENCE = 10;

/**
 * Containers do not reach each other through the gateway bridge: networks keep them apart. Isolated ports would do, but
 * not where br_netfilter is on: it sends what was translated to a neighbour over the bridge, from port to port, and that
 * is how a container reaches a published port of its own node.
 */
export function gatewayFence(wants: Wants): void {
  const w = new TableWriter(NODE_NS, wants, 'gateway bridge');
  w.table();
  const across = [startsWith(meta.iifname, GATEWAY_ENDS), startsWith(meta.oifname, GATEWAY_ENDS)];
  w.chain('gateway', [[...across, bitsAre(meta.mark, TRANSLATED_BIT, 0), drop]], { hook: 'forward', priority: FENCE });
}
