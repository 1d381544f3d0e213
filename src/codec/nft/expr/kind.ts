import type { AttrReader, AttrWriter } from '../../attr.js';
import type { Field, Fields, Shape } from '../fields.js';

/** One kind of expression: its word in weft, its name in the kernel, and its fields. */
export interface Kind<E extends string, F extends Fields> {
  readonly expr: E;
  /** nft_expr_type.name. Loading and setting are one type in the kernel, told apart by DREG or SREG, and two kinds here. */
  readonly name: string;
  readonly fields: F;
  /** Attributes that mean something but have no field here: an expression with one of them is kept raw. */
  readonly beyond: readonly number[];
}

/** The object of a kind: `expr` and one property a field. */
export type ExprOf<K> = K extends Kind<infer E, infer F> ? { expr: E } & Shape<F> : never;

export function kind<const E extends string, F extends Fields>(
  expr: E,
  name: string,
  fields: F,
  beyond: readonly number[] = [],
): Kind<E, F> {
  return { expr, name, fields, beyond };
}

/** Writes the fields, leaving out what equals the kernel's default. @throws WEFT_INVALID_ARGUMENT */
export function writeFields(a: AttrWriter, fields: Fields, expr: Readonly<Record<string, unknown>>): void {
  for (const [key, field] of Object.entries(fields)) {
    const value = expr[key];
    if (value !== undefined && (field.always || value !== field.absent)) field.write(a, value);
  }
}

/**
 * Reads the fields of a kind, filling in defaults, or undefined where the attributes are not of this kind: a required one is
 * missing, one has a number without a name, or one is beyond this codec. @throws WEFT_INTERNAL on a wrong length.
 */
export function readFields(a: AttrReader, kind: Kind<string, Fields>): Record<string, unknown> | undefined {
  const out: Record<string, unknown> = { expr: kind.expr };
  const byAttr = attributes(kind);
  while (a.next()) {
    if (kind.beyond.includes(a.type)) return undefined;
    const entry = byAttr.get(a.type);
    if (entry === undefined) continue;
    const value = entry.field.read(a);
    if (value === undefined) return undefined;
    out[entry.key] = value;
  }
  for (const { key, field } of byAttr.values()) {
    if (key in out || field.optional) continue;
    if (field.absent === undefined) return undefined;
    out[key] = field.absent;
  }
  return out;
}

interface Entry {
  key: string;
  field: Field<unknown>;
}
const ATTRIBUTES = new WeakMap<Kind<string, Fields>, ReadonlyMap<number, Entry>>();

function attributes(kind: Kind<string, Fields>): ReadonlyMap<number, Entry> {
  let map = ATTRIBUTES.get(kind);
  if (map === undefined) {
    map = new Map(Object.entries(kind.fields).map(([key, field]) => [field.attr, { key, field }]));
    ATTRIBUTES.set(kind, map);
  }
  return map;
}
