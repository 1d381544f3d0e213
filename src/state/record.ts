import type { Ip } from '../base/ip.js';
import type { Stored, Table } from '../model/registry.js';
import { isCursorOf } from './allocate.js';
import type { Tombstone } from './gossip.js';
import { Numbers, PORT_SPACE } from './numbers.js';
import { MutableWish, type Mutation } from './wish.js';

/** One line of the journal: everything that one request changed. */
export interface JournalRecord {
  r: number;
  set?: Stored[];
  del?: [Table, string][];
  /** Serial allocation: cursor → number of the address to look at first. */
  next?: [string, string][];
  tombs?: Tombstone[];
  /** Gossip tables of which a snapshot has ended at some time. */
  snapshots?: string[];
  /** Stable numbers: name → number. */
  numbers?: [string, number][];
  /** Why the wish was not known whole; holds until it is stated anew, over restarts. */
  doubt?: string;
  /** Whether the rows of peers are known whole. */
  peersKnown?: boolean;
  /** Underlay address of this node, as it is told to others. */
  vtep?: Ip;
}

/** What a request changes beside objects of the wish. */
export interface Beside
  extends Pick<JournalRecord, 'tombs' | 'snapshots' | 'numbers' | 'doubt' | 'peersKnown' | 'vtep'> {
  next?: ReadonlyMap<string, bigint>;
}

/** @param revision of the wish with these changes */
export function recordOf(revision: number, mutations: readonly Mutation[], { next, ...beside }: Beside): JournalRecord {
  const set = mutations.flatMap((m) => (m.stored ? [m.stored] : []));
  const del = mutations.filter((m) => !m.stored).map((m): [Table, string] => [m.table, m.id]);
  const some = Object.entries(beside).filter(([, value]) => !Array.isArray(value) || value.length > 0);
  return {
    r: revision,
    ...(set.length > 0 && { set }),
    ...(del.length > 0 && { del }),
    ...(next?.size && { next: cursorTexts(next) }),
    ...Object.fromEntries(some),
  };
}

const cursorTexts = (next: ReadonlyMap<string, bigint>): [string, string][] =>
  [...next].map(([cursor, n]) => [cursor, String(n)]);

/** Spaces in which names begin with the id of an object of a table. */
const NUMBERS_OF: Partial<Record<Table, readonly string[]>> = {
  sandboxes: ['gateway', PORT_SPACE],
  services: ['mark'],
};

/** Objects in a record of a snapshot. */
const EACH = 10_000;

/** What all records so far come to: the wish, and what is remembered beside it. */
export class Ledger {
  readonly wish = new MutableWish();
  readonly next = new Map<string, bigint>();
  readonly tombs = new Map<string, Tombstone>();
  readonly snapshots = new Set<string>();
  readonly numbers = new Numbers();
  doubt: string | undefined;
  peersKnown = true;
  vtep: Ip | undefined;

  enter(record: JournalRecord): void {
    const set = (record.set ?? []).map((stored) => ({ table: stored.table, id: stored.id, stored }));
    const del = (record.del ?? []).map(([table, id]) => ({ table, id }));
    this.wish.apply(record.r, [...del, ...set]);
    // Without a slash they are of a version that counted in its own way: an address may rest less, once.
    for (const [cursor, n] of record.next ?? []) if (cursor.includes('/')) this.next.set(cursor, BigInt(n));
    for (const tomb of record.tombs ?? []) this.tombs.set(`${tomb.table}/${tomb.key}`, tomb);
    for (const { table, id } of del) this.#forgetNumbers(table, id);
    for (const { table, id } of set) this.tombs.delete(`${table}/${id}`);
    for (const table of record.snapshots ?? []) this.snapshots.add(table);
    for (const [name, n] of record.numbers ?? []) this.numbers.set(name, n);
    if (record.doubt !== undefined) this.doubt = record.doubt;
    if (record.peersKnown !== undefined) this.peersKnown = record.peersKnown;
    if (record.vtep !== undefined) this.vtep = record.vtep;
  }

  /**
   * Records that say it all, objects by the ten thousand: as one piece of text 110,000 are 40 MB, three times over before
   * they are on disk.
   * @param settled as things will be once nothing is in doubt any more
   */
  *whole(settled?: { r: number; peersKnown: boolean }): Generator<JournalRecord> {
    const r = settled?.r ?? this.wish.revision;
    yield {
      r,
      next: cursorTexts(this.next),
      tombs: [...this.tombs.values()],
      snapshots: [...this.snapshots],
      numbers: [...this.numbers],
      ...(this.doubt !== undefined && !settled && { doubt: this.doubt }),
      peersKnown: settled?.peersKnown ?? this.peersKnown,
      ...(this.vtep !== undefined && { vtep: this.vtep }),
    };
    const all = this.wish.all();
    for (let n = 0; n < all.length; n += EACH) yield { r, set: all.slice(n, n + EACH) };
  }

  /** Forgets what is remembered beside the wish; who this node is stays. */
  forget(): void {
    for (const memory of [this.numbers, this.next, this.tombs, this.snapshots]) memory.clear();
    this.doubt = undefined;
    this.peersKnown = true;
  }

  #forgetNumbers(table: Table, id: string): void {
    if (table === 'networks') for (const key of this.next.keys()) if (isCursorOf(key, id)) this.next.delete(key);
    for (const space of NUMBERS_OF[table] ?? []) this.numbers.forget(space, id);
  }
}
