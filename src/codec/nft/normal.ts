import type { Chain } from './chain.js';
import type { Element } from './element.js';
import { NF_NAT_RANGE_MAP_IPS, NF_NAT_RANGE_PROTO_SPECIFIED } from './expr/act.js';
import type { Expr } from './expr.js';
import type { Rule } from './rule.js';
import type { NftSet } from './set.js';
import type { Table } from './table.js';

/*
 * What the kernel gives back and what was asked for differ by what the kernel adds. After these functions both sides are equal
 * (node:util isDeepStrictEqual) where they do the same. Attributes that equal their default are settled by the readers already.
 */

export function normalTable({ handle: _, ...table }: Table): Table {
  return table;
}

export function normalChain({ handle: _, ...chain }: Chain): Chain {
  return chain;
}

export function normalSet({ handle: _, ...set }: NftSet): NftSet {
  return set;
}

/** Without the time left, and without a timeout that is the set's own. */
export function normalElement({ expiration: _, timeout, ...element }: Element, setTimeout?: number): Element {
  return timeout === undefined || timeout === setTimeout ? element : { ...element, timeout };
}

/** Without handle, counts, transaction ids, names of anonymous sets, and with registers spelled as the kernel spells them. */
export function normalRule({ handle: _, exprs, ...rule }: Rule): Rule {
  return { ...rule, exprs: exprs.map(normalExpr) };
}

function normalExpr(expr: Expr): Expr {
  switch (expr.expr) {
    case 'counter':
      return { expr: 'counter', bytes: 0, packets: 0 };
    case 'lookup':
    case 'dynset': {
      const { setId: _, ...rest } = expr;
      return registers({ ...rest, set: anonymous(expr.set) });
    }
    case 'nat':
    case 'masq':
    case 'redir':
      return registers(fullRange(expr));
    default:
      return registers(expr);
  }
}

type Nat = Extract<Expr, { expr: 'nat' | 'masq' | 'redir' }>;

/** The kernel takes the lower bound for a missing upper one, and sets the flag of a range that is given. */
function fullRange<N extends Nat>(nat: N): N {
  const out: N = { ...nat };
  if ('addrMin' in out && out.addrMin !== undefined) {
    out.addrMax ??= out.addrMin;
    out.flags |= NF_NAT_RANGE_MAP_IPS;
  }
  if (out.protoMin !== undefined) {
    out.protoMax ??= out.protoMin;
    out.flags |= NF_NAT_RANGE_PROTO_SPECIFIED;
  }
  return out;
}

/** The kernel numbers anonymous sets of a table as they come: `__map%d` becomes `__map7`. */
function anonymous(set: string): string {
  return set.replace(/^(__(?:set|map))\d+$/, '$1%d');
}

const REGISTERS = ['dreg', 'sreg', 'sregKey', 'sregData', 'addrMin', 'addrMax', 'protoMin', 'protoMax'] as const;

/** NFT_REG32_00, _04, _08 and _12 begin where NFT_REG_1 to NFT_REG_4 do, and nft_dump_register() prefers those names. */
function registers<E extends Expr>(expr: E): E {
  const out: Record<string, unknown> = { ...expr };
  for (const key of REGISTERS) {
    const n = out[key];
    if (typeof n === 'number' && n >= 8 && n <= 23 && n % 4 === 0) out[key] = n / 4 - 1;
  }
  return out as E;
}
