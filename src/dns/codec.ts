import { Reader } from '../base/bytes.js';
import { toWeftError } from '../base/errors.js';
import { FLAG, HEADER_BYTES, OPT_BYTES, TCP_BYTES_MAX, TYPE } from './constants.js';
import { readName } from './name.js';
import {
  decodeEdns,
  decodeRdata,
  type Edns,
  encodeEdns,
  encodeRdata,
  malformed,
  type ResourceRecord,
  typeNumber,
} from './record.js';
import { MessageWriter } from './wire.js';

export interface Question {
  name: string;
  type: number;
  class: number;
}

/** A DNS message (RFC 1035 section 4). `flags` is the header's second 16-bit word, see FLAG, rcode in its low bits. */
export interface Message {
  id: number;
  flags: number;
  questions: Question[];
  answers: ResourceRecord[];
  authorities: ResourceRecord[];
  additionals: ResourceRecord[];
  edns?: Edns;
}

/**
 * Decode a whole message. Work is bounded by its length, whatever the section counts claim: each entry takes at least
 * one byte, and a name at most 255 octets. Bytes behind the last record are ignored.
 * @throws WEFT_INVALID_ARGUMENT where the message is malformed
 */
export function decodeMessage(bytes: Uint8Array): Message {
  try {
    return decodeSections(new Reader(bytes));
  } catch (error) {
    const cause = toWeftError(error);
    // Reader reports running off the end as a defect of ours; here it is the sender's.
    throw cause.code === 'WEFT_INTERNAL' ? malformed(cause.message) : cause;
  }
}

function decodeSections(r: Reader): Message {
  const id = r.be16();
  const flags = r.be16();
  const [questions, answers, authorities, additionals] = [r.be16(), r.be16(), r.be16(), r.be16()];
  const message: Message = { id, flags, questions: [], answers: [], authorities: [], additionals: [] };
  for (let i = 0; i < questions; i++) {
    message.questions.push({ name: takeName(r), type: r.be16(), class: r.be16() });
  }
  for (let i = 0; i < answers; i++) decodeRecord(r, message, message.answers);
  for (let i = 0; i < authorities; i++) decodeRecord(r, message, message.authorities);
  for (let i = 0; i < additionals; i++) decodeRecord(r, message, message.additionals);
  return message;
}

function decodeRecord(r: Reader, message: Message, section: ResourceRecord[]): void {
  const name = takeName(r);
  const type = r.be16();
  const klass = r.be16();
  const ttl = r.be32();
  const length = r.be16();
  const start = r.at;
  r.skip(length);
  if (type !== TYPE.OPT) {
    section.push({ name, class: klass, ttl, data: decodeRdata(r.bytes, type, start, r.at) });
    return;
  }
  // RFC 6891 section 6.1.1: one OPT, in the additional section, owned by the root.
  if (section !== message.additionals || message.edns || name !== '') throw malformed('misplaced OPT record');
  message.edns = decodeEdns(r.bytes, klass, ttl, start, r.at);
}

function takeName(r: Reader): string {
  const name = readName(r.bytes, r.at);
  if (!name) throw malformed(`name at offset ${r.at}`);
  r.at = name.end;
  return name.text;
}

/**
 * Encode a message of at most `limit` bytes. What does not fit is cut at a record's boundary: TC is set where answers or
 * authorities are missing, not for additional records (RFC 2181 section 9). OPT always fits.
 * @throws WEFT_INVALID_* where a name, address or string cannot be encoded
 */
export function encodeMessage(message: Message, limit: number = TCP_BYTES_MAX): Uint8Array {
  // One writer for all but OPT, which stands last: the room it needs is kept free.
  const ednsBytes = message.edns ? optBytes(message.edns) : 0;
  const w = new MessageWriter(limit - ednsBytes);
  w.u16(message.id).u16(message.flags).u16(message.questions.length).u16(0).u16(0).u16(0);
  for (const q of message.questions) w.name(q.name).u16(q.type).u16(q.class);
  if (w.full) throw malformed(`the questions alone do not fit ${limit} bytes`);
  const answers = encodeSection(w, message.answers);
  const authorities = answers < message.answers.length ? 0 : encodeSection(w, message.authorities);
  const cut = answers < message.answers.length || authorities < message.authorities.length;
  const additionals = cut ? 0 : encodeSection(w, message.additionals);
  w.patch16(2, message.flags | (cut ? FLAG.TC : 0));
  w.patch16(6, answers).patch16(8, authorities);
  w.patch16(10, additionals + (message.edns ? 1 : 0));
  if (!message.edns) return w.done();
  const opt = new MessageWriter(ednsBytes);
  encodeEdns(opt, message.edns);
  return Buffer.concat([w.done(), opt.done()]);
}

/** @returns how many records fitted */
function encodeSection(w: MessageWriter, records: ResourceRecord[]): number {
  for (const [i, record] of records.entries()) {
    const mark = w.at;
    w.name(record.name).u16(typeNumber(record.data)).u16(record.class).u32(record.ttl).u16(0);
    const start = w.at;
    encodeRdata(w, record.data);
    if (w.full) {
      w.rewind(mark);
      return i;
    }
    w.patch16(start - 2, w.at - start);
  }
  return records.length;
}

function optBytes(edns: Edns): number {
  return edns.options.reduce((sum, option) => sum + 4 + option.value.length, OPT_BYTES);
}

/** The header alone, of a message at least HEADER_BYTES long, as a reply with this rcode. */
export function bareReply(query: Uint8Array, rcode: number): Uint8Array {
  const out = Buffer.alloc(HEADER_BYTES);
  out.set(query.subarray(0, 2));
  // QR, and of the query's flags the opcode and RD.
  out[2] = 0x80 | ((query[2] as number) & 0x79);
  out[3] = (FLAG.RA | rcode) & 0xff;
  return out;
}
