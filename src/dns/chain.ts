import { randomInt } from 'node:crypto';
import { bareReply } from './codec.js';
import { RCODE } from './constants.js';
import { type Counters, newCounters } from './counters.js';
import { Forwarder } from './forward.js';
import { lookup } from './lookup.js';
import { isRejected, parseQuery, type Query, type Rejected, replyLimit, type Transport } from './query.js';
import { addressReply, cutReply, emptyReply, negativeReply, pointerReply, recordsReply } from './reply.js';
import type { Server } from './server-address.js';
import { EMPTY_VIEW, type View } from './view.js';

/**
 * From a client's bytes to the reply's bytes: reject what is malformed, answer what the view knows, forward the rest.
 * Answers from the view are made without waiting, so that a query costs one turn of the event loop.
 */
export class Chain {
  view: View = EMPTY_VIEW;
  readonly counters: Counters = newCounters();
  readonly #forwarder = new Forwarder();
  /** The next answer of an address set begins with this address; forgotten together with the set. */
  readonly #turns = new WeakMap<Uint8Array, number>();

  get inFlight(): number {
    return this.#forwarder.inFlight;
  }

  /** @returns the reply, now or later, or undefined where there is nothing to say */
  respond(sandboxName: string, bytes: Uint8Array, transport: Transport): Uint8Array | Promise<Uint8Array> | undefined {
    this.counters[transport]++;
    const query = parseQuery(bytes);
    const sandbox = this.view.sandboxes.get(sandboxName);
    if (!query || !sandbox) {
      this.counters.ignored++;
      return undefined;
    }
    if (isRejected(query)) return this.#reject(bytes, query);
    const { ttl } = this.view;
    const limit = replyLimit(query, transport);
    const outcome = lookup(this.view, sandbox, query.key, query.type);
    switch (outcome.kind) {
      case 'addresses':
        this.counters.answered++;
        return addressReply(query, outcome, this.#turn(outcome.sets), ttl, limit);
      case 'pointer':
        this.counters.answered++;
        return pointerReply(query, outcome.target, ttl, limit);
      case 'records':
        this.counters.answered++;
        return recordsReply(query, outcome, ttl, limit);
      case 'nodata':
      case 'nxdomain':
        this.counters[outcome.kind]++;
        return negativeReply(query, outcome, ttl);
      case 'forward':
        return this.#forward(sandboxName, query, outcome.servers, transport);
    }
  }

  #reject(bytes: Uint8Array, rejected: Rejected): Uint8Array {
    this.counters.rejected++;
    return rejected.question ? emptyReply(rejected.question, 0, rejected.rcode) : bareReply(bytes, rejected.rcode);
  }

  async #forward(sandbox: string, query: Query, servers: readonly Server[], transport: Transport): Promise<Uint8Array> {
    this.counters.forwarded++;
    const reply = await this.#forwarder.ask(sandbox, query, servers, transport);
    if (!reply) {
      this.counters.failed++;
      return emptyReply(query, 0, RCODE.SERVFAIL);
    }
    // A server that sends more than it was offered: the client did not offer room for it either.
    const limit = replyLimit(query, transport);
    return reply.length > limit ? cutReply(query, reply, limit) : reply;
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
