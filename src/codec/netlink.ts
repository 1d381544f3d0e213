// node:os is imported for its table of errno numbers alone; it does no I/O.
import { constants } from 'node:os';
import { Reader, type Writer } from '../base/bytes.js';
import { WeftError } from '../base/errors.js';
import { AttrReader } from './attr.js';

/*
 * The netlink message header, linux/netlink.h (struct nlmsghdr): u32 length, u16 type, u16 flags, u32 sequence number,
 * u32 port id; host byte order; messages start at multiples of 4. RFC 3549 describes the protocol.
 */
export const NETLINK_ROUTE = 0;
export const NETLINK_XFRM = 6;
export const NETLINK_NETFILTER = 12;
export const NETLINK_GENERIC = 16;

export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_OVERRUN = 4;
/** Lower types are control messages. */
export const NLMSG_MIN_TYPE = 16;
export const NLMSG_HDRLEN = 16;

export const NLM_F_REQUEST = 0x01;
export const NLM_F_MULTI = 0x02;
export const NLM_F_ACK = 0x04;
export const NLM_F_ECHO = 0x08;
/** The table changed while it was dumped: rows may be missing or double, ask again. */
export const NLM_F_DUMP_INTR = 0x10;
/** The dump was filtered as asked; without it the kernel ignored the filter. */
export const NLM_F_DUMP_FILTERED = 0x20;
export const NLM_F_ROOT = 0x100;
export const NLM_F_MATCH = 0x200;
export const NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
/** Of an acknowledgement: the request is not repeated after its header (NETLINK_CAP_ACK, and every success). */
export const NLM_F_CAPPED = 0x100;
/** Of an acknowledgement: NLMSGERR_ATTR_* follow (NETLINK_EXT_ACK). */
export const NLM_F_ACK_TLVS = 0x200;

const NLMSGERR_ATTR_MSG = 1;
const NLMSGERR_ATTR_OFFS = 2;
const NLMSGERR_ATTR_MISS_TYPE = 5;
const NLMSGERR_ATTR_MISS_NEST = 6;

/** What goes into the header of a request. */
export interface Request {
  /** RTM_*, a generic netlink family id, … */
  type: number;
  /** NLM_F_*; include NLM_F_REQUEST. */
  flags: number;
  /** u32, returned in the answer. */
  seq: number;
}

/** A received message. `body` is a view, not a copy. */
export interface Message extends Request {
  /** Port id of the socket it answers; 0 in notifications of the kernel's own. */
  pid: number;
  body: Uint8Array;
}

/** What the kernel says about a request. */
export interface Ack {
  /** 0 is success, else the positive errno. */
  errno: number;
  /** Extended-ACK text; the kernel sends some with successes too (warnings). */
  text?: string;
  /** Offset in the request, from its nlmsghdr, of the attribute that was refused. */
  offset?: number;
  /** Type of an attribute that was missing. */
  missType?: number;
  /** Offset in the request of the nest it was missing from. */
  missNest?: number;
}

/**
 * Appends one message, whose body `write` makes of `value`, padded to 4 bytes. Many messages in one Writer are one batch for
 * one sendmsg. If `write` refuses the value, the Writer is as before.
 * @throws WEFT_INVALID_* where the value does not fit.
 */
export function message<T>(w: Writer, request: Request, write: (w: Writer, value: T) => void, value: T): void {
  const at = w.length;
  try {
    w.u32(0).u16(request.type).u16(request.flags).u32(request.seq).u32(0);
    write(w, value);
  } catch (error) {
    w.length = at;
    // Buffer's own complaint about a header field out of range.
    if (error instanceof RangeError) throw new WeftError('WEFT_INVALID_ARGUMENT', `netlink: ${error.message}`);
    throw error;
  }
  const length = w.length - at;
  w.patch32(at, length).pad(-length & 3);
}

/**
 * The messages in received bytes, in order, control messages included. Bodies are views.
 * @throws WEFT_INTERNAL where a header or length does not fit the bytes.
 */
export function* parseMessages(bytes: Uint8Array): Generator<Message, void, undefined> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; ) {
    const length = lengthAt(view, at);
    yield {
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      seq: view.getUint32(at + 8, true),
      pid: view.getUint32(at + 12, true),
      body: bytes.subarray(at + NLMSG_HDRLEN, at + length),
    };
    at += (length + 3) & ~3;
  }
}

