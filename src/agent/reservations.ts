import { EventEmitter } from 'node:events';
import { toWeftError, WeftError } from '../base/errors.js';
import type { PortAsked, Reservation } from '../kernel/real/reserve.js';
import {
  clashText,
  contended,
  type NodePort,
  nodePorts,
  type PortHolder,
  type Span,
  spanOf,
  spansMeet,
  takes,
} from '../model/published.js';
import type { Wish } from '../model/registry.js';

/** What the node knows of its ports. */
export interface NodeSockets {
  reserve(asked: PortAsked): Reservation;
  release(fd: number): void;
  /** Who listens where one of the spans is. */
  holders(spans: readonly Span[]): Promise<PortHolder[]>;
  /** Is any socket at that local port, a connection or what lingers of one? */
  isLocalPort(proto: 'tcp' | 'udp', port: number): Promise<boolean>;
  /** Ports that the administrator keeps from being chosen; as it is now. */
  kept(): (port: number) => boolean;
}

/** Numbers of ports that were left to this node. */
export interface PortNumbers {
  chosen(name: string): number | undefined;
  choose(name: string, first: number, usable: (port: number) => boolean): number;
}

/** First number that is chosen: from here up is the range that Linux gives clients too (ip_local_port_range). */
const FIRST_CHOSEN = 32768;
/** What somebody else has, or what lingers of connections, is tried again. */
const RETRY_MS = 5000;

interface Wanted extends PortAsked {
  owner: string;
}
const keyOf = ({ proto, address, port }: PortAsked): string => `${proto} ${address ?? '*'} ${port}`;

/**
 * Holds the published ports of this node, so that no program takes one and then waits for callers in vain, and chooses
 * numbers for those that were published without. Sockets end with the agent: a new one binds them again.
 */
export class Reservations extends EventEmitter<{ trouble: [owner: string, message: string] }> {
  readonly #held = new Map<string, { fd: number | undefined; asked: PortAsked }>();
  /** Of the wish that was followed last, those that could not be bound. */
  #missing: Wanted[] = [];
  #troubles = new Map<string, string>();
  #retry: NodeJS.Timeout | undefined;
  #wish: Wish | undefined;

  constructor(
    readonly sockets: NodeSockets,
    readonly numbers: PortNumbers,
  ) {
    super();
  }

