import { encodeMessage, type Message } from './codec.js';
import {
  CLASS_IN,
  FLAG,
  HEADER_BYTES,
  OPT_BYTES,
  OPT_DO,
  RCODE,
  RCODE_MASK,
  TYPE,
  UDP_BYTES_MAX,
} from './constants.js';
import { nameWire, readName, skipName } from './name.js';
import type { Negative, Outcome } from './outcome.js';
import { be16, type Query } from './query.js';
import type { Rdata, ResourceRecord } from './record.js';
import type { Response } from './response.js';
import { LOCAL_TTL } from './view.js';

/** A pointer to the name at HEADER_BYTES: the owner of every answer is the question's name, in the question's case. */
const POINTER_TO_QUESTION = 0xc000 | HEADER_BYTES;
/** Pointer, type, class, TTL and length. */
const ANSWER_FIXED_BYTES = 12;

/**
 * A reply with addresses from packed sets (4 bytes each for A, 16 for AAAA). They are listed from number `turn` on,
 * wrapping around, as many as fit `limit` bytes; TC is set where some do not.
 * @param ttl seconds
 */
export function addressReply(
  query: Query,
  { type, sets }: { type: typeof TYPE.A | typeof TYPE.AAAA; sets: readonly Uint8Array[] },
  turn: number,
  ttl: number,
  limit: number,
): Uint8Array {
  const width = type === TYPE.A ? 4 : 16;
  const packed = sets.length === 1 ? (sets[0] as Uint8Array) : distinct(sets, width);
  const count = packed.length / width;
  const room = Math.floor((limit - emptyBytes(query)) / (ANSWER_FIXED_BYTES + width));
  const fitting = Math.min(count, room);
  const out = Buffer.allocUnsafe(emptyBytes(query) + fitting * (ANSWER_FIXED_BYTES + width));
  let at = writeHead(out, query, FLAG.AA | (fitting < count ? FLAG.TC : 0), fitting);
  for (let i = 0; i < fitting; i++) {
    at = writeAnswer(out, at, type, ttl, width);
    const from = ((turn + i) % count) * width;
    for (let j = 0; j < width; j++) out[at++] = packed[from + j] as number;
  }
  writeOpt(out, at, query, 0);
  return out;
}

/** @throws WEFT_INVALID_NAME where `target` is no name; a view has only names that are */
export function pointerReply(query: Query, target: string, ttl: number, limit: number): Uint8Array {
  const wire = nameWire(target);
  const bytes = emptyBytes(query) + ANSWER_FIXED_BYTES + wire.length;
  if (bytes > limit) return emptyReply(query, FLAG.AA | FLAG.TC);
  const out = Buffer.allocUnsafe(bytes);
  let at = writeHead(out, query, FLAG.AA, 1);
  at = writeAnswer(out, at, TYPE.PTR, ttl, wire.length);
  out.set(wire, at);
  writeOpt(out, at + wire.length, query, 0);
  return out;
}

/**
 * A reply with records of any type, and with those that their reader will want next as far as they fit. What is rare
 * goes this way: it is made record by record.
 */
export function recordsReply(
  query: Query,
  { answers, additionals }: Extract<Outcome, { kind: 'records' }>,
  ttl: number,
  limit: number,
): Uint8Array {
  const name = readName(query.bytes, HEADER_BYTES)?.text as string;
  const record = (owner: string, data: Rdata): ResourceRecord => ({ name: owner, class: CLASS_IN, ttl, data });
  const message: Message = {
    id: be16(query.bytes, 0),
    flags: (query.flags & (FLAG.RD | FLAG.CD)) | FLAG.QR | FLAG.AA | FLAG.RA,
    questions: [{ name, type: query.type, class: CLASS_IN }],
    answers: answers.map((data) => record(name, data)),
    authorities: [],
    additionals: additionals.map((one) => record(one.name, one.data)),
  };
  if (!query.edns) return encodeMessage(message, limit);
  const edns = { udpSize: UDP_BYTES_MAX, extendedRcode: 0, version: 0, dnssecOk: query.edns.dnssecOk, options: [] };
  return encodeMessage({ ...message, edns }, limit);
}

/** RNAME of zones that nobody manages, and the other times of their SOA, in seconds: RFC 6303 section 3. */
const NOBODY = nameWire('nobody.invalid');
const [SERIAL, REFRESH, RETRY, EXPIRE] = [1, 3600, 1200, 604_800];

/**
 * NODATA or NXDOMAIN, with the SOA record that says for how long to believe it (RFC 2308 section 3): as long as our
 * answers may be kept, but not above LOCAL_TTL, for what is missing now may be there in a moment. It fits any limit.
 */
export function negativeReply(query: Query, { kind, zone }: Negative, ttl: number): Uint8Array {
  const apex = zoneWire(query, zone);
  const out = Buffer.allocUnsafe(emptyBytes(query) + 2 * apex.length + 10 + NOBODY.length + 20);
  let at = writeHead(out, query, FLAG.AA | (kind === 'nxdomain' ? RCODE.NXDOMAIN : RCODE.NOERROR), 0);
  out.writeUInt16BE(1, 8);
  const seconds = Math.min(ttl, LOCAL_TTL);
  out.set(apex, at);
  at = out.writeUInt16BE(TYPE.SOA, at + apex.length);
  at = out.writeUInt16BE(CLASS_IN, at);
  at = out.writeUInt32BE(seconds, at);
  at = out.writeUInt16BE(apex.length + NOBODY.length + 20, at);
  out.set(apex, at);
  out.set(NOBODY, at + apex.length);
  at += apex.length + NOBODY.length;
  for (const field of [SERIAL, REFRESH, RETRY, EXPIRE, seconds]) at = out.writeUInt32BE(field, at);
  writeOpt(out, at, query, 0);
  return out;
}

