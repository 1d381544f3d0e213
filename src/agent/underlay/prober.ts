import type { Ip } from '../../base/ip.js';
import { family } from '../../base/ip.js';
import { MtuSearch } from './mtu-search.js';
import type { ProbeSocket } from './probe-socket.js';

/** What is known of a path. */
interface Finding {
  /** Bytes of the largest IP packet that passes. */
  mtu?: number;
  /** The other agent did not answer when it was asked last. */
  silent?: boolean;
}

/** Each size is asked for this often: a packet may be lost by chance. */
const TRIES = 2;
const TIMEOUT_MS = 150;
/** The last try of the smallest size, before a node is taken for silent: it may be far away. */
const PATIENCE_MS = 1000;
/** IPv6 promises 1280 (RFC 8200 section 5), and no link that carries VXLAN is known to be below 1200. */
const FLOOR = { 4: 1200, 6: 1280 } as const;
/** Searches begun a second at most, and at the same time: with 1000 nodes all paths are known after 20 s. */
const START_GAP_MS = 20;
const AT_ONCE = 8;
/** A path is looked at again after this long, ±20 %; one that is smaller than it should be, sooner. */
const AGAIN_MS = 600_000;
const AGAIN_SMALL_MS = 20_000;

interface Target extends Finding {
  /** What the route promises. */
  full: number;
  dueAt: number;
  searching?: boolean;
  /** The other agent has spoken since the search began. */
  heard?: boolean;
}

/** Measures the paths to other nodes now and then, spread over time. */
export class Prober {
  readonly #targets = new Map<Ip, Target>();
  #searching = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(
    readonly socket: () => ProbeSocket | undefined,
    readonly onFinding: (vtep: Ip) => void,
  ) {}

  /** Which paths there are. One that is new, or of which the route changed, is measured soon. */
  setTargets(paths: ReadonlyMap<Ip, { full: number; known?: number; changed: boolean }>): void {
    for (const vtep of this.#targets.keys()) if (!paths.has(vtep)) this.#targets.delete(vtep);
    for (const [vtep, { full, known, changed }] of paths) {
      const target = this.#targets.get(vtep);
      if (!target) this.#targets.set(vtep, { full, dueAt: 0, ...(known !== undefined && { mtu: known }) });
      else {
        // The route changed, and all that was known is that the path carries what it said before.
        if (target.full !== full && target.mtu === target.full) delete target.mtu;
        target.full = full;
        if (changed) target.dueAt = 0;
      }
    }
    this.#plan();
  }

  /** There is a socket now, or another one. */
  opened(): void {
    this.#plan();
  }

  /** The other agent has spoken: one that was silent answers now. */
  heardOf(vtep: Ip): void {
    const target = this.#targets.get(vtep);
    // In the middle of a search that may yet end in silence: it did not know us when we asked.
    if (target?.searching) target.heard = true;
    else if (target?.silent) {
      target.dueAt = 0;
      this.#plan();
    }
  }

  finding(vtep: Ip): Finding {
    return this.#targets.get(vtep) ?? {};
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #plan(): void {
    clearTimeout(this.#timer);
    if (this.#stopped || this.#searching >= AT_ONCE || !this.socket()) return;
    const due = [...this.#targets.values()].filter((t) => !t.searching).map((t) => t.dueAt);
    if (due.length === 0) return;
    const wait = Math.max(START_GAP_MS, Math.min(...due) - Date.now());
    this.#timer = setTimeout(() => this.#start(), wait).unref();
  }

  #start(): void {
    const now = Date.now();
    let next: [Ip, Target] | undefined;
    for (const entry of this.#targets) {
      const [, { searching, dueAt }] = entry;
      if (!searching && dueAt <= now && dueAt < (next?.[1].dueAt ?? Number.POSITIVE_INFINITY)) next = entry;
    }
    if (next) void this.#measure(...next);
    this.#plan();
  }

  async #measure(vtep: Ip, target: Target): Promise<void> {
    this.#searching++;
    target.searching = true;
    target.heard = false;
    const { full } = target;
    const search = await this.#search(vtep, full, target.mtu);
    target.searching = false;
    this.#searching--;
    if (search && !this.#stopped && this.#targets.get(vtep) === target) {
      const { result } = search;
      target.silent = result === undefined;
      // A node that fell silent, as it does while its agent is replaced, takes nothing away that is known of the path.
      if (result !== undefined) target.mtu = result;
      const small = target.mtu !== undefined && target.mtu < full;
      const wait = (small ? AGAIN_SMALL_MS : AGAIN_MS) * (0.8 + 0.4 * Math.random());
      target.dueAt = target.silent && target.heard ? 0 : Date.now() + wait;
      this.onFinding(vtep);
    }
    this.#plan();
  }

  async #search(vtep: Ip, full: number, known: number | undefined): Promise<MtuSearch | undefined> {
    const socket = this.socket();
    if (!socket) return undefined;
    const floor = Math.min(full, FLOOR[family(vtep)]);
    const search = new MtuSearch(full, floor, known);
    for (let size = search.next(); size !== undefined; size = search.next()) {
      if (await this.#ask(socket, vtep, size, size === floor, () => search.passed(size as number))) search.passed(size);
      else search.failed(size);
    }
    // Once more, for what was lost by chance: a path is not called small because of a moment of trouble.
    const { result } = search;
    if (result !== undefined && result < full && result !== known) {
      if (await this.#ask(socket, vtep, full, false, () => search.passed(full))) search.passed(full);
    }
    socket.forget(vtep);
    return search;
  }

  async #ask(socket: ProbeSocket, vtep: Ip, size: number, last: boolean, onLate: () => void): Promise<boolean> {
    for (let tries = 0; tries < TRIES; tries++) if (await socket.ask(vtep, size, TIMEOUT_MS, onLate)) return true;
    return last && (await socket.ask(vtep, size, PATIENCE_MS, onLate));
  }
}