  /** Binds what the wish publishes, gives back what it does not, and chooses numbers that are missing. */
  follow(wish: Wish): void {
    this.#wish = wish;
    const unchosen: NodePort[] = [];
    const wanted = new Map<string, Wanted>();
    for (const port of nodePorts(wish)) {
      if (port.chosenAs !== undefined && this.numbers.chosen(port.chosenAs) === undefined) unchosen.push(port);
      for (const one of this.#asked(port)) if (!wanted.has(keyOf(one))) wanted.set(keyOf(one), one);
    }
    for (const [key, { fd }] of this.#held) {
      if (wanted.has(key)) continue;
      if (fd !== undefined) this.sockets.release(fd);
      this.#held.delete(key);
    }
    const troubles = new Map<string, string>();
    for (const [port, holder] of contended(wish, this.numbers.chosen)) {
      if (port.owner !== holder.owner) troubles.set(port.owner, clashText(port, holder, this.numbers.chosen));
    }
    this.#missing = [...wanted.values()].filter((one) => this.#hold(one, troubles) === 'taken');
    for (const port of unchosen) this.#choose(port, troubles);
    void this.#explain(troubles);
  }

  /**
   * Binds what a wish would publish and the present one does not.
   * @throws WEFT_CONFLICT naming who has a port
   */
  async claim(after: Wish): Promise<void> {
    const known = new Set(
      this.#wish
        ? nodePorts(this.#wish)
            .flatMap((port) => this.#asked(port))
            .map(keyOf)
        : [],
    );
    const fresh = nodePorts(after)
      .flatMap((port) => this.#asked(port))
      .filter((one) => !known.has(keyOf(one)));
    const taken = fresh.filter((one) => !this.#isOurs(one) && this.#hold(one) === 'taken');
    for (const one of taken) {
      const holder = await this.#holderOf(one);
      // Who had it may have gone while one looked.
      if (holder !== undefined && this.#hold(one) === 'taken') throw takenError(one, holder);
    }
  }

  /** Forgets claims that came to nothing. */
  settle(): void {
    if (this.#wish) this.follow(this.#wish);
  }

  /** What is wrong with ports of an object of the wish. */
  trouble(owner: string): string | undefined {
    return this.#troubles.get(owner);
  }

  troubles(): ReadonlyMap<string, string> {
    return this.#troubles;
  }

  stop(): void {
    clearTimeout(this.#retry);
    for (const { fd } of this.#held.values()) if (fd !== undefined) this.sockets.release(fd);
    this.#held.clear();
    this.#wish = undefined;
  }

  /** A socket for each number of a port or range. */
  #asked(port: NodePort): Wanted[] {
    // Without backends here the port leads nowhere on this node.
    if (port.p.mode === 'host' && port.sandbox === undefined) return [];
    const span = spanOf(port, this.numbers.chosen);
    if (!span) return [];
    const { owner } = port;
    const { proto, hostIp: address } = span;
    return Array.from({ length: span.to - span.from + 1 }, (_, i) => ({ owner, proto, address, port: span.from + i }));
  }

  #hold(asked: Wanted, troubles?: Map<string, string>): 'held' | 'taken' {
    if (this.#held.has(keyOf(asked))) return 'held';
    try {
      const outcome = this.sockets.reserve(asked);
      if (outcome === 'taken') return 'taken';
      this.#held.set(keyOf(asked), { fd: outcome === 'unknown' ? undefined : outcome.fd, asked });
    } catch (error) {
      const { message } = toWeftError(error);
      if (!troubles) throw new WeftError('WEFT_UNAVAILABLE', `cannot reserve ${textOf(asked)}: ${message}`);
      troubles.set(asked.owner, `cannot reserve ${textOf(asked)}: ${message}`);
    }
    return 'held';
  }

  /** Held already, by a socket of another shape: two sockets of this process would be in each other's way. */
  #isOurs(asked: PortAsked): boolean {
    return [...this.#held.values()].some((held) => spansMeet(spanFrom(held.asked), spanFrom(asked)));
  }

  #choose(port: NodePort, troubles: Map<string, string>): void {
    const { p, owner, chosenAs } = port;
    const kept = this.sockets.kept();
    const published = [...this.#missing].map(spanFrom);
    const usable = (n: number): boolean => {
      if (n > 65535) throw new WeftError('WEFT_EXHAUSTED', `every port from ${FIRST_CHOSEN} up is taken on this node`);
      const asked = { owner, proto: p.proto, address: p.hostIp, port: n };
      const isFree = !kept(n) && !this.#isOurs(asked) && !published.some((span) => spansMeet(span, spanFrom(asked)));
      return isFree && this.#hold(asked) === 'held';
    };
    try {
      this.numbers.choose(chosenAs as string, FIRST_CHOSEN, usable);
    } catch (error) {
      troubles.set(owner, toWeftError(error).message);
    }
  }

  /** Says who has the ports that could not be bound, and tries again later. */
  async #explain(troubles: Map<string, string>): Promise<void> {
    clearTimeout(this.#retry);
    const missing = this.#missing;
    if (missing.length > 0) {
      this.#retry = setTimeout(() => this.settle(), RETRY_MS);
      this.#retry.unref();
    }
    for (const one of missing) {
      const holder = troubles.has(one.owner) ? undefined : await this.#holderOf(one);
      if (holder !== undefined) troubles.set(one.owner, takenError(one, holder).message);
    }
    // The wish has moved on while the holders were looked for.
    if (missing !== this.#missing) return;
    const before = this.#troubles;
    this.#troubles = troubles;
    for (const [owner, message] of troubles) if (before.get(owner) !== message) this.emit('trouble', owner, message);
  }

  /** Undefined where a connection, or what lingers of one, has the port: that passes and hears nothing of callers. */
  async #holderOf(asked: Wanted): Promise<PortHolder | 'unseen' | undefined> {
    const span = spanFrom(asked);
    const [holder] = (await this.sockets.holders([span])).filter((h) => h.pid !== process.pid && takes(h, span));
    if (holder) return holder;
    const { proto, port } = asked;
    return proto !== 'sctp' && (await this.sockets.isLocalPort(proto, port)) ? undefined : 'unseen';
  }
}

const spanFrom = ({ proto, address, port }: PortAsked): Span => ({ proto, hostIp: address, from: port, to: port });
const textOf = ({ proto, port }: PortAsked): string => `port ${port}/${proto}`;

function takenError(asked: PortAsked, holder: PortHolder | 'unseen'): WeftError {
  const who =
    holder === 'unseen' ? 'a socket that does not listen has it' : `${holderText(holder)} listens on ${holder.address}`;
  const details = holder === 'unseen' ? {} : { ...holder };
  const hint = 'stop it, or publish another port';
  return new WeftError('WEFT_CONFLICT', `${textOf(asked)} is taken on this node: ${who}`, hint, details);
}

function holderText({ pid, program }: PortHolder): string {
  if (pid === undefined) return 'a process that is not to be seen from here';
  return program === undefined ? `pid ${pid}` : `${program} (pid ${pid})`;
}
