import { WeftError } from '../../base/errors.js';
import { AttrReader, type AttrWriter, NLA_F_NESTED } from '../attr.js';
import { COUNTER, IMMEDIATE, LIMIT, MASQ, NAT, NOTRACK, REDIR, REJECT } from './expr/act.js';
import { BITWISE, BYTEORDER, CMP, RANGE } from './expr/compare.js';
import { type ExprOf, type Kind, readFields, writeFields } from './expr/kind.js';
import {
  CT,
  CT_SET,
  EXTHDR,
  EXTHDR_SET,
  FIB,
  HASH,
  META,
  META_SET,
  NUMGEN,
  OBJREF,
  PAYLOAD,
  PAYLOAD_SET,
} from './expr/load.js';
import { DYNSET, LOOKUP } from './expr/sets.js';
import type { Fields } from './fields.js';
import { bytesHex, type Hex, hexBytes } from './hex.js';

const NFTA_LIST_ELEM = 1;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;

const KINDS = [
  PAYLOAD,
  PAYLOAD_SET,
  META,
  META_SET,
  CT,
  CT_SET,
  FIB,
  NUMGEN,
  HASH,
  EXTHDR,
  EXTHDR_SET,
  OBJREF,
  CMP,
  RANGE,
  BITWISE,
  BYTEORDER,
  LOOKUP,
  DYNSET,
  IMMEDIATE,
  COUNTER,
  LIMIT,
  REJECT,
  NOTRACK,
  NAT,
  MASQ,
  REDIR,
] as const;

/** An expression this codec does not know, kept as it came (`body`: its attributes) so that it survives and compares. */
export interface RawExpr {
  expr: 'raw';
  name: string;
  body?: Hex;
}

/**
 * One expression of a rule; `expr` says which, the other properties are those of its kind in ./expr/. Registers: 0 is the verdict,
 * 1-4 have 16 bytes, 8-23 are the same memory in words of four bytes (8-11 are register 1).
 */
export type Expr = ExprOf<(typeof KINDS)[number]> | RawExpr;

const BY_EXPR: ReadonlyMap<string, Kind<string, Fields>> = new Map(KINDS.map((k) => [k.expr, k]));
const NOTHING = new Uint8Array();
const BY_NAME = new Map<string, Kind<string, Fields>[]>();
for (const k of KINDS) BY_NAME.set(k.name, [...(BY_NAME.get(k.name) ?? []), k]);

/** Writes a list of expressions as attribute `attr`. @throws WEFT_INVALID_ARGUMENT */
export function writeExprs(a: AttrWriter, attr: number, exprs: readonly Expr[]): void {
  a.nest(attr, (list) => {
    for (const expr of exprs) list.nest(NFTA_LIST_ELEM, (e) => writeExpr(e, expr));
  });
}

/** Writes a single expression into the nest at hand. @throws WEFT_INVALID_ARGUMENT */
export function writeExpr(a: AttrWriter, expr: Expr): void {
  if (expr.expr === 'raw') {
    a.string(NFTA_EXPR_NAME, expr.name);
    if (expr.body !== undefined) a.bytes(NFTA_EXPR_DATA | NLA_F_NESTED, hexBytes(expr.body, 0xffff));
    return;
  }
  const kind = BY_EXPR.get(expr.expr);
  if (kind === undefined) throw new WeftError('WEFT_INVALID_ARGUMENT', `nf_tables has no expression "${expr.expr}"`);
  const fields: Readonly<Record<string, unknown>> = { ...expr };
  a.string(NFTA_EXPR_NAME, kind.name);
  if (Object.keys(kind.fields).length > 0) a.nest(NFTA_EXPR_DATA, (d) => writeFields(d, kind.fields, fields));
}

/** Reads the list at the cursor. @throws WEFT_INTERNAL on malformed bytes. */
export function readExprs(a: AttrReader): Expr[] {
  const out: Expr[] = [];
  const list = a.nested(`${a.where} expressions`);
  while (list.next()) if (list.type === NFTA_LIST_ELEM) out.push(readExpr(list.nested(`${a.where} expression`)));
  return out;
}

/** Reads the single expression that the nest holds. @throws WEFT_INTERNAL */
export function readExpr(a: AttrReader): Expr {
  let name: string | undefined;
  let body: Uint8Array | undefined;
  while (a.next()) {
    if (a.type === NFTA_EXPR_NAME) name = a.string();
    else if (a.type === NFTA_EXPR_DATA) body = a.bytes();
  }
  if (name === undefined) throw new WeftError('WEFT_INTERNAL', `${a.where}: no name`);
  for (const kind of BY_NAME.get(name) ?? []) {
    const found = readFields(new AttrReader(body ?? NOTHING, name), kind);
    if (found !== undefined) return found as Expr;
  }
  return { expr: 'raw', name, ...(body === undefined ? {} : { body: bytesHex(body) }) };
}
