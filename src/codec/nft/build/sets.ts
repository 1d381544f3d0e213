import type { Expr } from '../expr.js';
import { type NftSet, orderFlags, type SetFlag, type SetRef } from '../set.js';
import { setUserdata } from '../set-userdata.js';
import { type DataType, fieldBytes, type KeyField, keyShape } from '../types.js';
import { concat, FIRST, register, type Source, type Statement } from './statement.js';
import type { Term } from './terms.js';

/* Sets and maps, and the statements that look into them or change them. */

export interface SetParts {
  key: readonly KeyField[];
  data?: DataType | 'verdict';
  flags?: SetFlag[];
  size?: number;
  timeout?: number;
  comment?: string;
  /** Each element counts the packets that find it. */
  counted?: true;
}

/** A set, or with `data` a map, as newSet wants it. */
export function setOf(ref: SetRef, { key, data, flags = [], ...rest }: SetParts): NftSet {
  const shape = data === undefined || data === 'verdict' ? data : keyShape([data]);
  const several = key.length > 1 && flags.includes('interval');
  return {
    family: ref.family,
    table: ref.table,
    set: ref.set,
    flags: orderFlags(flags),
    key: keyShape(key),
    ...(shape === undefined ? {} : { data: shape }),
    policy: 'performance',
    ...(several ? { concat: key.map(fieldBytes) } : {}),
    ...rest,
    userdata: setUserdata(key, data === 'verdict' ? undefined : data),
  };
}

function lookup(terms: readonly Term[], set: string, more: { dreg?: number; inverted?: boolean }): Statement {
  const { needs, exprs } = concat(terms);
  return { needs, exprs: [...exprs, { expr: 'lookup', sreg: register(FIRST), set, inverted: false, ...more }] };
}

/** The concatenation of the terms is in the set. */
export function inSet(terms: readonly Term[], set: string): Statement {
  return lookup(terms, set, {});
}

export function notInSet(terms: readonly Term[], set: string): Statement {
  return lookup(terms, set, { inverted: true });
}

/** Executes the verdict the map holds for the terms; goes on where it holds none. */
export function vmap(terms: readonly Term[], verdicts: string): Statement {
  return lookup(terms, verdicts, { dreg: 0 });
}

/** What a map holds for the terms; where it holds nothing the rule ends. */
export function map(terms: readonly Term[], name: string): Source {
  return { needs: lookup(terms, name, {}).needs, load: (dreg) => [...lookup(terms, name, { dreg }).exprs] };
}

export interface Learn {
  /** Milliseconds; without it the set's own timeout. */
  timeout?: number;
  /** What the key shall map to. Of a map the kernel demands it (EINVAL), of `delete` too, where it is not looked at. */
  data?: Source;
}

/**
 * Changes a dynamic set from the packet path: `add` leaves an element that exists alone, `update` renews its timeout (an existing
 * element keeps its value), `delete` removes it. The rule ends where that fails, as when the set is full.
 */
export function learn(
  op: 'add' | 'update' | 'delete',
  terms: readonly Term[],
  set: string,
  more: Learn = {},
): Statement {
  const { needs, exprs, bytes } = concat(terms);
  const { timeout = 0, data } = more;
  const reg = data === undefined ? undefined : register(bytes);
  const loaded = data === undefined || reg === undefined ? [] : data.load(reg);
  const dynset: Expr = { expr: 'dynset', sregKey: register(FIRST), op, timeout, set, inverted: false };
  return {
    needs: [...needs, ...(data?.needs ?? [])],
    // The data first: looking it up may need the registers of the key.
    exprs: [...loaded, ...exprs, reg === undefined ? dynset : { ...dynset, sregData: reg }],
  };
}
