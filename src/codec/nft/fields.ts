import { WeftError } from '../../base/errors.js';
import type { AttrReader, AttrWriter } from '../attr.js';
import { type NftData, readData, writeData, writeValue } from './data.js';
import type { Hex } from './hex.js';

/*
 * An expression is declared once, as a list of fields in the order of its NFTA_* enumeration; type, encoder and decoder
 * follow from the list. Twenty pairs of hand-written functions would differ from each other only by mistakes.
 */

/** One attribute of an expression. `Optional` decides whether the property may be missing. */
export interface Field<T, Optional extends boolean = boolean> {
  readonly attr: number;
  readonly optional: Optional;
  /** The kernel's own value where the attribute is missing: filled in when reading, and not written … */
  readonly absent?: T;
  /** … except where the kernel omits it but wants it. */
  readonly always?: true;
  write(a: AttrWriter, value: T): void;
  /** undefined: a number this codec has no word for; the whole expression is then kept raw. */
  read(a: AttrReader): T | undefined;
}
export type Fields = Readonly<Record<string, Field<unknown>>>;

type OptionalKeys<F extends Fields> = { [K in keyof F]: F[K] extends Field<unknown, true> ? K : never }[keyof F];
type ValueOf<F> = F extends Field<infer T> ? T : never;
/** The object a list of fields describes. */
export type Shape<F extends Fields> = {
  -readonly [K in Exclude<keyof F, OptionalKeys<F>>]: ValueOf<F[K]>;
} & { -readonly [K in OptionalKeys<F>]?: ValueOf<F[K]> };

function field<T>(attr: number, write: Field<T>['write'], read: Field<T>['read'], absent?: T): Field<T, false> {
  return { attr, optional: false, write, read, ...(absent === undefined ? {} : { absent }) };
}

/** The same attribute, but the property may be missing, and is then not sent. */
export function optional<T>(f: Field<T, false>): Field<T, true> {
  return { ...f, optional: true };
}

/** Written even if it is the default. */
export function always<T>(f: Field<T, false>): Field<T, false> {
  return { ...f, always: true };
}

export function u8(attr: number, absent?: number): Field<number, false> {
  return field(
    attr,
    (a, n) => a.u8(attr, n),
    (a) => a.u8(),
    absent,
  );
}

/** Big endian, as all integers of nf_tables. */
export function u32(attr: number, absent?: number): Field<number, false> {
  return field(
    attr,
    (a, n) => a.be32(attr, n),
    (a) => a.be32(),
    absent,
  );
}

/**
 * A u64 as number, so that rules survive JSON: counts, rates and milliseconds stay below 2^53. The kernel keeps timeouts in
 * jiffies: it gives back 30004 for 30001 ms where HZ is 250.
 */
export function u64(attr: number, absent?: number): Field<number, false> {
  return field(
    attr,
    (a, n) => a.be64(attr, wide(n)),
    (a) => Number(a.be64()),
    absent,
  );
}

export function text(attr: number): Field<string, false> {
  return field(
    attr,
    (a, s) => a.string(attr, s),
    (a) => a.string(),
  );
}

/** A value (never a verdict) in a nest of nft_data_attributes. */
export function value(attr: number): Field<Hex, false> {
  return field<Hex>(
    attr,
    (a, hex) => writeValue(a, attr, hex),
    (a) => {
      const data = readData(a);
      return typeof data === 'string' ? data : undefined;
    },
  );
}

/** A value or a verdict. */
export function data(attr: number): Field<NftData, false> {
  return field<NftData>(attr, (a, d) => writeData(a, attr, d), readData);
}

/** A number with names: the name's index in `names`. */
export function oneOf<const N extends readonly string[]>(attr: number, names: N, absent?: N[number]) {
  return named<N[number]>(attr, new Map(names.map((name, n) => [name as N[number], n])), 'be32', absent);
}

/** The same where the attribute has one byte. */
export function oneOfU8<const N extends readonly string[]>(attr: number, names: N) {
  return named<N[number]>(attr, new Map(names.map((name, n) => [name as N[number], n])), 'u8');
}

/** A u32 or u8 whose numbers are given one by one. */
export function named<N extends string>(
  attr: number,
  numbers: ReadonlyMap<N, number>,
  width: 'u8' | 'be32' = 'be32',
  absent?: N,
): Field<N, false> {
  const names = new Map([...numbers].map(([name, n]) => [n, name]));
  return field<N>(
    attr,
    (a, name) => {
      const n = numbers.get(name);
      if (n === undefined) throw new WeftError('WEFT_INVALID_ARGUMENT', `nf_tables has no "${name}" here`);
      a[width](attr, n);
    },
    (a) => names.get(a[width]()),
    absent,
  );
}

/** One bit of a u32 of flags as a boolean; other bits set make the expression raw. */
export function bit(attr: number, mask: number): Field<boolean, false> {
  return field<boolean>(
    attr,
    (a, on) => a.be32(attr, on ? mask : 0),
    (a) => {
      const flags = a.be32();
      return flags === mask ? true : flags === 0 ? false : undefined;
    },
    false,
  );
}

/** For a be64 attribute. @throws WEFT_INVALID_ARGUMENT where the number is no count */
export function wide(n: number): bigint {
  if (!Number.isSafeInteger(n) || n < 0) throw new WeftError('WEFT_INVALID_ARGUMENT', `${n} is no count`);
  return BigInt(n);
}
