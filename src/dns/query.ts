import {
  CLASS_IN,
  FLAG,
  HEADER_BYTES,
  OPCODE_MASK,
  OPT_DO,
  RCODE,
  TCP_BYTES_MAX,
  TYPE,
  UDP_BYTES,
  UDP_BYTES_MAX,
} from './constants.js';
import { readKey, skipName } from './name.js';

export type Transport = 'udp' | 'tcp';

/** A well-formed query of one question in class IN, parsed no further than answering it needs. */
export interface Query {
  bytes: Uint8Array;
  flags: number;
  /** The name asked for, in lower case, without final dot. */
  key: string;
  type: number;
  /** Offset behind the question, which starts at HEADER_BYTES. */
  questionEnd: number;
  edns: { udpSize: number; dnssecOk: boolean } | undefined;
}

/** A message that gets an error and no look-up. `question` where it may be repeated in the reply. */
export interface Rejected {
  rcode: number;
  question?: Query;
}

/**
 * Parse what a client sent. The cost is bounded by the message's length; the counts in its header are not believed.
 * @returns undefined where silence is the answer: less than a header, or a response (answering those makes loops)
 */
export function parseQuery(bytes: Uint8Array): Query | Rejected | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const flags = be16(bytes, 2);
  if (flags & FLAG.QR) return undefined;
  if (flags & OPCODE_MASK) return { rcode: RCODE.NOTIMP };
  if (be16(bytes, 4) !== 1) return { rcode: RCODE.FORMERR };
  const name = readKey(bytes, HEADER_BYTES);
  if (!name || name.end + 4 > bytes.length) return { rcode: RCODE.FORMERR };
  const query: Query = {
    bytes,
    flags,
    key: name.text,
    type: be16(bytes, name.end),
    questionEnd: name.end + 4,
    edns: undefined,
  };
  const rcode = parseAdditional(query);
  if (rcode !== RCODE.NOERROR) return rcode === RCODE.FORMERR ? { rcode } : { rcode, question: query };
  const refused = be16(bytes, name.end + 2) !== CLASS_IN || query.type === TYPE.AXFR || query.type === TYPE.IXFR;
  return refused ? { rcode: RCODE.REFUSED, question: query } : query;
}

export function isRejected(parsed: Query | Rejected): parsed is Rejected {
  return 'rcode' in parsed;
}

/** Finds the OPT record. @returns NOERROR, FORMERR or BADVERS */
function parseAdditional(query: Query): number {
  const { bytes } = query;
  const others = be16(bytes, 6) + be16(bytes, 8);
  const records = others + be16(bytes, 10);
  let at = query.questionEnd;
  let version = 0;
  for (let i = 0; i < records; i++) {
    const fixed = skipName(bytes, at);
    // Type, class, TTL and length: ten bytes.
    if (fixed === undefined || fixed + 10 > bytes.length) return RCODE.FORMERR;
    if (be16(bytes, fixed) === TYPE.OPT) {
      if (query.edns || i < others || bytes[at] !== 0 || !hasWholeOptions(bytes, fixed + 10)) return RCODE.FORMERR;
      query.edns = { udpSize: be16(bytes, fixed + 2), dnssecOk: (be16(bytes, fixed + 6) & OPT_DO) !== 0 };
      version = bytes[fixed + 5] as number;
    }
    at = fixed + 10 + be16(bytes, fixed + 8);
    if (at > bytes.length) return RCODE.FORMERR;
  }
  return version === 0 ? RCODE.NOERROR : RCODE.BADVERS;
}

/** Do options, each a code, a length and as many bytes, fill what stands behind the length at `start - 2`? */
function hasWholeOptions(bytes: Uint8Array, start: number): boolean {
  const end = start + be16(bytes, start - 2);
  let at = start;
  while (at + 4 <= Math.min(end, bytes.length)) at += 4 + be16(bytes, at + 2);
  return at === end;
}

/** The longest reply the client takes: RFC 6891 section 6.2.3, sizes below 512 count as 512. */
export function replyLimit(query: Query, transport: Transport): number {
  if (transport === 'tcp') return TCP_BYTES_MAX;
  return query.edns ? Math.min(Math.max(query.edns.udpSize, UDP_BYTES), UDP_BYTES_MAX) : UDP_BYTES;
}

/** Sixteen bits in network order; the caller has checked the bounds. */
export function be16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}
