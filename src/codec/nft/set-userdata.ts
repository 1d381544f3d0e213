import { Writer } from '../../base/bytes.js';
import { WeftError } from '../../base/errors.js';
import { bytesHex, type Hex } from './hex.js';
import { byteOrder, type DataType, type KeyField } from './types.js';

/* NFTNL_UDATA_SET_* of libnftnl's udata.h, and nftables' own fields inside them (expression.h, proto.h). */
const UDATA_KEYBYTEORDER = 0;
const UDATA_DATABYTEORDER = 1;
const UDATA_KEY_TYPEOF = 3;
const UDATA_DATA_TYPEOF = 4;
const TYPEOF_EXPR = 0;
const TYPEOF_DATA = 1;
const EXPR_PAYLOAD = 7;
const EXPR_CONCAT = 13;
const EXPR_VALUE_ORDER_MIXED = 0;
const PROTO_BASES = { link: 1, network: 2, transport: 3 } as const;

/**
 * Userdata with which `nft list ruleset` prints a set as it is meant: byte orders, and for raw fields their position
 * (without it nft takes `integer` of unknown size for the key and cannot print the set; it believes it of a map only where
 * the value has its position too).
 */
export function setUserdata(key: readonly KeyField[], data: DataType | undefined): Hex {
  const w = new Writer(64);
  tlv32(w, UDATA_KEYBYTEORDER, key.length > 1 ? EXPR_VALUE_ORDER_MIXED : byteOrder(key[0] as KeyField));
  if (data !== undefined) tlv32(w, UDATA_DATABYTEORDER, byteOrder(data));
  if (key.some((f) => typeof f !== 'string')) {
    tlv(w, UDATA_KEY_TYPEOF, typeofKey(key));
    if (data !== undefined) tlv(w, UDATA_DATA_TYPEOF, typeofField(data));
  }
  return bytesHex(w.done());
}

function typeofKey(key: readonly KeyField[]): Uint8Array {
  const w = new Writer(64);
  const [only, second] = key;
  if (only !== undefined && second === undefined) return typeofField(only);
  tlv32(w, TYPEOF_EXPR, EXPR_CONCAT);
  const fields = new Writer(64);
  for (const [i, field] of key.entries()) tlv(fields, i, typeofField(field));
  return tlv(w, TYPEOF_DATA, fields.done()).done();
}

function typeofField(field: KeyField): Uint8Array {
  const w = new Writer(32);
  tlv32(w, TYPEOF_EXPR, EXPR_PAYLOAD);
  const where = new Writer(32);
  if (typeof field === 'string') {
    const [protocol, member] = TYPEOF_MEMBERS[field] ?? [];
    if (protocol === undefined || member === undefined) {
      throw new WeftError('WEFT_INVALID_ARGUMENT', `${field} cannot stand beside a raw field`);
    }
    tlv32(where, 0, protocol);
    tlv32(where, 1, member);
  } else {
    tlv32(where, 0, 0);
    tlv32(where, 1, 0);
    tlv32(where, 2, PROTO_BASES[field.base]);
    tlv32(where, 3, 8 * field.offset);
    tlv32(where, 4, 8 * field.bytes);
  }
  return tlv(w, TYPEOF_DATA, where.done()).done();
}

/** A header field of that type, as [proto_desc_id, index of the field]: ether saddr, ip saddr, ip6 saddr. */
const TYPEOF_MEMBERS: Partial<Record<DataType, readonly [protocol: number, member: number]>> = {
  ether_addr: [17, 2],
  ipv4_addr: [12, 11],
  ipv6_addr: [13, 8],
};

function tlv(w: Writer, type: number, value: Uint8Array): Writer {
  return w.u8(type).u8(value.length).raw(value);
}

/** Host byte order, as nft writes it. */
function tlv32(w: Writer, type: number, value: number): Writer {
  return w.u8(type).u8(4).u32(value);
}
