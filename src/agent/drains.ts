import { toWeftError, type WeftError } from '../base/errors.js';
import type { Stored } from '../model/registry.js';
import type { Backend } from '../state/drain.js';
import type { Store } from '../state/store.js';
import type { Mutation } from '../state/wish.js';

/** Milliseconds: who waits for a drain counts what is left before it is cut. */
const COUNTED_MS = 250;
/** Where it cannot be written down, and the longest a timer of Node's can be. */
const RETRY_MS = 5000;
const FAR_MS = 2 ** 31 - 1;

/** Ends drains whose time is up, also those of an earlier life. */
export class Drains {
  /** Those that are not over, by table and id. */
  readonly #running = new Map<string, Backend>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    readonly store: Store,
    readonly onTrouble: (error: WeftError) => void,
  ) {}

  /** What is overdue is over when this returns. */
  start(): void {
    const { endpoints, peers } = this.store.wish;
    for (const backend of [...endpoints.values(), ...peers.values()]) this.#note(backend);
    this.store.on('change', (mutations) => this.#changed(mutations));
    this.#cut(Date.now());
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #changed(mutations: readonly Mutation[]): void {
    for (const { table, id, stored } of mutations) {
      this.#running.delete(`${table}/${id}`);
      if (stored) this.#note(stored);
    }
    this.#schedule();
  }

  #note(stored: Stored): void {
    if (stored.drain && !stored.drain.over) this.#running.set(`${stored.table}/${stored.id}`, stored as Backend);
  }

  #schedule(atLeastMs = 0): void {
    clearTimeout(this.#timer);
    if (this.#running.size === 0) return;
    const next = Math.min(...[...this.#running.values()].map(({ drain }) => drain?.until ?? 0));
    const wait = Math.max(atLeastMs, next + COUNTED_MS - Date.now());
    this.#timer = setTimeout(() => this.#cut(Date.now() - COUNTED_MS), Math.min(FAR_MS, wait)).unref();
  }

  #cut(now: number): void {
    try {
      const due = [...this.#running.values()].filter(({ drain }) => drain && drain.until <= now);
      for (const until of new Set(due.map(({ drain }) => drain?.until ?? 0))) {
        const together = due.filter(({ drain }) => drain?.until === until);
        this.store.drain(together, { until, over: true });
      }
      this.#schedule();
    } catch (error) {
      this.onTrouble(toWeftError(error));
      this.#schedule(RETRY_MS);
    }
  }
}
