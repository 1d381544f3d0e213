import { Writer } from '../../base/bytes.js';
import type { AttrWriter } from '../attr.js';
import { NLM_F_ACK, NLM_F_DUMP } from '../netlink.js';
import { NFNL_SUBSYS_NFTABLES, type NfFamily, nfMessage } from '../nfnl.js';

/** enum nf_tables_msg_types of linux/netfilter/nf_tables.h. */
export const NFT_MSG_NEWTABLE = 0;
export const NFT_MSG_GETTABLE = 1;
export const NFT_MSG_DELTABLE = 2;
export const NFT_MSG_NEWCHAIN = 3;
export const NFT_MSG_GETCHAIN = 4;
export const NFT_MSG_DELCHAIN = 5;
export const NFT_MSG_NEWRULE = 6;
export const NFT_MSG_GETRULE = 7;
export const NFT_MSG_DELRULE = 8;
export const NFT_MSG_NEWSET = 9;
export const NFT_MSG_GETSET = 10;
export const NFT_MSG_DELSET = 11;
export const NFT_MSG_NEWSETELEM = 12;
export const NFT_MSG_GETSETELEM = 13;
export const NFT_MSG_DELSETELEM = 14;
export const NFT_MSG_NEWGEN = 15;
export const NFT_MSG_GETGEN = 16;

/** Names a table; also the part of every other object that says where it is. */
export interface TableRef {
  family: NfFamily;
  table: string;
}

/** One message of a transaction: nothing of it happens unless all of the batch can. */
export interface Change extends Omit<TableRef, 'table'> {
  /** NFT_MSG_* */
  operation: number;
  /** NLM_F_* beyond NLM_F_REQUEST. */
  flags: number;
  /** In words, for plans and errors: "add rule bridge weft prerouting". */
  label: string;
  write(a: AttrWriter): void;
}

/** A request for a dump: complete bytes with one message. */
export function dumpRequest(
  operation: number,
  seq: number,
  family: NfFamily,
  write: (a: AttrWriter) => void = () => undefined,
): Buffer {
  const w = new Writer(128);
  nfMessage(w, { subsystem: NFNL_SUBSYS_NFTABLES, operation, flags: NLM_F_DUMP, family }, seq, write);
  return w.done();
}

/** Requests for single objects, a message each, numbered from `seq`; only the last is acknowledged. */
export function findRequests<T extends { family: NfFamily }>(
  operation: number,
  seq: number,
  wanted: readonly T[],
  write: (a: AttrWriter, one: T) => void,
): Buffer {
  const w = new Writer(128 * wanted.length);
  for (const [i, one] of wanted.entries()) {
    const flags = i === wanted.length - 1 ? NLM_F_ACK : 0;
    const request = { subsystem: NFNL_SUBSYS_NFTABLES, operation, flags, family: one.family } as const;
    nfMessage(w, request, (seq + i) >>> 0, (a) => write(a, one));
  }
  return w.done();
}

/** nlmsg_type of an nf_tables message, as received in dumps and notifications. */
export function nftType(operation: number): number {
  return (NFNL_SUBSYS_NFTABLES << 8) | operation;
}
