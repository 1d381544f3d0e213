import { randomInt } from 'node:crypto';
import { FLAG, HEADER_BYTES, OPT_BYTES, OPT_DO, RCODE, RCODE_MASK, TYPE } from './constants.js';
import { exchangeTcp, exchangeUdp } from './exchange.js';
import { be16, type Query, type Transport } from './query.js';
import type { Server } from './server-address.js';

/** How long one server is waited for before the next one is asked. */
const SERVER_TIMEOUT_MS = 2000;
/** All servers together. A stub resolver asks again after 5 s (resolv.conf(5), `timeout`): later answers find nobody. */
const QUERY_DEADLINE_MS = 5000;
/** Forwarded queries at one time, each holding a socket: of one sandbox, so that it cannot starve others, and of all. */
const IN_FLIGHT_PER_SANDBOX = 256;
const IN_FLIGHT = 2048;
/** What we offer upstream servers to send: fits every path's MTU unfragmented (DNS flag day 2020), unlike loopback's 4096. */
const UPSTREAM_UDP_BYTES = 1232;

/** Asks name servers on behalf of sandboxes, from the resolver's own network namespace. */
export class Forwarder {
  readonly #bySandbox = new Map<string, number>();
  #total = 0;

  get inFlight(): number {
    return this.#total;
  }

  /**
   * Forward a query to the servers in turn until one resolves it. A server that refuses the connection, does not answer,
   * or answers SERVFAIL, REFUSED, NOTIMP or FORMERR is passed over; where no server does better, the last such answer
   * is the answer.
   * @param sandbox whose limit counts
   * @returns the reply for the client, its id and question restored, or undefined where no server replied or too many
   * queries are under way
   */
  async ask(
    sandbox: string,
    query: Query,
    servers: readonly Server[],
    transport: Transport,
  ): Promise<Buffer | undefined> {
    const own = this.#bySandbox.get(sandbox) ?? 0;
    if (own >= IN_FLIGHT_PER_SANDBOX || this.#total >= IN_FLIGHT) return undefined;
    this.#bySandbox.set(sandbox, own + 1);
    this.#total++;
    try {
      return await askInTurn(query, servers, transport);
    } finally {
      this.#total--;
      const left = (this.#bySandbox.get(sandbox) as number) - 1;
      if (left > 0) this.#bySandbox.set(sandbox, left);
      else this.#bySandbox.delete(sandbox);
    }
  }
}

async function askInTurn(query: Query, servers: readonly Server[], transport: Transport): Promise<Buffer | undefined> {
  const deadline = performance.now() + QUERY_DEADLINE_MS;
  const exchange = transport === 'udp' ? exchangeUdp : exchangeTcp;
  let worse: Buffer | undefined;
  for (const server of servers) {
    const left = deadline - performance.now();
    if (left <= 0) break;
    const sent = upstreamQuery(query);
    const accept = (reply: Uint8Array) => isReplyTo(reply, sent, query.questionEnd);
    const reply = await exchange(server, sent, accept, Math.min(SERVER_TIMEOUT_MS, left)).catch(() => undefined);
    // Without the question a stub resolver takes it for a stranger's and waits on.
    if (!reply || be16(reply, 4) !== 1) continue;
    const rcode = be16(reply, 2) & RCODE_MASK;
    if (rcode === RCODE.NOERROR || rcode === RCODE.NXDOMAIN) return restored(reply, query);
    worse = restored(reply, query);
  }
  return worse;
}

/**
 * The query as it goes upstream: a random id, RD, AD and CD of the client, its question untouched. EDNS is between two
 * neighbours (RFC 6891 section 6.2.6), so we write an OPT of our own: client cookies and the like go no further.
 */
function upstreamQuery(query: Query): Buffer {
  const out = Buffer.alloc(query.questionEnd + (query.edns ? OPT_BYTES : 0));
  out.set(query.bytes.subarray(0, query.questionEnd));
  out.writeUInt16BE(randomInt(0x10000), 0);
  out.writeUInt16BE(query.flags & (FLAG.RD | FLAG.AD | FLAG.CD), 2);
  out.fill(0, 6, HEADER_BYTES);
  if (!query.edns) return out;
  out.writeUInt16BE(1, 10);
  out.writeUInt16BE(TYPE.OPT, query.questionEnd + 1);
  out.writeUInt16BE(Math.min(Math.max(query.edns.udpSize, 512), UPSTREAM_UDP_BYTES), query.questionEnd + 3);
  out.writeUInt32BE(query.edns.dnssecOk ? OPT_DO : 0, query.questionEnd + 5);
  return out;
}

/** Same id, and the same question but for case; a failure may come without question. */
function isReplyTo(reply: Uint8Array, sent: Buffer, questionEnd: number): boolean {
  if (reply.length < HEADER_BYTES || be16(reply, 0) !== be16(sent, 0)) return false;
  const flags = be16(reply, 2);
  if (!(flags & FLAG.QR)) return false;
  const questions = be16(reply, 4);
  if (questions === 0) return (flags & RCODE_MASK) !== RCODE.NOERROR;
  if (questions !== 1 || reply.length < questionEnd) return false;
  for (let i = HEADER_BYTES; i < questionEnd; i++)
    if (fold(reply[i] as number) !== fold(sent[i] as number)) return false;
  return true;
}

function fold(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

/** The reply under the client's id and with the question in the client's case. */
function restored(reply: Uint8Array, query: Query): Buffer {
  const out = Buffer.from(reply);
  out.set(query.bytes.subarray(0, 2));
  out.set(query.bytes.subarray(HEADER_BYTES, query.questionEnd), HEADER_BYTES);
  return out;
}
