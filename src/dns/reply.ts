import { CLASS_IN, FLAG, HEADER_BYTES, OPT_BYTES, OPT_DO, RCODE_MASK, TYPE, UDP_BYTES_MAX } from './constants.js';
import { nameWire } from './name.js';
import type { Query } from './query.js';

/**
 * Seconds for which our own answers may be kept. Docker says 600, and whatever caches then holds a stopped task's address
 * for ten minutes; 0 makes some stub resolvers ask for every connection. Five seconds is about what a drain lasts.
 */
export const LOCAL_TTL = 5;

/** A pointer to the name at HEADER_BYTES: the owner of every answer is the question's name, in the question's case. */
const POINTER_TO_QUESTION = 0xc000 | HEADER_BYTES;
/** Pointer, type, class, TTL and length. */
const ANSWER_FIXED_BYTES = 12;

/**
 * A reply with addresses from packed sets (4 bytes each for A, 16 for AAAA). They are listed from number `turn` on,
 * wrapping around, as many as fit `limit` bytes; TC is set where some do not.
 */
export function addressReply(query: Query, sets: readonly Uint8Array[], turn: number, limit: number): Uint8Array {
  const width = query.type === TYPE.A ? 4 : 16;
  const packed = sets.length === 1 ? (sets[0] as Uint8Array) : distinct(sets, width);
  const count = packed.length / width;
  const room = Math.floor((limit - emptyBytes(query)) / (ANSWER_FIXED_BYTES + width));
  const fitting = Math.min(count, room);
  const out = Buffer.allocUnsafe(emptyBytes(query) + fitting * (ANSWER_FIXED_BYTES + width));
  let at = writeHead(out, query, FLAG.AA | (fitting < count ? FLAG.TC : 0), fitting);
  for (let i = 0; i < fitting; i++) {
    at = writeAnswer(out, at, query.type, width);
    const from = ((turn + i) % count) * width;
    for (let j = 0; j < width; j++) out[at++] = packed[from + j] as number;
  }
  writeOpt(out, at, query, 0);
  return out;
}

/** @throws WEFT_INVALID_NAME where `target` is no name; a view has only names that are */
export function pointerReply(query: Query, target: string, limit: number): Uint8Array {
  const wire = nameWire(target);
  const bytes = emptyBytes(query) + ANSWER_FIXED_BYTES + wire.length;
  if (bytes > limit) return emptyReply(query, FLAG.AA | FLAG.TC);
  const out = Buffer.allocUnsafe(bytes);
  let at = writeHead(out, query, FLAG.AA, 1);
  at = writeAnswer(out, at, TYPE.PTR, wire.length);
  out.set(wire, at);
  writeOpt(out, at + wire.length, query, 0);
  return out;
}

/** A reply without records. `flags` are those to add, the rcode among them, up to twelve bits of it (BADVERS is 16). */
export function emptyReply(query: Query, flags: number, rcode = 0): Uint8Array {
  const out = Buffer.allocUnsafe(emptyBytes(query));
  const at = writeHead(out, query, flags | (rcode & RCODE_MASK), 0);
  writeOpt(out, at, query, rcode >> 4);
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

function writeAnswer(out: Buffer, at: number, type: number, length: number): number {
  out.writeUInt16BE(POINTER_TO_QUESTION, at);
  out.writeUInt16BE(type, at + 2);
  out.writeUInt16BE(CLASS_IN, at + 4);
  out.writeUInt32BE(LOCAL_TTL, at + 6);
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
