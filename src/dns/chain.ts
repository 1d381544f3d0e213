import { randomInt } from 'node:crypto';
import { bareReply } from './codec.js';
import { FLAG, RCODE } from './constants.js';
import type { Counters } from './counters.js';
import type { Exchange } from './exchange.js';
import { type Forwarded, Forwarder } from './forward.js';
import { foldEnd, type HitOutcome, isPlain, type Keep, rotationOf, type Terms } from './keep.js';
import { lookup } from './lookup.js';
import { be16, isRejected, parseQuery, type Query, type Rejected, replyLimit, type Transport } from './query.js';
import type { QueryLog } from './query-log.js';
import { addressReply, emptyReply, forwardedReply, negativeReply, pointerReply, recordsReply } from './reply.js';
import type { Server } from './server-address.js';
import { tagsOfName } from './tags.js';
import { type QueryOutcome, Tally } from './tally.js';
import { EMPTY_VIEW, type SandboxView, type View } from './view.js';

/** What has run out is told to be true for this long (RFC 8767 section 4). */
const STALE_TTL = 30;

/**
 * From a client's bytes to the reply's bytes: reject what is malformed, answer what the view knows, forward the rest.
 * Answers from the view are made without waiting, so that a query costs one turn of the event loop.
 */
export class Chain {
  readonly tally = new Tally();
  #view: View = EMPTY_VIEW;
  readonly #forwarder: Forwarder;
  /** The next answer of an address set begins with this address; forgotten together with the set. */
  readonly #turns = new WeakMap<Uint8Array, number>();

  constructor(
    exchange: Exchange,
    readonly log?: QueryLog,
  ) {
    this.#forwarder = new Forwarder(exchange);
  }

  get view(): View {
    return this.#view;
  }

  set view(view: View) {
    this.#view = view;
    this.tally.retain(view.sandboxes);
    this.log?.follow(view.queryLog);
  }

  get counters(): Counters {
    return this.tally.total;
  }

  get inFlight(): number {
    return this.#forwarder.inFlight;
  }

  /**
   * @param keep is given the answer where whoever asks the same again may have it
   * @returns the reply, now or later, or undefined where there is nothing to say
   */
  respond(
    sandboxName: string,
    bytes: Uint8Array,
    transport: Transport,
    keep?: Keep,
  ): Uint8Array | Promise<Uint8Array> | undefined {
    const asked: Asked = { sandbox: sandboxName, transport, began: performance.now() };
    this.counters[transport]++;
    const query = parseQuery(bytes);
    const sandbox = this.view.sandboxes.get(sandboxName);
    if (!query || !sandbox) {
      this.counters.ignored++;
      return undefined;
    }
    if (isRejected(query)) return this.#reject(asked, bytes, query);
    const { ttl } = this.view;
    const limit = replyLimit(query, transport);
    const outcome = lookup(this.view, sandbox, query.key, query.type);
    // What is answered out of sight is not logged.
    const keeping =
      keep && !this.log?.isOn && isPlain(query)
        ? { keep: wholeOnly(query, keep), terms: termsOf(query, sandbox) }
        : undefined;
    const kept = (outcome: HitOutcome, reply: Uint8Array, rotation?: Terms['rotation']) => {
      this.#became(asked, query, outcome);
      keeping?.keep(reply, { ...keeping.terms, outcome, ...(rotation && { rotation }) });
      return reply;
    };
    switch (outcome.kind) {
      case 'addresses': {
        const reply = addressReply(query, outcome, this.#turn(outcome.sets), ttl, limit);
        return kept('answered', reply, rotationOf(query, reply));
      }
      case 'pointer':
        return kept('answered', pointerReply(query, outcome.target, ttl, limit));
      case 'records':
        return kept('answered', recordsReply(query, outcome, ttl, limit));
      case 'nodata':
      case 'nxdomain':
        return kept(outcome.kind, negativeReply(query, outcome, ttl));
      case 'forward':
        return this.#forward(asked, query, outcome.servers, keeping);
    }
  }

  #reject(asked: Asked, bytes: Uint8Array, rejected: Rejected): Uint8Array {
    this.#became(asked, rejected.question, 'rejected');
    return rejected.question ? emptyReply(rejected.question, 0, rejected.rcode) : bareReply(bytes, rejected.rcode);
  }

  #forward(
    asked: Asked,
    query: Query,
    servers: readonly Server[],
    keeping: Keeping | undefined,
  ): Uint8Array | Promise<Uint8Array> {
    const limit = replyLimit(query, asked.transport);
    const forwarded = this.#forwarder.ask(asked.sandbox, query, servers, asked.transport);
    if (forwarded instanceof Promise) return forwarded.then((late) => this.#reply(asked, query, late, limit, keeping));
    if (typeof forwarded === 'object') return this.#reply(asked, query, forwarded, limit, keeping);
    this.#became(asked, query, forwarded);
    return emptyReply(query, 0, RCODE.SERVFAIL);
  }

  #reply(
    asked: Asked,
    query: Query,
    { how, response, since, expires }: Forwarded,
    limit: number,
    keeping?: Keeping,
  ): Uint8Array {
    this.#became(asked, query, how);
    const now = performance.now();
    const age = Math.floor((now - since) / 1000);
    const left = (said: number) => (how === 'stale' ? STALE_TTL : Math.max(0, said - age));
    const reply = forwardedReply(query, response, limit, left);
    if (keeping && (how === 'forwarded' || how === 'cached') && expires > now) {
      const { keep, terms } = keeping;
      keep(reply, { ...terms, outcome: 'cached', expiresMs: expires - now, ttlAt: response.ttls });
    }
    return reply;
  }

  /** @param query undefined where the message was none */
  #became({ sandbox, transport, began }: Asked, query: Query | undefined, outcome: QueryOutcome): void {
    const seconds = (performance.now() - began) / 1000;
    this.tally.add(sandbox, outcome, seconds);
    if (query && this.log?.isOn) this.log.add(sandbox, query, transport, outcome, seconds);
  }

  /**
   * Round robin, for each set and family alone: a counter shared by A and AAAA advances by two with each client's pair
   * of queries and would show a service of two backends in the same order for ever. It begins anywhere, because a set
   * that is replaced often would else always begin with its first address.
   */
  #turn(sets: readonly Uint8Array[]): number {
    const first = sets[0] as Uint8Array;
    const turn = this.#turns.get(first) ?? randomInt(first.length);
    this.#turns.set(first, (turn + 1) % 0x100000000);
    return turn;
  }
}

/** Who asks, how, and since when (`performance.now()`). */
interface Asked {
  sandbox: string;
  transport: Transport;
  began: number;
}

/** Who takes an answer that may be given again, and under which terms whatever it is. */
interface Keeping {
  keep: Keep;
  terms: Omit<Terms, 'outcome'>;
}

/** What is kept is answered by UDP and TCP alike: what is whole, and has room in a datagram. */
function wholeOnly(query: Query, keep: Keep): Keep {
  return (answer, terms) => {
    const whole = (be16(answer, 2) & FLAG.TC) === 0;
    if (whole && answer.length <= replyLimit(query, 'udp')) keep(answer, terms);
  };
}

/** An answer holds until what its name means in the view changes. */
function termsOf(query: Query, sandbox: SandboxView): Keeping['terms'] {
  return { foldEnd: foldEnd(query), tags: tagsOfName(sandbox, query.key) };
}
