import { setTimeout as sleep } from 'node:timers/promises';
import { Cache, type Kept, responseOf } from './cache.js';
import { FLAG } from './constants.js';
import type { Exchange } from './exchange.js';
import { nameOf } from './health.js';
import type { Query, Transport } from './query.js';
import { failure, isGood, type Response } from './response.js';
import type { Server } from './server-address.js';
import { Upstreams } from './upstreams.js';

/** Forwarded queries at one time, each holding a socket: of one sandbox, so that it cannot starve others, and of all. */
const IN_FLIGHT_PER_SANDBOX = 256;
const IN_FLIGHT = 2048;
/** So many of a sandbox are taken also where others hold all the rest. */
const IN_FLIGHT_ASSURED = 8;
/** A failure is an answer too, for a moment (RFC 9520 section 3.2): whoever asks in a loop does not ask the servers so. */
const FAILURE_SECONDS = 1;
/** An answer that has run out is given when none newer comes in this time (RFC 8767 section 5, client response timer). */
const STALE_AFTER_MS = 1800;
/** And for so long nobody is asked anew after a failure (failure recheck timer). */
const RECHECK_MS = 30_000;

/** What a forwarded query is answered with. Times are milliseconds of `performance.now()`. */
export interface Forwarded {
  /** `forwarded`: a server was asked; `cached`: one was asked before; `stale`: none answers, one did not long ago. */
  how: 'forwarded' | 'cached' | 'stale' | 'failed';
  response: Response;
  /** When the servers said so, and until when it is true. */
  since: number;
  expires: number;
}

/** Nobody is asked: the sandbox or all together wait for too many answers, or the query is one of our own come back. */
export type Unasked = 'limited' | 'looped';

/** Asks name servers on behalf of sandboxes, and keeps what they say. */
export class Forwarder {
  readonly cache = new Cache();
  readonly upstreams: Upstreams;
  /** Answers waited for, by what makes them differ. */
  readonly #pending = new Map<string, Promise<Forwarded>>();
  readonly #bySandbox = new Map<string, number>();
  #total = 0;

  constructor(exchange: Exchange) {
    this.upstreams = new Upstreams(exchange);
  }

  /** Queries that wait for an answer. */
  get inFlight(): number {
    return this.#total;
  }

  /**
   * The answer that servers give, from the cache where it is there. Identical queries under way at one time are one.
   * @param sandbox whose limits count
   */
  ask(
    sandbox: string,
    query: Query,
    servers: readonly Server[],
    transport: Transport,
  ): Forwarded | Unasked | Promise<Forwarded> {
    const now = performance.now();
    const key = keyOf(query, servers);
    const kept = this.cache.get(key, now);
    if (kept && now < kept.expires) return again('cached', kept);
    if (kept && now < kept.recheck) return again('stale', kept);
    if (this.upstreams.isOurs(query)) return 'looped';
    const own = this.#bySandbox.get(sandbox) ?? 0;
    if (own >= IN_FLIGHT_PER_SANDBOX || (own >= IN_FLIGHT_ASSURED && this.#total >= IN_FLIGHT)) return 'limited';
    this.#bySandbox.set(sandbox, own + 1);
    this.#total++;
    return this.#await(key, sandbox, query, servers, transport, kept).finally(() => this.#ended(sandbox));
  }

  async #await(
    key: string,
    sandbox: string,
    query: Query,
    servers: readonly Server[],
    transport: Transport,
    kept: Kept | undefined,
  ): Promise<Forwarded> {
    let pending = this.#pending.get(key);
    if (!pending) {
      pending = this.#fetch(key, sandbox, query, servers, transport).finally(() => this.#pending.delete(key));
      this.#pending.set(key, pending);
    }
    if (!kept || !isGood(kept.rest)) return pending;
    const limit = new AbortController();
    const late = sleep(STALE_AFTER_MS, undefined, { signal: limit.signal }).catch(() => undefined);
    const forwarded = await Promise.race([pending, late]);
    limit.abort();
    return forwarded && isGood(forwarded.response) ? forwarded : again('stale', kept);
  }

  async #fetch(
    key: string,
    sandbox: string,
    query: Query,
    servers: readonly Server[],
    transport: Transport,
  ): Promise<Forwarded> {
    const answer = await this.upstreams.ask(query, servers, transport);
    const response = answer ?? failure(query.bytes, query.questionEnd);
    const now = performance.now();
    const good = isGood(response);
    const seconds = good ? response.keep : FAILURE_SECONDS;
    const kept = this.cache.get(key, now);
    if (!good && kept && isGood(kept.rest)) kept.recheck = now + RECHECK_MS;
    else if (seconds > 0 && !response.truncated) this.cache.put(key, sandbox, response, seconds, now);
    return { how: answer ? 'forwarded' : 'failed', response, since: now, expires: now + seconds * 1000 };
  }

  #ended(sandbox: string): void {
    this.#total--;
    const left = (this.#bySandbox.get(sandbox) as number) - 1;
    if (left > 0) this.#bySandbox.set(sandbox, left);
    else this.#bySandbox.delete(sandbox);
  }
}

function again(how: 'cached' | 'stale', kept: Kept): Forwarded {
  return { how, response: responseOf(kept), since: kept.since, expires: kept.expires };
}

/** What makes answers differ: who is asked, the question but for case, and the bits that ask for more or less of it. */
function keyOf({ key, type, flags, edns }: Query, servers: readonly Server[]): string {
  const bits = (flags & (FLAG.RD | FLAG.CD)) | (edns?.dnssecOk ? 1 : 0);
  return `${bits} ${type} ${key} ${serversKey(servers)}`;
}

const keys = new WeakMap<readonly Server[], string>();

function serversKey(servers: readonly Server[]): string {
  let key = keys.get(servers);
  if (key === undefined) {
    key = servers.map(nameOf).join(',');
    keys.set(servers, key);
  }
  return key;
}
