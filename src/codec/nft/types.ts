import { WeftError } from '../../base/errors.js';
import { type Ip, ipBytes, type Mac } from '../../base/ip.js';
import { macBytes } from '../../base/mac.js';
import { bytesHex, type Hex } from './hex.js';

/*
 * Data types are nft's business, the kernel only stores their numbers (NFTA_SET_KEY_TYPE, NFTA_SET_DATA_TYPE): six bits each,
 * concatenated types shifted together. Numbers: enum datatypes of nftables' include/datatype.h, which never change because
 * rulesets outlive programs. `bytes` 0 means the length is not fixed by the type.
 */
const HOST = 1;
const BIG = 2;
const TYPES = {
  integer: { n: 4, bytes: 0, order: BIG },
  nf_proto: { n: 2, bytes: 1, order: HOST },
  ipv4_addr: { n: 7, bytes: 4, order: BIG },
  ipv6_addr: { n: 8, bytes: 16, order: BIG },
  ether_addr: { n: 9, bytes: 6, order: BIG },
  inet_proto: { n: 12, bytes: 1, order: BIG },
  inet_service: { n: 13, bytes: 2, order: BIG },
  tcp_flag: { n: 15, bytes: 1, order: BIG },
  mark: { n: 19, bytes: 4, order: HOST },
  iface_index: { n: 20, bytes: 4, order: HOST },
  uid: { n: 24, bytes: 4, order: HOST },
  ct_state: { n: 26, bytes: 4, order: HOST },
  ct_dir: { n: 27, bytes: 1, order: HOST },
  ct_status: { n: 28, bytes: 4, order: HOST },
  pkt_type: { n: 31, bytes: 1, order: HOST },
  fib_addrtype: { n: 38, bytes: 4, order: HOST },
  ether_type: { n: 10, bytes: 2, order: BIG },
  ifname: { n: 41, bytes: 16, order: HOST },
} as const;
export type DataType = keyof typeof TYPES;
const TYPE_BITS = 6;

/** What a value of a type is in TypeScript; everything that is no address or name is a number. */
export type ValueOf<T extends KeyField> = T extends 'ipv4_addr' | 'ipv6_addr'
  ? Ip
  : T extends 'ether_addr'
    ? Mac
    : T extends 'ifname'
      ? string
      : number;

/**
 * A field that has no type of its own: bits of the packet at an offset, nft's `@th,96,24`. `base` as in `payload`,
 * `offset` and `bytes` in bytes.
 */
export interface RawField {
  base: 'link' | 'network' | 'transport';
  offset: number;
  bytes: number;
}
export type KeyField = DataType | RawField;

/** What the kernel is told of a key or value. */
export interface KeyShape {
  /** NFTA_SET_KEY_TYPE */
  type: number;
  /** Bytes, every field but a single one padded to whole registers of four. */
  length: number;
}

/** Each field of a concatenation begins at a register of four bytes. */
export function registerBytes(bytes: number): number {
  return (bytes + 3) & ~3;
}

export function fieldBytes(field: KeyField): number {
  return typeof field === 'string' ? TYPES[field].bytes : field.bytes;
}

/** Type number and length of a key of these fields in this order. @throws WEFT_INVALID_ARGUMENT */
export function keyShape(fields: readonly KeyField[]): KeyShape {
  const lengths = fields.map(fieldBytes);
  // nft has 32 bits for the types of a concatenation.
  if (fields.length === 0 || fields.length > 5 || lengths.some((n) => !(n > 0))) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', 'a key of nf_tables has one to five fields of known length');
  }
  const type = fields.reduce((sum, f) => (sum << TYPE_BITS) | TYPES[typeName(f)].n, 0);
  const length = lengths.length === 1 ? (lengths[0] as number) : lengths.reduce((sum, n) => sum + registerBytes(n), 0);
  return { type, length };
}

/** Bytes of a value as it stands in a register. @throws WEFT_INVALID_ARGUMENT, WEFT_INVALID_ADDRESS */
export function valueHex(field: KeyField, value: string | number): Hex {
  const bytes = valueBytes(field, value);
  if (bytes.length !== fieldBytes(field))
    throw new WeftError('WEFT_INVALID_ARGUMENT', `"${value}" is no ${typeName(field)}`);
  return bytesHex(bytes);
}

/** The key of an element: fields in order, each of several padded with zeros to whole registers. */
export function keyHex<const F extends readonly KeyField[]>(fields: F, values: { [I in keyof F]: ValueOf<F[I]> }): Hex {
  const all: readonly (string | number)[] = values;
  return fields.map((f, i) => pad(valueHex(f, all[i] as string | number), fields.length)).join('');
}

function pad(hex: Hex, fields: number): Hex {
  return fields === 1 ? hex : hex.padEnd(2 * registerBytes(hex.length / 2), '0');
}

function valueBytes(field: KeyField, value: string | number): Uint8Array {
  if (typeof value === 'number') return numberBytes(field, value);
  switch (field) {
    case 'ipv4_addr':
    case 'ipv6_addr':
      return ipBytes(value);
    case 'ether_addr':
      return macBytes(value);
    default:
      return nameBytes(value, fieldBytes(field));
  }
}

/** Padded with NUL, the last byte always one, as in the kernel's IFNAMSIZ. */
function nameBytes(name: string, length: number): Uint8Array {
  const out = Buffer.alloc(length);
  if (Buffer.byteLength(name) >= length) return Buffer.alloc(0);
  out.write(name);
  return out;
}

function numberBytes(field: KeyField, value: number): Uint8Array {
  const bytes = fieldBytes(field);
  const out = Buffer.alloc(bytes);
  if (!Number.isInteger(value) || value < 0 || bytes > 6 || value >= 2 ** (8 * bytes)) return Buffer.alloc(0);
  if (TYPES[typeName(field)].order === HOST) out.writeUIntLE(value, 0, bytes);
  else out.writeUIntBE(value, 0, bytes);
  return out;
}

/** Its type as nft knows it: a raw field is an integer. */
export function typeName(field: KeyField): DataType {
  return typeof field === 'string' ? field : 'integer';
}

/** enum byteorder of nftables' datatype.h. */
export function byteOrder(field: KeyField): number {
  return TYPES[typeName(field)].order;
}
