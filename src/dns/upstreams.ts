import { randomInt } from 'node:crypto';
import { FLAG, HEADER_BYTES, OPCODE_MASK, OPT_BYTES, OPT_DO, RCODE, RCODE_MASK, TYPE } from './constants.js';
import type { Exchange } from './exchange.js';
import { Health } from './health.js';
import { mixCase, sameQuestion, spelling } from './mixed-case.js';
import { be16, type Query, type Transport } from './query.js';
import { Race } from './race.js';
import { failure, isGood, type Response, readResponse } from './response.js';
import type { Server } from './server-address.js';

/** What we offer upstream servers to send: fits every path's MTU unfragmented (DNS flag day 2020), unlike loopback's 4096. */
const UPSTREAM_UDP_BYTES = 1232;

/** What is left of a query's time, and whether it is still wanted. */
interface Limit {
  deadline: number;
  signal: AbortSignal;
}

/** Asks name servers, and remembers what it learns of them. */
export class Upstreams {
  readonly health = new Health();
  /** Questions under way, spelt as we spelt them, and how often. */
  readonly #spelt = new Map<string, number>();

  constructor(readonly exchange: Exchange) {}

  /**
   * Ask servers until one resolves a query. One that cannot be reached or answers SERVFAIL, REFUSED, NOTIMP or FORMERR
   * is passed over at once, one that is silent after a while; where none does better, the first such answer counts.
   * @returns undefined where none replied
   */
  ask(query: Query, servers: readonly Server[], transport: Transport): Promise<Response | undefined> {
    const race = new Race(this.health, (server, deadline, signal) =>
      this.#askOne(query, server, transport, { deadline, signal }),
    );
    return race.run(servers);
  }

  /** Is this a query that we sent ourselves, and that somebody sent back to us? */
  isOurs(query: Query): boolean {
    const spelt = this.#spelt.size > 0 ? spelling(query.bytes, query.questionEnd) : undefined;
    return spelt !== undefined && this.#spelt.has(spelt);
  }

  /** One server, as far as it takes to have its answer whole. @throws where it does not reply */
  async #askOne(query: Query, server: Server, transport: Transport, limit: Limit): Promise<Response> {
    const response = await this.#askPlainly(query, server, transport, limit);
    if (!response.truncated || transport === 'tcp') return response;
    return this.#askPlainly(query, server, 'tcp', limit).catch(() => response);
  }

  /** Servers that know nothing of EDNS may say FORMERR (RFC 6891 section 7); they are asked again without. */
  async #askPlainly(query: Query, server: Server, transport: Transport, limit: Limit): Promise<Response> {
    const edns = !this.health.lacks(server, 'edns', performance.now());
    const response = await this.#askUnforged(query, server, transport, edns, limit);
    const puzzled = response.rcode === RCODE.FORMERR || response.rcode === RCODE.NOTIMP;
    if (!edns || !puzzled || response.edns) return response;
    const plain = await this.#askUnforged(query, server, transport, false, limit);
    if (isGood(plain)) this.health.found(server, 'edns', performance.now());
    return plain;
  }

  /**
   * A reply by UDP in another case than was asked may be forged, or the server does not keep case: then it says so by TCP
   * too, which nobody forges from afar. From a server that has no TCP the answer to a second query is taken.
   */
  async #askUnforged(query: Query, server: Server, transport: Transport, edns: boolean, limit: Limit) {
    const mixed = transport === 'udp' && !this.health.lacks(server, 'case', performance.now());
    const first = await this.#exchange(query, server, transport, { edns, mixed }, limit);
    if (first.exact || !mixed) return first.response;
    let second = await this.#exchange(query, server, 'tcp', { edns, mixed }, limit).catch(() => undefined);
    if (second?.exact) return second.response;
    second ??= await this.#exchange(query, server, 'udp', { edns, mixed: false }, limit);
    this.health.found(server, 'case', performance.now());
    return second.response;
  }

  async #exchange(
    query: Query,
    server: Server,
    transport: Transport,
    { edns, mixed }: { edns: boolean; mixed: boolean },
    { deadline, signal }: Limit,
  ): Promise<{ response: Response; exact: boolean }> {
    const { questionEnd } = query;
    const sent = upstreamQuery(query, edns);
    if (mixed) mixCase(sent, questionEnd);
    const spelt = mixed ? spelling(sent, questionEnd) : undefined;
    this.#count(spelt, 1);
    try {
      let response: Response | undefined;
      const accept = (reply: Uint8Array) => {
        response = responseTo(reply, sent, questionEnd);
        return response !== undefined;
      };
      const timeoutMs = Math.max(1, deadline - performance.now());
      const reply = await this.exchange(transport, server, sent, accept, { timeoutMs, signal });
      // A failure need not repeat the question; what does not says nothing of case either.
      const exact = be16(reply, 4) === 0 || sameQuestion(reply, sent, questionEnd) === 'exact';
      return { response: response as Response, exact };
    } finally {
      this.#count(spelt, -1);
    }
  }

  #count(spelt: string | undefined, change: number): void {
    if (spelt === undefined) return;
    const count = (this.#spelt.get(spelt) ?? 0) + change;
    if (count > 0) this.#spelt.set(spelt, count);
    else this.#spelt.delete(spelt);
  }
}

/**
 * The query as it goes upstream: a random id, RD and CD of the client, its question. EDNS is between two neighbours
 * (RFC 6891 section 6.2.6), so we write an OPT of our own: client cookies and the like go no further. AD asks to be told
 * of authenticated data (RFC 6840 section 5.7); who did not ask for it is not told.
 */
function upstreamQuery(query: Query, edns: boolean): Buffer {
  const out = Buffer.alloc(query.questionEnd + (edns ? OPT_BYTES : 0));
  out.set(query.bytes.subarray(0, query.questionEnd));
  out.writeUInt16BE(randomInt(0x10000), 0);
  out.writeUInt16BE((query.flags & (FLAG.RD | FLAG.CD)) | FLAG.AD, 2);
  out.fill(0, 6, HEADER_BYTES);
  if (!edns) return out;
  out.writeUInt16BE(1, 10);
  out.writeUInt16BE(TYPE.OPT, query.questionEnd + 1);
  out.writeUInt16BE(UPSTREAM_UDP_BYTES, query.questionEnd + 3);
  out.writeUInt32BE(query.edns?.dnssecOk ? OPT_DO : 0, query.questionEnd + 5);
  return out;
}

/** Same id, and the same question but for case; a failure may come without question. */
function responseTo(reply: Uint8Array, sent: Buffer, questionEnd: number): Response | undefined {
  if (reply.length < HEADER_BYTES || be16(reply, 0) !== be16(sent, 0)) return undefined;
  const flags = be16(reply, 2);
  if (!(flags & FLAG.QR) || flags & OPCODE_MASK) return undefined;
  const questions = be16(reply, 4);
  if (questions === 0) {
    const rcode = flags & RCODE_MASK;
    // Without the question a stub resolver would take it for a stranger's: it gets one, and of the codes only a failure.
    if (rcode === RCODE.NOERROR) return undefined;
    return rcode === RCODE.NXDOMAIN ? failure(sent, questionEnd) : { ...failure(sent, questionEnd), rcode };
  }
  if (questions !== 1 || reply.length < questionEnd || !sameQuestion(reply, sent, questionEnd)) return undefined;
  return readResponse(reply, questionEnd);
}