/** Length of the message that begins there, its header included. @throws WEFT_INTERNAL where it does not fit the bytes */
function lengthAt(view: DataView, at: number): number {
  const left = view.byteLength - at;
  if (left < NLMSG_HDRLEN) throw new WeftError('WEFT_INTERNAL', `netlink: ${left} stray bytes at offset ${at}`);
  const length = view.getUint32(at, true);
  if (length >= NLMSG_HDRLEN && length <= left) return length;
  throw new WeftError('WEFT_INTERNAL', `netlink: a message at offset ${at} claims ${length} bytes of ${left}`);
}

/** Was a dump disturbed by a change, so that it has to be repeated? */
export function isDumpInterrupted(message: Pick<Message, 'flags'>): boolean {
  return (message.flags & NLM_F_DUMP_INTR) !== 0;
}

/** The messages of a dump that are rows. */
export function* rowsIn(dump: Uint8Array): Generator<Message, void, undefined> {
  for (const m of parseMessages(dump)) if (!isEnd(m.type)) yield m;
}

/**
 * How a dump came out, by its headers alone: whether a change disturbed it, so that it has to be repeated, and what the kernel
 * says about it.
 * @throws WEFT_INTERNAL as parseMessages
 */
export function endOf(dump: Uint8Array): { disturbed: boolean; answer?: Ack } {
  const view = new DataView(dump.buffer, dump.byteOffset, dump.byteLength);
  const out: ReturnType<typeof endOf> = { disturbed: false };
  for (let at = 0; at < dump.length; ) {
    const length = lengthAt(view, at);
    const [type, flags] = [view.getUint16(at + 4, true), view.getUint16(at + 6, true)];
    out.disturbed ||= isDumpInterrupted({ flags });
    if (isEnd(type)) for (const m of parseMessages(dump.subarray(at, at + length))) out.answer = ack(m);
    at += (length + 3) & ~3;
  }
  return out;
}

const isEnd = (type: number): boolean => type === NLMSG_ERROR || type === NLMSG_DONE;

/**
 * Reads an NLMSG_ERROR (acknowledgement or refusal) or NLMSG_DONE (end of a dump, which carries the dump's own errno).
 * @throws WEFT_INTERNAL for other types and malformed bodies.
 */
export function ack(message: Message): Ack {
  const { type, flags, body } = message;
  if (type !== NLMSG_ERROR && type !== NLMSG_DONE) {
    throw new WeftError('WEFT_INTERNAL', `netlink: message type ${type} is no acknowledgement`);
  }
  // The kernel's NLMSG_DONE carries an errno; one without is a plain end.
  if (type === NLMSG_DONE && body.length === 0) return { errno: 0 };
  const r = new Reader(body);
  const out: Ack = { errno: Math.abs(r.i32()) };
  if (type === NLMSG_ERROR) skipRequest(r, flags);
  if (flags & NLM_F_ACK_TLVS) readExtended(r.take(r.left), out);
  return out;
}

/** The request's header always comes back; the rest of it only where the acknowledgement is not capped. */
function skipRequest(r: Reader, flags: number): void {
  const length = r.u32();
  r.skip(NLMSG_HDRLEN - 4);
  if ((flags & NLM_F_CAPPED) === 0) r.skip(Math.min(((length + 3) & ~3) - NLMSG_HDRLEN, r.left));
}

function readExtended(bytes: Uint8Array, out: Ack): void {
  const a = new AttrReader(bytes, 'extended ack');
  while (a.next()) {
    switch (a.type) {
      case NLMSGERR_ATTR_MSG:
        out.text = a.string();
        break;
      case NLMSGERR_ATTR_OFFS:
        out.offset = a.u32();
        break;
      case NLMSGERR_ATTR_MISS_TYPE:
        out.missType = a.u32();
        break;
      case NLMSGERR_ATTR_MISS_NEST:
        out.missNest = a.u32();
        break;
    }
  }
}

/**
 * Names by number. The spread's last entries win, so they settle numbers with two names (11, 35, 95) and add what
 * libuv's table lacks: ENOTSUPP never should reach user space but does (linux/errno.h).
 */
const ERRNO_NAMES: ReadonlyMap<number, string> = new Map([
  ...Object.entries(constants.errno).map(([name, n]): [number, string] => [n, name]),
  [constants.errno.EAGAIN, 'EAGAIN'],
  [constants.errno.EDEADLK, 'EDEADLK'],
  [constants.errno.EOPNOTSUPP, 'EOPNOTSUPP'],
  [94, 'ESOCKTNOSUPPORT'],
  [96, 'EPFNOSUPPORT'],
  [524, 'ENOTSUPP'],
]);

/** `EEXIST` for 17; `errno 4711` for a number without name. Takes the positive number. */
export function errnoName(errno: number): string {
  return ERRNO_NAMES.get(errno) ?? `errno ${errno}`;
}
