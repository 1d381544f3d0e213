import type { Ip } from '../base/ip.js';
import type { Counts, Reading } from './counts.js';

/** Counters that went and may return, at most: the oldest is given up. */
const GONE_MAX = 10_000;
const FIELDS = ['packets', 'bytes', 'connections'] as const;
const none = (): Counts => ({ packets: 0, bytes: 0, connections: 0 });

function add(to: Counts, more: Counts): void {
  for (const field of FIELDS) to[field] += more[field];
}

/**
 * Totals that only grow, made of counters that begin at 0 again whenever their object of the kernel is made anew: a backend
 * that drains, a MAC that changes, a table that others removed. After a start the totals are what the kernel has.
 */
export class Tally {
  readonly #last = new Map<string, Counts>();
  readonly #gone = new Map<string, Counts>();
  readonly #services = new Map<string, { total: Counts; backends: Map<string, Counts> }>();

  /** A counter as it is now. One that has less than before began anew. */
  see(reading: Reading): void {
    const before = this.#last.get(reading.id) ?? this.#gone.get(reading.id);
    this.#last.set(reading.id, onlyCounts(reading));
    this.#gone.delete(reading.id);
    const restarted = before === undefined || FIELDS.some((field) => reading[field] < before[field]);
    this.#grow(reading, restarted ? reading : difference(reading, before));
  }

  /**
   * A counter as it was when it went.
   * @param returns it may come back with what it had: IPVS keeps a server that was removed for a while
   */
  end(reading: Reading, returns: boolean): void {
    const before = this.#last.get(reading.id) ?? this.#gone.get(reading.id) ?? none();
    this.#last.delete(reading.id);
    this.#gone.delete(reading.id);
    if (returns) this.#gone.set(reading.id, onlyCounts(reading));
    const [oldest] = this.#gone.keys();
    if (this.#gone.size > GONE_MAX && oldest !== undefined) this.#gone.delete(oldest);
    this.#grow(reading, difference(reading, before));
  }

  /** Only these counters exist. */
  keep(ids: ReadonlySet<string>): void {
    for (const id of this.#last.keys()) if (!ids.has(id)) this.#last.delete(id);
  }

  /** Forgets services and backends (`NETWORK ADDRESS`) that are not among these. The totals of a service keep what its backends had. */
  prune(wanted: ReadonlyMap<string, ReadonlySet<string>>): void {
    for (const [service, { backends }] of this.#services) {
      const names = wanted.get(service);
      if (!names) this.#services.delete(service);
      for (const name of backends.keys()) if (!names?.has(name)) backends.delete(name);
    }
  }

  service(name: string): Counts {
    return { ...(this.#services.get(name)?.total ?? none()) };
  }

  backend(service: string, network: string, ip: Ip): Counts {
    return { ...(this.#services.get(service)?.backends.get(`${network} ${ip}`) ?? none()) };
  }

  #grow({ subject, backend }: Reading, more: Counts): void {
    const found = this.#services.get(subject.service) ?? { total: none(), backends: new Map<string, Counts>() };
    this.#services.set(subject.service, found);
    add(found.total, more);
    if (backend === undefined) return;
    const name = `${subject.network} ${backend}`;
    const counts = found.backends.get(name) ?? none();
    found.backends.set(name, counts);
    add(counts, more);
  }
}

const onlyCounts = ({ packets, bytes, connections }: Counts): Counts => ({ packets, bytes, connections });

function difference(now: Counts, before: Counts): Counts {
  const out = none();
  for (const field of FIELDS) out[field] = Math.max(0, now[field] - before[field]);
  return out;
}
