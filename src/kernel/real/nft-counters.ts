import { NETLINK_NETFILTER } from '../../codec/netlink.js';
import type { ChainRef } from '../../codec/nft/chain.js';
import { getRules, readRule } from '../../codec/nft/rule.js';
import type { Ns } from '../../objects/kind.js';
import type { Spaces } from './spaces.js';

/** Packets that the `counter` statements of a chain have seen, 0 where there is no such chain. @throws WEFT_NETLINK */
export async function packetsCounted(spaces: Spaces, ns: Ns, chain: ChainRef): Promise<number> {
  const socket = spaces.open(ns)?.socket(NETLINK_NETFILTER);
  const rules = (await socket?.exchange((w, seq) => w.raw(getRules(seq, chain)), true)) ?? [];
  const exprs = rules.map(readRule).flatMap((rule) => rule.exprs);
  return exprs.reduce((sum, expr) => sum + (expr.expr === 'counter' ? Number(expr.packets) : 0), 0);
}
