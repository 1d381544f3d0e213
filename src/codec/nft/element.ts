import { Writer } from '../../base/bytes.js';
import { WeftError } from '../../base/errors.js';
import { type AttrReader, AttrWriter, NLA_F_NESTED, NLA_HDRLEN } from '../attr.js';
import { type Message, NLM_F_CREATE } from '../netlink.js';
import { nfBody } from '../nfnl.js';
import {
  type Change,
  dumpRequest,
  findRequests,
  NFT_MSG_DELSETELEM,
  NFT_MSG_GETSETELEM,
  NFT_MSG_NEWSETELEM,
} from './change.js';
import { type NftData, readData, writeData, writeValue } from './data.js';
import { readExpr, writeExpr } from './expr.js';
import { wide } from './fields.js';
import type { Hex } from './hex.js';
import { type SetRef, setText } from './set.js';
import { readUserdata, UDATA_COMMENT, type Userdata, userdataBytes } from './userdata.js';

/* nft_set_elem_list_attributes, nft_set_elem_attributes */
const NFTA_SET_ELEM_LIST_TABLE = 1;
const NFTA_SET_ELEM_LIST_SET = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
const NFTA_SET_ELEM_LIST_SET_ID = 4;
const NFTA_SET_ELEM_KEY = 1;
const NFTA_SET_ELEM_DATA = 2;
const NFTA_SET_ELEM_FLAGS = 3;
const NFTA_SET_ELEM_TIMEOUT = 4;
const NFTA_SET_ELEM_EXPIRATION = 5;
const NFTA_SET_ELEM_USERDATA = 6;
const NFTA_SET_ELEM_EXPR = 7;
const NFTA_SET_ELEM_KEY_END = 10;
const NFTA_LIST_ELEM = 1;
const NFT_SET_ELEM_INTERVAL_END = 1;
const NFT_SET_ELEM_CATCHALL = 2;
/** All elements of a message are one attribute, and its length has 16 bits. */
const ELEMENTS_MAX = 0xffff - NLA_HDRLEN;

export interface Element extends Userdata {
  /** Missing only in the catch-all element (`*`), which kernels have since 5.13. */
  key?: Hex;
  /** Last key of an interval of a concatenation (NFTA_SET_ELEM_KEY_END). */
  keyEnd?: Hex;
  /** The value, in maps. */
  data?: NftData;
  /** In interval sets of one field: the key is the first one that no longer belongs to the interval before it. */
  intervalEnd?: true;
  /** Milliseconds to live, where it is not the set's own timeout. */
  timeout?: number;
  /** Milliseconds left; the kernel takes it too. */
  expiration?: number;
  /** Of counted sets: the packets that found the element, and their bytes without the Ethernet header. */
  counter?: { packets: number; bytes: number };
}

/**
 * Adds elements, in as many messages as they need (about 2000 of IPv4 → MAC go into one). An element that exists with the same
 * value stays as it is; with another value the batch fails with EEXIST: delete it first, in the same batch.
 * `setId`: see newSet. @throws WEFT_INVALID_ARGUMENT at once, before anything is sent
 */
export function newElements(s: SetRef, elements: readonly Element[], setId?: number): Change[] {
  return chunks(elements).map(({ bytes, count }) => ({
    operation: NFT_MSG_NEWSETELEM,
    flags: NLM_F_CREATE,
    family: s.family,
    label: `add ${count} elements to ${setText(s)}`,
    write: (a) => writeList(a, s, bytes, setId),
  }));
}

/** Deletes elements by key (the value is not compared); one that is absent fails the batch with ENOENT. */
export function delElements(s: SetRef, elements: readonly Element[]): Change[] {
  return chunks(elements.map(onlyKey)).map(({ bytes, count }) => ({
    operation: NFT_MSG_DELSETELEM,
    flags: 0,
    family: s.family,
    label: `delete ${count} elements of ${setText(s)}`,
    write: (a) => writeList(a, s, bytes),
  }));
}

/** Deletes all elements. */
export function flushSet(s: SetRef): Change {
  return {
    operation: NFT_MSG_DELSETELEM,
    flags: 0,
    family: s.family,
    label: `flush set ${setText(s)}`,
    write: (a) => a.string(NFTA_SET_ELEM_LIST_TABLE, s.table).string(NFTA_SET_ELEM_LIST_SET, s.set),
  };
}

/** Dump of the elements of one set; ENOENT where table or set are absent. */
export function getElements(seq: number, s: SetRef): Buffer {
  return dumpRequest(NFT_MSG_GETSETELEM, seq, s.family, (a) =>
    a.string(NFTA_SET_ELEM_LIST_TABLE, s.table).string(NFTA_SET_ELEM_LIST_SET, s.set),
  );
}

/**
 * Requests for single elements by key, a message each, numbered from `seq`; only the last is acknowledged. What exists is
 * answered with an NFT_MSG_NEWSETELEM, what does not (or whose table or set does not) with ENOENT.
 */
export function findElements(seq: number, wanted: readonly (SetRef & { key: Hex })[]): Buffer {
  return findRequests(NFT_MSG_GETSETELEM, seq, wanted, (a, { table, set, key }) => {
    a.string(NFTA_SET_ELEM_LIST_TABLE, table).string(NFTA_SET_ELEM_LIST_SET, set);
    a.nest(NFTA_SET_ELEM_LIST_ELEMENTS, (list) => list.nest(NFTA_LIST_ELEM, (e) => writeElement(e, { key })));
  });
}

