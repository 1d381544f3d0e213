import { WeftError } from '../../base/errors.js';
import type { AttrReader, AttrWriter } from '../attr.js';
import { type Message, NLM_F_CREATE } from '../netlink.js';
import { nfBody } from '../nfnl.js';
import { type Change, dumpRequest, NFT_MSG_DELSET, NFT_MSG_GETSET, NFT_MSG_NEWSET, type TableRef } from './change.js';
import { readExpr, writeExpr } from './expr.js';
import { wide } from './fields.js';
import type { KeyShape } from './types.js';
import { readUserdata, UDATA_SET_COMMENT, type Userdata, userdataBytes } from './userdata.js';

/* nft_set_attributes, nft_set_desc_attributes, nft_set_field_attributes */
const NFTA_SET_TABLE = 1;
const NFTA_SET_NAME = 2;
const NFTA_SET_FLAGS = 3;
const NFTA_SET_KEY_TYPE = 4;
const NFTA_SET_KEY_LEN = 5;
const NFTA_SET_DATA_TYPE = 6;
const NFTA_SET_DATA_LEN = 7;
const NFTA_SET_POLICY = 8;
const NFTA_SET_DESC = 9;
const NFTA_SET_ID = 10;
const NFTA_SET_TIMEOUT = 11;
const NFTA_SET_GC_INTERVAL = 12;
const NFTA_SET_USERDATA = 13;
const NFTA_SET_HANDLE = 16;
const NFTA_SET_EXPR = 17;
const NFTA_SET_DESC_SIZE = 1;
const NFTA_SET_DESC_CONCAT = 2;
const NFTA_LIST_ELEM = 1;
const NFTA_SET_FIELD_LEN = 1;
/** nft_data_types: the value of a verdict map. */
const NFT_DATA_VERDICT = 0xffffff00;

/**
 * nft_set_flags. `dynamic` (NFT_SET_EVAL) lets rules change it. NFT_SET_MAP and NFT_SET_CONCAT follow from `data` and `concat`.
 * `object` and `expr` (stateful objects, or several expressions per element) are seen in foreign sets; this codec does not write them.
 */
const FLAGS = {
  anonymous: 0x1,
  constant: 0x2,
  interval: 0x4,
  timeout: 0x10,
  dynamic: 0x20,
  object: 0x40,
  expr: 0x100,
} as const;
export type SetFlag = keyof typeof FLAGS;
const FLAG_NAMES = Object.keys(FLAGS) as SetFlag[];
const NFT_SET_MAP = 0x8;
const NFT_SET_CONCAT = 0x80;

export interface SetRef extends TableRef {
  set: string;
}

/** A set, or with `data` a map: in nf_tables both are sets and share the names of their table. */
export interface NftSet extends SetRef, Userdata {
  /** In the order of the kernel's bits. */
  flags: SetFlag[];
  key: KeyShape;
  data?: KeyShape | 'verdict';
  policy: 'performance' | 'memory';
  /** Bound on the number of elements; a `dynamic` set without one gets 65535 from nft. */
  size?: number;
  /** Lengths in bytes of the fields of a key; needed (and NFT_SET_CONCAT set) where an interval set has several. */
  concat?: number[];
  /** Milliseconds an element lives by default. */
  timeout?: number;
  /** Milliseconds between looks for expired elements. */
  gcInterval?: number;
  /** Each element counts the packets that find it; also those that packets add (kernel 5.11). */
  counted?: true;
  handle?: bigint;
}

/**
 * Creates a set; one that exists is left alone, or EEXIST where key, data, flags or timeout differ (size and userdata are not looked at). `id` ties an anonymous
 * set (named `__set%d` or `__map%d`) to the lookups and elements of the same batch. @throws WEFT_INVALID_ARGUMENT when written
 */
export function newSet(s: NftSet, id = 0): Change {
  return {
    operation: NFT_MSG_NEWSET,
    flags: NLM_F_CREATE,
    family: s.family,
    label: `add ${s.data === undefined ? 'set' : 'map'} ${setText(s)}`,
    write: (a) => writeSet(a, s, id),
  };
}

function writeSet(a: AttrWriter, s: NftSet, id: number): void {
  a.string(NFTA_SET_TABLE, s.table).string(NFTA_SET_NAME, s.set).be32(NFTA_SET_FLAGS, flagBits(s));
  a.be32(NFTA_SET_KEY_TYPE, s.key.type).be32(NFTA_SET_KEY_LEN, s.key.length);
  if (s.data === 'verdict') a.be32(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT).be32(NFTA_SET_DATA_LEN, 0);
  else a.be32(NFTA_SET_DATA_TYPE, s.data?.type).be32(NFTA_SET_DATA_LEN, s.data?.length);
  if (s.policy === 'memory') a.be32(NFTA_SET_POLICY, 1);
  a.be32(NFTA_SET_ID, id);
  if (s.size !== undefined || s.concat !== undefined) {
    a.nest(NFTA_SET_DESC, (d) => {
      d.be32(NFTA_SET_DESC_SIZE, s.size);
      if (s.concat !== undefined) writeConcat(d, s.concat);
    });
  }
  if (s.timeout !== undefined) a.be64(NFTA_SET_TIMEOUT, wide(s.timeout));
  a.be32(NFTA_SET_GC_INTERVAL, s.gcInterval);
  if (s.counted) a.nest(NFTA_SET_EXPR, (e) => writeExpr(e, { expr: 'counter', bytes: 0, packets: 0 }));
  a.bytes(NFTA_SET_USERDATA, userdataBytes(s, UDATA_SET_COMMENT));
}

