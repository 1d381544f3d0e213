import { parseCidr } from '../../../base/cidr.js';
import { type Ip, ipBytes } from '../../../base/ip.js';
import type { Expr } from '../expr.js';
import { bytesHex, type Hex } from '../hex.js';
import { type DataType, fieldBytes, type KeyField, type ValueOf, valueHex } from '../types.js';
import { FIRST, register, type Statement } from './statement.js';
import type { Term } from './terms.js';

/* Statements that end the rule where a condition is not met. */

function compare(term: Term, op: 'eq' | 'neq' | 'gte' | 'lte', ...data: [Hex, ...Hex[]]): Statement {
  const cmps = data.map((value): Expr => ({ expr: 'cmp', sreg: register(FIRST), op, data: value }));
  return { needs: term.needs, exprs: [...term.load(register(FIRST)), ...cmps] };
}

export function is<T extends KeyField>(term: Term<T>, value: ValueOf<T>): Statement {
  return compare(term, 'eq', valueHex(term.type, value));
}

export function isNot<T extends KeyField>(term: Term<T>, value: ValueOf<T>): Statement {
  return compare(term, 'neq', valueHex(term.type, value));
}

/** `iifname "wf*"`: only the bytes of the prefix are compared. */
export function startsWith(term: Term<'ifname'>, prefix: string): Statement {
  return compare(term, 'eq', bytesHex(Buffer.from(prefix, 'latin1')));
}

function masked(term: Term, mask: Hex, op: 'eq' | 'neq', value: Hex): Statement {
  const reg = register(FIRST);
  const length = fieldBytes(term.type);
  const exprs: Expr[] = [
    ...term.load(reg),
    { expr: 'bitwise', sreg: reg, dreg: reg, length, op: 'bool', mask, xor: '00'.repeat(length) },
    { expr: 'cmp', sreg: reg, op, data: value },
  ];
  return { needs: term.needs, exprs };
}

/** Any of these bits is set: `ct state established,related`. */
export function anyOf(term: Term, bits: number): Statement {
  return masked(term, valueHex(term.type, bits), 'neq', valueHex(term.type, 0));
}

/** Of the bits in `mask` exactly those of `value` are set: `tcp flags syn / syn,ack`. */
export function bitsAre(term: Term<DataType>, mask: number, value: number): Statement {
  return masked(term, valueHex(term.type, mask), 'eq', valueHex(term.type, value));
}

/** The address of the term is inside (outside) a prefix. @throws WEFT_INVALID_SUBNET */
export function inPrefix(term: Term<'ipv4_addr'> | Term<'ipv6_addr'>, cidr: string): Statement {
  const { first, length } = parseCidr(cidr);
  return masked(term, prefixMask(first, length), 'eq', valueHex(term.type, first));
}

export function notInPrefix(term: Term<'ipv4_addr'> | Term<'ipv6_addr'>, cidr: string): Statement {
  const { first, length } = parseCidr(cidr);
  return masked(term, prefixMask(first, length), 'neq', valueHex(term.type, first));
}

function prefixMask(first: Ip, length: number): Hex {
  const bytes = ipBytes(first).map((_, i) => 0xff << (8 - Math.min(8, Math.max(0, length - 8 * i))));
  return bytesHex(bytes);
}