/** Body of an NFT_MSG_NEWSETELEM (dump) or NFT_MSG_DELSETELEM (notification): some of the elements of a set. @throws WEFT_INTERNAL */
export function readElements(message: Message): SetRef & { elements: Element[] } {
  const { family, attrs } = nfBody(message, 'nf_tables elements');
  let table: string | undefined;
  let set: string | undefined;
  const elements: Element[] = [];
  while (attrs.next()) {
    if (attrs.type === NFTA_SET_ELEM_LIST_TABLE) table = attrs.string();
    else if (attrs.type === NFTA_SET_ELEM_LIST_SET) set = attrs.string();
    else if (attrs.type === NFTA_SET_ELEM_LIST_ELEMENTS) {
      const list = attrs.nested('nf_tables element list');
      while (list.next()) elements.push(readElement(list.nested('nf_tables element')));
    }
  }
  if (table === undefined || set === undefined) throw new WeftError('WEFT_INTERNAL', 'nf_tables elements: of no set');
  return { family, table, set, elements };
}

function chunks(elements: readonly Element[]): { bytes: Uint8Array; count: number }[] {
  const w = new Writer(Math.min(0x10000, 64 * elements.length + 64));
  const a = new AttrWriter(w);
  const cuts: { from: number; count: number }[] = [];
  let from = 0;
  let count = 0;
  for (const element of elements) {
    const at = w.length;
    a.nest(NFTA_LIST_ELEM, (e) => writeElement(e, element));
    if (w.length - from > ELEMENTS_MAX) {
      cuts.push({ from, count });
      from = at;
      count = 0;
    }
    count++;
  }
  if (count > 0) cuts.push({ from, count });
  const all = w.done();
  return cuts.map((cut, i) => ({ bytes: all.subarray(cut.from, cuts[i + 1]?.from), count: cut.count }));
}

function writeList(a: AttrWriter, s: SetRef, elements: Uint8Array, setId?: number): void {
  a.string(NFTA_SET_ELEM_LIST_TABLE, s.table).string(NFTA_SET_ELEM_LIST_SET, s.set);
  a.be32(NFTA_SET_ELEM_LIST_SET_ID, setId);
  a.bytes(NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED, elements);
}

function writeElement(a: AttrWriter, e: Element): void {
  const flags = (e.intervalEnd ? NFT_SET_ELEM_INTERVAL_END : 0) | (e.key === undefined ? NFT_SET_ELEM_CATCHALL : 0);
  if (flags !== 0) a.be32(NFTA_SET_ELEM_FLAGS, flags);
  if (e.timeout !== undefined) a.be64(NFTA_SET_ELEM_TIMEOUT, wide(e.timeout));
  if (e.expiration !== undefined) a.be64(NFTA_SET_ELEM_EXPIRATION, wide(e.expiration));
  if (e.key !== undefined) writeValue(a, NFTA_SET_ELEM_KEY, e.key);
  if (e.keyEnd !== undefined) writeValue(a, NFTA_SET_ELEM_KEY_END, e.keyEnd);
  if (e.data !== undefined) writeData(a, NFTA_SET_ELEM_DATA, e.data);
  const { counter } = e;
  if (counter !== undefined) a.nest(NFTA_SET_ELEM_EXPR, (x) => writeExpr(x, { expr: 'counter', ...counter }));
  a.bytes(NFTA_SET_ELEM_USERDATA, userdataBytes(e, UDATA_COMMENT));
}

function onlyKey({ key, keyEnd, intervalEnd }: Element): Element {
  return {
    ...(key === undefined ? {} : { key }),
    ...(keyEnd === undefined ? {} : { keyEnd }),
    ...(intervalEnd === undefined ? {} : { intervalEnd }),
  };
}

function readElement(a: AttrReader): Element {
  const out: Element = {};
  while (a.next()) {
    switch (a.type) {
      case NFTA_SET_ELEM_KEY:
        out.key = readKey(a);
        break;
      case NFTA_SET_ELEM_KEY_END:
        out.keyEnd = readKey(a);
        break;
      case NFTA_SET_ELEM_DATA:
        out.data = readData(a);
        break;
      case NFTA_SET_ELEM_FLAGS:
        if (a.be32() & NFT_SET_ELEM_INTERVAL_END) out.intervalEnd = true;
        break;
      case NFTA_SET_ELEM_TIMEOUT:
        out.timeout = Number(a.be64());
        break;
      case NFTA_SET_ELEM_EXPIRATION:
        out.expiration = Number(a.be64());
        break;
      case NFTA_SET_ELEM_EXPR: {
        const found = readExpr(a.nested('nf_tables element expression'));
        if (found.expr !== 'counter') break;
        out.counter = { packets: Number(found.packets), bytes: Number(found.bytes) };
        break;
      }
      case NFTA_SET_ELEM_USERDATA:
        Object.assign(out, readUserdata(a.bytes(), UDATA_COMMENT));
        break;
    }
  }
  return out;
}

function readKey(a: AttrReader): Hex {
  const key = readData(a);
  if (typeof key !== 'string') throw new WeftError('WEFT_INTERNAL', `${a.where}: a verdict as key`);
  return key;
}
