import type { Verdict } from '../data.js';
import type { Expr } from '../expr.js';
import { type KeyField, type ValueOf, valueHex } from '../types.js';
import { FIRST, register, type Source, type Statement } from './statement.js';
import type { Target } from './terms.js';

/* Statements that do something with the packet. */

/** A constant, as `set` wants it. */
export function value<T extends KeyField>(type: T, constant: ValueOf<T>): Source {
  const data = valueHex(type, constant);
  return { needs: [], load: (dreg) => [{ expr: 'immediate', dreg, data }] };
}

/** `ether daddr set …`, `ct mark set …`, `meta mark set …` */
export function set(target: Target, source: Source): Statement {
  const reg = register(FIRST);
  return { needs: [...target.needs, ...source.needs], exprs: [...source.load(reg), ...target.store(reg)] };
}

/** Sets the bits of `mask` to `bits` and leaves the others alone. */
export function setBits(target: Target<'mark'>, mask: number, bits: number): Statement {
  const reg = register(FIRST);
  const keep = valueHex('mark', ~mask >>> 0);
  const xor = valueHex('mark', (bits & mask) >>> 0);
  const change: Expr = { expr: 'bitwise', sreg: reg, dreg: reg, length: 4, op: 'bool', mask: keep, xor };
  return { needs: target.needs, exprs: [...target.load(reg), change, ...target.store(reg)] };
}

function verdict(data: Verdict): Statement {
  return { needs: [], exprs: [{ expr: 'immediate', dreg: 0, data }] };
}

export const accept = verdict({ verdict: 'accept' });
export const drop = verdict({ verdict: 'drop' });
/** Back to the rule after the jump; in a base chain to its policy. */
export const backToCaller = verdict({ verdict: 'return' });

export function jump(chain: string): Statement {
  return verdict({ verdict: 'jump', chain });
}

/** A jump that does not come back. */
export function goto(chain: string): Statement {
  return verdict({ verdict: 'goto', chain });
}

export const counter: Statement = { needs: [], exprs: [{ expr: 'counter', bytes: 0, packets: 0 }] };
export const notrack: Statement = { needs: [], exprs: [{ expr: 'notrack' }] };

/** Goes on for at most `rate` packets a second, and `burst` at once. */
export function limit(rate: number, burst: number): Statement {
  const exprs: Expr[] = [{ expr: 'limit', rate, unit: 1, burst, type: 'packets', inverted: false }];
  return { needs: [], exprs };
}