function writeConcat(a: AttrWriter, fields: readonly number[]): void {
  a.nest(NFTA_SET_DESC_CONCAT, (list) => {
    for (const bytes of fields) list.nest(NFTA_LIST_ELEM, (f) => f.be32(NFTA_SET_FIELD_LEN, bytes));
  });
}

function flagBits(s: NftSet): number {
  const derived = (s.data === undefined ? 0 : NFT_SET_MAP) | (s.concat === undefined ? 0 : NFT_SET_CONCAT);
  return s.flags.reduce<number>((sum, name) => sum | FLAGS[name], derived);
}

/** Deletes a set with its elements; EBUSY where a rule uses it. */
export function delSet(s: SetRef): Change {
  return {
    operation: NFT_MSG_DELSET,
    flags: 0,
    family: s.family,
    label: `delete set ${setText(s)}`,
    write: (a) => a.string(NFTA_SET_TABLE, s.table).string(NFTA_SET_NAME, s.set),
  };
}

/** Dump of the sets of a family or of one table, anonymous ones included. */
export function getSets(seq: number, of: { family: TableRef['family']; table?: string }): Buffer {
  return dumpRequest(NFT_MSG_GETSET, seq, of.family, (a) => a.string(NFTA_SET_TABLE, of.table));
}

/** `bridge weft backends` */
export function setText(s: SetRef): string {
  return `${s.family} ${s.table} ${s.set}`;
}

/** Body of an NFT_MSG_NEWSET. @throws WEFT_INTERNAL */
export function readSet(message: Message): NftSet {
  const { family, attrs } = nfBody(message, 'nf_tables set');
  let table: string | undefined;
  let set: string | undefined;
  const key: KeyShape = { type: 0, length: 0 };
  const data: Partial<KeyShape> = {};
  const rest: Omit<NftSet, keyof SetRef | 'key'> = { flags: [], policy: 'performance' };
  while (attrs.next()) {
    switch (attrs.type) {
      case NFTA_SET_TABLE:
        table = attrs.string();
        break;
      case NFTA_SET_NAME:
        set = attrs.string();
        break;
      case NFTA_SET_FLAGS:
        rest.flags = readFlags(attrs.be32());
        break;
      case NFTA_SET_KEY_TYPE:
        key.type = attrs.be32();
        break;
      case NFTA_SET_KEY_LEN:
        key.length = attrs.be32();
        break;
      case NFTA_SET_DATA_TYPE:
        data.type = attrs.be32();
        break;
      case NFTA_SET_DATA_LEN:
        data.length = attrs.be32();
        break;
      case NFTA_SET_POLICY:
        rest.policy = attrs.be32() === 1 ? 'memory' : 'performance';
        break;
      case NFTA_SET_DESC:
        Object.assign(rest, readDescription(attrs.nested('nf_tables set description')));
        break;
      case NFTA_SET_TIMEOUT:
        rest.timeout = Number(attrs.be64());
        break;
      case NFTA_SET_GC_INTERVAL:
        rest.gcInterval = attrs.be32();
        break;
      case NFTA_SET_EXPR:
        if (readExpr(attrs.nested('nf_tables set expression')).expr === 'counter') rest.counted = true;
        break;
      case NFTA_SET_HANDLE:
        rest.handle = attrs.be64();
        break;
      case NFTA_SET_USERDATA:
        Object.assign(rest, readUserdata(attrs.bytes(), UDATA_SET_COMMENT));
        break;
    }
  }
  if (table === undefined || set === undefined) throw new WeftError('WEFT_INTERNAL', 'nf_tables set: no name');
  // The kernel reports the size of its struct for verdicts, whatever was asked for.
  if (data.type === NFT_DATA_VERDICT) rest.data = 'verdict';
  else if (data.type !== undefined && data.length !== undefined) rest.data = { type: data.type, length: data.length };
  return { family, table, set, key, ...rest };
}

/** The same flags in the order in which a dump gives them. */
export function orderFlags(flags: readonly SetFlag[]): SetFlag[] {
  return FLAG_NAMES.filter((name) => flags.includes(name));
}

function readFlags(bits: number): SetFlag[] {
  return FLAG_NAMES.filter((name) => (bits & FLAGS[name]) !== 0);
}

function readDescription(a: AttrReader): { size?: number; concat?: number[] } {
  const out: { size?: number; concat?: number[] } = {};
  while (a.next()) {
    if (a.type === NFTA_SET_DESC_SIZE) out.size = a.be32();
    else if (a.type === NFTA_SET_DESC_CONCAT) out.concat = readConcat(a.nested('nf_tables concatenation'));
  }
  return out;
}

function readConcat(a: AttrReader): number[] {
  const out: number[] = [];
  while (a.next()) {
    const field = a.nested('nf_tables field');
    while (field.next()) if (field.type === NFTA_SET_FIELD_LEN) out.push(field.be32());
  }
  return out;
}