/** The last `labels` labels of the question's name: a pointer into the question, or the root. */
function zoneWire({ bytes }: Query, labels: number): Uint8Array {
  if (labels === 0) return Uint8Array.of(0);
  const starts: number[] = [];
  for (let at = HEADER_BYTES; bytes[at] !== 0; at += (bytes[at] as number) + 1) starts.push(at);
  const start = starts.at(-labels) as number;
  return Uint8Array.of(0xc0 | (start >> 8), start & 0xff);
}

/** A reply without records. `flags` are those to add, the rcode among them, up to twelve bits of it (BADVERS is 16). */
export function emptyReply(query: Query, flags: number, rcode = 0): Uint8Array {
  const out = Buffer.allocUnsafe(emptyBytes(query));
  const at = writeHead(out, query, flags | (rcode & RCODE_MASK), 0);
  writeOpt(out, at, query, rcode >> 4);
  return out;
}

/**
 * What a name server said, to a client: under its id, with the question in its case, cut where it takes less. AD is told
 * whoever asked for it by AD or DO (RFC 6840 section 5.8).
 * @param ttl seconds left of a TTL as the server said it
 */
export function forwardedReply(
  query: Query,
  response: Response,
  limit: number,
  ttl: (said: number) => number,
): Uint8Array {
  const { bytes, rcode, truncated, authenticated, ttls } = response;
  const out = Buffer.allocUnsafe(bytes.length + (emptyBytes(query) - query.questionEnd));
  out.set(bytes);
  for (const at of ttls) out.writeUInt32BE(ttl(bytes.readUInt32BE(at)), at);
  const told = authenticated && (query.edns?.dnssecOk || (query.flags & FLAG.AD) !== 0);
  writeHead(out, query, (rcode & RCODE_MASK) | (told ? FLAG.AD : 0) | (truncated ? FLAG.TC : 0), be16(bytes, 6));
  out.set(bytes.subarray(8, HEADER_BYTES), 8);
  if (query.edns) out.writeUInt16BE(be16(bytes, 10) + 1, 10);
  writeOpt(out, bytes.length, query, rcode >> 4);
  return out.length > limit ? cutReply(query, out, limit) : out;
}

/**
 * A name server's reply that is longer than the client takes, cut behind the last answer that fits, with TC set: musl
 * before 1.2.4 does not ask again by TCP, and makes do with what is there. Names in records point backwards only, so
 * what stands before the cut keeps its meaning.
 * @param reply repeats the question of `query`
 */
export function cutReply(query: Query, reply: Uint8Array, limit: number): Uint8Array {
  const room = limit - (emptyBytes(query) - query.questionEnd);
  const answers = be16(reply, 6);
  let at = query.questionEnd;
  let fitting = 0;
  for (; fitting < answers; fitting++) {
    const fixed = skipName(reply, at);
    if (fixed === undefined || fixed + 10 > reply.length) break;
    const next = fixed + 10 + be16(reply, fixed + 8);
    if (next > Math.min(room, reply.length)) break;
    at = next;
  }
  const out = Buffer.allocUnsafe(at + (emptyBytes(query) - query.questionEnd));
  out.set(reply.subarray(0, at));
  writeHead(out, query, (be16(reply, 2) & (FLAG.AD | RCODE_MASK)) | FLAG.TC, fitting);
  writeOpt(out, at, query, 0);
  return out;
}

function emptyBytes(query: Query): number {
  return query.questionEnd + (query.edns ? OPT_BYTES : 0);
}

function writeHead(out: Buffer, query: Query, flags: number, answers: number): number {
  out.set(query.bytes.subarray(0, query.questionEnd));
  out.writeUInt16BE((query.flags & (FLAG.RD | FLAG.CD)) | FLAG.QR | FLAG.RA | flags, 2);
  out.writeUInt16BE(answers, 6);
  out.writeUInt16BE(0, 8);
  out.writeUInt16BE(query.edns ? 1 : 0, 10);
  return query.questionEnd;
}

function writeAnswer(out: Buffer, at: number, type: number, ttl: number, length: number): number {
  out.writeUInt16BE(POINTER_TO_QUESTION, at);
  out.writeUInt16BE(type, at + 2);
  out.writeUInt16BE(CLASS_IN, at + 4);
  out.writeUInt32BE(ttl, at + 6);
  out.writeUInt16BE(length, at + 10);
  return at + ANSWER_FIXED_BYTES;
}

/** RFC 6891 section 7: who asked with OPT is answered with OPT; DO is repeated (RFC 3225), options are not. */
function writeOpt(out: Buffer, at: number, query: Query, extendedRcode: number): void {
  if (!query.edns) return;
  out[at] = 0;
  out.writeUInt16BE(TYPE.OPT, at + 1);
  out.writeUInt16BE(UDP_BYTES_MAX, at + 3);
  out.writeUInt32BE(((extendedRcode << 24) | (query.edns.dnssecOk ? OPT_DO : 0)) >>> 0, at + 5);
  out.writeUInt16BE(0, at + 9);
}

/** Sets of several networks as one, in order, an address named twice once. */
function distinct(sets: readonly Uint8Array[], width: number): Uint8Array {
  const seen = new Map<string, Uint8Array>();
  for (const set of sets) {
    for (let at = 0; at < set.length; at += width) {
      const address = set.subarray(at, at + width);
      const key = address.join('.');
      if (!seen.has(key)) seen.set(key, address);
    }
  }
  return Buffer.concat([...seen.values()]);
}
