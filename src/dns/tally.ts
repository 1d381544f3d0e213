import { type Counters, newCounters } from './counters.js';
import type { Hits } from './datagrams.js';
import { HIT_OUTCOMES } from './keep.js';
import type { Transport } from './query.js';

/** What queries become, each one thing. */
export type QueryOutcome = Exclude<keyof Counters, 'udp' | 'tcp' | 'ignored' | 'socketErrors'>;
type Counts = Partial<Record<QueryOutcome, number>>;

/** Who had to be asked decides how long an answer takes. */
export const WAYS = ['local', 'cached', 'forwarded'] as const;
export type Way = (typeof WAYS)[number];

const WAY_OF: Record<QueryOutcome, Way> = {
  ...{ answered: 'local', nodata: 'local', nxdomain: 'local', rejected: 'local', limited: 'local', looped: 'local' },
  ...{ cached: 'cached', stale: 'forwarded', forwarded: 'forwarded', failed: 'forwarded' },
};

/** Upper bounds in seconds: answers from memory, of servers near and far, of the second server, and after retries. */
export const BOUNDS = [0.0001, 0.001, 0.005, 0.025, 0.1, 0.4, 1, 2.5, 6] as const;

/** How many queries took how long: one number for each bound and one for what is above all, not added up. */
export interface Histogram {
  counts: number[];
  /** All together, in seconds. */
  sum: number;
}

/** Sandboxes that are counted one by one; others are counted together under the name that none has. */
const SANDBOXES_MAX = 1000;
export const OTHERS = '';

/** As a status tells it. */
export interface TallyJson {
  sandboxes: Record<string, Counts>;
  ways: Record<Way, Histogram>;
}

/** What became of queries of each sandbox, and how long they took from the reading of the query to the answer. */
export class Tally {
  readonly total = newCounters();
  #sandboxes = new Map<string, Counts>();
  readonly #ways: Record<Way, Histogram> = { local: histogram(), cached: histogram(), forwarded: histogram() };

  /** @param seconds since the query was read */
  add(sandbox: string, outcome: QueryOutcome, seconds: number): void {
    this.total[outcome]++;
    const counts = this.#of(sandbox);
    counts[outcome] = (counts[outcome] ?? 0) + 1;
    const way = this.#ways[WAY_OF[outcome]];
    const bucket = BOUNDS.findIndex((bound) => seconds <= bound);
    const at = bucket < 0 ? BOUNDS.length : bucket;
    way.counts[at] = (way.counts[at] as number) + 1;
    way.sum += seconds;
  }

  /** Answers to a sandbox that were given without us. How long they took is not known. */
  addHits(sandbox: string, hits: Readonly<Record<Transport, Hits>>): void {
    const counts = this.#of(sandbox);
    for (const transport of ['udp', 'tcp'] as const) {
      for (const outcome of HIT_OUTCOMES) {
        const count = hits[transport][outcome];
        this.total[outcome] += count;
        this.total[transport] += count;
        if (count > 0) counts[outcome] = (counts[outcome] ?? 0) + count;
      }
    }
  }

  /** One whose counts can be added to; times stay shared. */
  copy(): Tally {
    const copy = new Tally();
    Object.assign(copy.total, this.total);
    copy.#sandboxes = new Map([...this.#sandboxes].map(([name, counts]) => [name, { ...counts }]));
    Object.assign(copy.#ways, this.#ways);
    return copy;
  }

  /** Forgets sandboxes that are gone. */
  retain(sandboxes: ReadonlyMap<string, unknown>): void {
    for (const name of this.#sandboxes.keys())
      if (name !== OTHERS && !sandboxes.has(name)) this.#sandboxes.delete(name);
  }

  toJson(): TallyJson {
    return { sandboxes: Object.fromEntries(this.#sandboxes), ways: this.#ways };
  }

  #of(sandbox: string): Counts {
    const known = this.#sandboxes.get(sandbox);
    if (known) return known;
    const name = this.#sandboxes.size < SANDBOXES_MAX ? sandbox : OTHERS;
    const counts = this.#sandboxes.get(name) ?? {};
    this.#sandboxes.set(name, counts);
    return counts;
  }
}

const histogram = (): Histogram => ({ counts: new Array(BOUNDS.length + 1).fill(0), sum: 0 });
