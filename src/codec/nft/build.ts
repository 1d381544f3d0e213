import { is } from './build/match.js';
import type { Statement } from './build/statement.js';
import { meta, type Need } from './build/terms.js';
import type { ChainRef } from './chain.js';
import type { TableRef } from './change.js';
import type { Expr } from './expr.js';
import type { Rule } from './rule.js';

export * from './build/act.js';
export * from './build/match.js';
export * from './build/sets.js';
export type { Statement } from './build/statement.js';
export * from './build/terms.js';

/*
 * Rules as nft's manual writes them, one statement after the other:
 *
 *     rule(chain, [isNot(ether.daddr, bridge), accept], 'not for us')
 *     rule(chain, [set(ether.daddr, map([ip.daddr, ct.mark], 'backends')), accept])
 */

/** A rule at the end of its chain, header checks that its terms need included. */
export function rule(chain: ChainRef, statements: readonly Statement[], comment?: string): Rule {
  const met = new Set<Need>();
  const exprs: Expr[] = [];
  for (const statement of statements) {
    for (const need of statement.needs) {
      if (!met.has(need)) exprs.push(...check(chain.family, need));
      met.add(need);
    }
    exprs.push(...statement.exprs);
  }
  const { family, table, chain: name } = chain;
  return { family, table, chain: name, exprs, ...(comment === undefined ? {} : { comment }) };
}

const ETH_P = { ip: 0x0800, ip6: 0x86dd } as const;
const NFPROTO = { ip: '02', ip6: '0a' } as const;
const IPPROTO = { icmp: 1, tcp: 6, udp: 17, sctp: 132 } as const;

function check(family: TableRef['family'], need: Need): readonly Expr[] {
  if (need !== 'ip' && need !== 'ip6') return is(meta.l4proto, IPPROTO[need]).exprs;
  if (family === need) return [];
  if (family !== 'inet') return is(meta.protocol, ETH_P[need]).exprs;
  return [
    { expr: 'meta', key: 'nfproto', dreg: 1 },
    { expr: 'cmp', sreg: 1, op: 'eq', data: NFPROTO[need] },
  ];
}
