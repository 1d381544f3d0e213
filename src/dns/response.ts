import { FLAG, HEADER_BYTES, RCODE, RCODE_MASK, TYPE } from './constants.js';
import { skipName } from './name.js';
import { be16 } from './query.js';

/** Nothing is kept longer: servers that say a week rarely mean it. */
const KEEP_MAX = 86_400;
/** What does not exist may be made: RFC 2308 section 5 finds one to three hours to work well. */
const KEEP_NEGATIVE_MAX = 3600;
/** Type, class, TTL and length of a record, behind its name. */
const FIXED_BYTES = 10;
/** Of an SOA record: two names of one octet at least, and five numbers, the last of which is MINIMUM. */
const SOA_BYTES_MIN = 22;

/** A name server's reply without what is between it and us alone: its id and its OPT record. */
export interface Response {
  /** Header and question as we sent them, and the records. */
  bytes: Buffer;
  /** Twelve bits of it where the reply had an OPT record. */
  rcode: number;
  authenticated: boolean;
  /** Records are missing. */
  truncated: boolean;
  /** It had an OPT record: the server knows EDNS. */
  edns: boolean;
  /** Seconds for which it may be kept; 0 where it may not. */
  keep: number;
  /** Where TTLs stand in `bytes`. */
  ttls: readonly number[];
}

/** Does somebody who asks it of the next server get anything better? */
export const isGood = ({ rcode }: Pick<Response, 'rcode'>): boolean =>
  rcode === RCODE.NOERROR || rcode === RCODE.NXDOMAIN;

/**
 * Read a reply whose header and question were found to belong to a query.
 * @param questionEnd offset behind the question
 * @returns undefined where it is malformed; one that says that it is truncated may break off anywhere
 */
export function readResponse(reply: Uint8Array, questionEnd: number): Response | undefined {
  const flags = be16(reply, 2);
  const bytes = Buffer.from(reply);
  const type = be16(bytes, questionEnd - 4);
  const walk = new Walk(bytes, questionEnd, type);
  const whole = walk.section('answers') && walk.section('authorities') && walk.section('additionals');
  const truncated = (flags & FLAG.TC) !== 0;
  if (!whole && !truncated) return undefined;
  bytes.writeUInt16BE(0, 0);
  walk.writeCounts();
  const rcode = (flags & RCODE_MASK) | (walk.extendedRcode << 4);
  return {
    bytes: bytes.subarray(0, walk.at),
    rcode,
    authenticated: (flags & FLAG.AD) !== 0,
    truncated,
    edns: walk.edns,
    keep: truncated ? 0 : walk.keep(rcode),
    ttls: walk.ttls,
  };
}

const COUNT_AT = { answers: 6, authorities: 8, additionals: 10 } as const;
type Section = keyof typeof COUNT_AT;

/** From record to record. The work is bounded by the message's length, whatever its counts claim. */
class Walk {
  readonly ttls: number[] = [];
  readonly #counts = { answers: 0, authorities: 0, additionals: 0 };
  edns = false;
  extendedRcode = 0;
  /** Whether an answer has the type asked for, and not only aliases on the way to it. */
  #positive = false;
  #shortest = KEEP_MAX;
  /** How long to believe that there is nothing, as the zone's SOA record says (RFC 2308 section 5). */
  #negative: number | undefined;

  constructor(
    readonly bytes: Buffer,
    public at: number,
    readonly type: number,
  ) {}

  /** @returns false where the section breaks off */
  section(section: Section): boolean {
    const claimed = be16(this.bytes, COUNT_AT[section]);
    for (let i = 0; i < claimed; i++) {
      const fixed = skipName(this.bytes, this.at);
      if (fixed === undefined || fixed + FIXED_BYTES > this.bytes.length) return false;
      const end = fixed + FIXED_BYTES + be16(this.bytes, fixed + 8);
      if (end > this.bytes.length) return false;
      if (be16(this.bytes, fixed) === TYPE.OPT) {
        this.edns = true;
        this.extendedRcode = this.bytes[fixed + 4] as number;
        // It stands last, but for signatures of the message that nobody behind us could check.
        return section === 'additionals';
      }
      this.#record(section, fixed, end);
      this.at = end;
      this.#counts[section]++;
    }
    return true;
  }

  writeCounts(): void {
    for (const [section, at] of Object.entries(COUNT_AT))
      this.bytes.writeUInt16BE(this.#counts[section as Section], at);
  }

  keep(rcode: number): number {
    if (rcode === RCODE.NOERROR && this.#positive) return this.#shortest;
    if ((rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN) || this.#negative === undefined) return 0;
    return Math.min(this.#shortest, this.#negative, KEEP_NEGATIVE_MAX);
  }

  #record(section: Section, fixed: number, end: number): void {
    const type = be16(this.bytes, fixed);
    const at = fixed + 4;
    const said = this.bytes.readUInt32BE(at);
    // RFC 2181 section 8: with the highest bit set it is zero.
    const ttl = said > 0x7fffffff ? 0 : Math.min(said, KEEP_MAX);
    this.bytes.writeUInt32BE(ttl, at);
    this.ttls.push(at);
    // What comes along unasked does not shorten the life of the rest; it is counted down like all.
    if (section === 'additionals') return;
    this.#shortest = Math.min(this.#shortest, ttl);
    if (section === 'answers') this.#positive ||= type === this.type || this.type === TYPE.ANY;
    else if (type === TYPE.SOA && end - fixed - FIXED_BYTES >= SOA_BYTES_MIN)
      this.#negative = Math.min(ttl, this.bytes.readUInt32BE(end - 4));
  }
}

/** SERVFAIL, with nothing but the question. @param question a message whose header and question end at `questionEnd` */
export function failure(question: Uint8Array, questionEnd: number): Response {
  const bytes = Buffer.from(question.subarray(0, questionEnd));
  bytes.fill(0, 0, HEADER_BYTES);
  bytes.writeUInt16BE(1, 4);
  return { bytes, rcode: RCODE.SERVFAIL, authenticated: false, truncated: false, edns: false, keep: 0, ttls: [] };
}
