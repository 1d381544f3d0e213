import { WeftError } from '../../../base/errors.js';
import { NFT_DATA_VALUE_MAXLEN } from '../data.js';
import type { Expr } from '../expr.js';
import { fieldBytes, registerBytes } from '../types.js';
import type { Need, Term } from './terms.js';

/** What a rule consists of: plain data, which uses the registers from the first one on and leaves nothing in them. */
export interface Statement {
  readonly needs: readonly Need[];
  readonly exprs: readonly Expr[];
}

/** A value that is computed: a term, or what a map holds for it. */
export interface Source {
  readonly needs: readonly Need[];
  load(dreg: number): Expr[];
}

/** Offset of the first register. */
export const FIRST = 0;

/** Number of the register that begins `bytes` after the first; where it has two, the one the kernel reports. */
export function register(bytes: number): number {
  if (bytes >= NFT_DATA_VALUE_MAXLEN)
    throw new WeftError('WEFT_INVALID_ARGUMENT', 'nf_tables has 64 bytes of registers');
  return bytes % 16 === 0 ? 1 + bytes / 16 : 8 + bytes / 4;
}

/** Loads terms side by side, each at the beginning of a register of four bytes. */
export function concat(terms: readonly Term[]): { needs: Need[]; exprs: Expr[]; bytes: number } {
  const needs: Need[] = [];
  const exprs: Expr[] = [];
  let bytes = FIRST;
  for (const term of terms) {
    needs.push(...term.needs);
    exprs.push(...term.load(register(bytes)));
    bytes += registerBytes(fieldBytes(term.type));
  }
  if (bytes > NFT_DATA_VALUE_MAXLEN)
    throw new WeftError('WEFT_INVALID_ARGUMENT', 'a key of nf_tables has at most 64 bytes');
  return { needs, exprs, bytes };
}
