import { Reader, type Writer } from '../base/bytes.js';
import { WeftError } from '../base/errors.js';
import { AttrReader, AttrWriter } from './attr.js';
import { type Message, message, NLM_F_REQUEST, NLMSG_MIN_TYPE } from './netlink.js';

/*
 * nfnetlink, linux/netfilter/nfnetlink.h: the layer between netlink and the netfilter subsystems. The message type is
 * SUBSYSTEM << 8 | MESSAGE; each body begins with struct nfgenmsg: u8 family, u8 version (0), be16 resource id.
 */
export const NFNL_SUBSYS_CTNETLINK = 1;
export const NFNL_SUBSYS_NFTABLES = 10;
export const NFNL_MSG_BATCH_BEGIN = NLMSG_MIN_TYPE;
export const NFNL_MSG_BATCH_END = NLMSG_MIN_TYPE + 1;
/** Multicast group of changes of any ruleset of the namespace; each transaction ends with an NFT_MSG_NEWGEN. */
export const NFNLGRP_NFTABLES = 7;
const NFNETLINK_V0 = 0;
const NFNL_BATCH_GENID = 1;
const NFGENMSG_LENGTH = 4;

/** nft's words for NFPROTO_* of linux/netfilter.h; `unspec` in a dump request means all. */
const NFPROTO = { unspec: 0, inet: 1, ip: 2, arp: 3, netdev: 5, bridge: 7, ip6: 10 } as const;
export type NfFamily = keyof typeof NFPROTO;

const FAMILY_NAMES: ReadonlyMap<number, NfFamily> = new Map(
  (Object.entries(NFPROTO) as [NfFamily, number][]).map(([name, n]) => [n, name]),
);

/** NFPROTO_* number of a family. */
export function nfproto(family: NfFamily): number {
  return NFPROTO[family];
}

/** Family of an NFPROTO_* number, or undefined for one without a name here (DECnet). */
function nfFamily(n: number): NfFamily | undefined {
  return FAMILY_NAMES.get(n);
}

export interface NfRequest {
  /** NFNL_SUBSYS_* */
  subsystem: number;
  /** Message number within the subsystem (NFT_MSG_*, IPCTNL_MSG_*). */
  operation: number;
  /** NLM_F_*; NLM_F_REQUEST is added. */
  flags: number;
  family: NfFamily;
}

/** Appends one nfnetlink message whose attributes `body` writes. If `body` throws, the Writer is as before. */
export function nfMessage(w: Writer, request: NfRequest, seq: number, body: (a: AttrWriter) => void): void {
  const type = (request.subsystem << 8) | request.operation;
  message(w, { type, flags: request.flags | NLM_F_REQUEST, seq }, writeBody, {
    family: request.family,
    resource: 0,
    body,
  });
}

/** The family and attributes of a received nfnetlink message. @throws WEFT_INTERNAL where it is too short. */
export function nfBody(message: Message, where: string): { family: NfFamily; attrs: AttrReader } {
  const { body } = message;
  if (body.length < NFGENMSG_LENGTH) {
    throw new WeftError('WEFT_INTERNAL', `${where}: ${body.length} bytes are no nfgenmsg`);
  }
  const family = nfFamily(body[0] as number);
  if (family === undefined) throw new WeftError('WEFT_INTERNAL', `${where}: unknown family ${body[0]}`);
  return { family, attrs: new AttrReader(body.subarray(NFGENMSG_LENGTH), where) };
}

/** Resource id of a message with an nfgenmsg; nf_tables puts its generation there. @throws WEFT_INTERNAL where it is too short */
export function nfResource({ body }: Message): number {
  return new Reader(body.subarray(2)).be16();
}

/**
 * Opens a transaction on a subsystem. With `generation` the kernel refuses the whole batch with ERESTART when its ruleset has
 * another generation by now (NFNL_BATCH_GENID, kernel 4.12): optimistic locking against other writers of the namespace.
 */
export function batchBegin(w: Writer, subsystem: number, seq: number, generation?: number): void {
  message(w, { type: NFNL_MSG_BATCH_BEGIN, flags: NLM_F_REQUEST, seq }, writeBody, {
    family: 'unspec',
    resource: subsystem,
    body: (a) => a.be32(NFNL_BATCH_GENID, generation),
  });
}

/** Closes and commits it. */
export function batchEnd(w: Writer, subsystem: number, seq: number): void {
  message(w, { type: NFNL_MSG_BATCH_END, flags: NLM_F_REQUEST, seq }, writeBody, {
    family: 'unspec',
    resource: subsystem,
    body: () => undefined,
  });
}

interface NfBody {
  family: NfFamily;
  resource: number;
  body: (a: AttrWriter) => unknown;
}

function writeBody(w: Writer, { family, resource, body }: NfBody): void {
  w.u8(NFPROTO[family]).u8(NFNETLINK_V0).be16(resource);
  body(new AttrWriter(w));
}
