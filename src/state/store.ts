import { EventEmitter } from 'node:events';
import { toWeftError, WeftError } from '../base/errors.js';
import type { Ip } from '../base/ip.js';
import { sameJson } from '../base/same.js';
import { type Drain, type Origin, SINGULAR, type Stored, type Table, type Wish } from '../model/registry.js';
import { SCHEDULERS } from '../model/service.js';
import { Cursors } from './allocate.js';
import type { Balancing } from './check.js';
import { type Backend, keepDrains, withDrain } from './drain.js';
import { type GossipRow, mergeGossip, type OpenSnapshots, TOMBSTONE_MS } from './gossip.js';
import { type Disk, Journal } from './journal.js';
import { PORT_SPACE } from './numbers.js';
import { type Context, checkRemoval, type ProbeNetns, prepare } from './prepare.js';
import { type Beside, type JournalRecord, Ledger, recordOf } from './record.js';
import { type Bodies, explicitFirst, ORDER, restated } from './restated.js';
import { NO_SURROUNDINGS, type Surroundings } from './surroundings.js';
import { upgraded } from './upgrade.js';
import { judged, keepVerdicts } from './verdicts.js';
import { MutableWish, type Mutation } from './wish.js';

/** How much of the wish is known; the prune gate asks. */
export interface Confidence {
  /** Set when the journal was damaged or lost: nothing unknown may be removed until the wish is stated anew. */
  doubt?: string;
  /** False from a loss of state until a snapshot of peers has ended: rows of peers are then not to be pruned. */
  peersKnown: boolean;
}

interface StoreEvents {
  change: [mutations: readonly Mutation[], revision: number];
  /** More is known of the wish than before: what was held back needs a look. */
  confident: [];
  /** The journal could not be compacted; it grows on and nothing is lost. */
  trouble: [error: WeftError];
}

/** Journal bytes after which a snapshot is written: a restart replays at most this much. */
const COMPACT_BYTES = 8 * 1024 * 1024;

/** The wish, durable. A change is checked, then journalled, then visible; it answers when it is on disk. */
export class Store extends EventEmitter<StoreEvents> {
  readonly #ledger = new Ledger();
  readonly #journal: Journal;
  #open: OpenSnapshots = new Map();
  /** What services may ask for. Everything, until the agent knows its balancer. */
  balancing: Balancing = { name: 'ipvs', schedulers: SCHEDULERS };
  /** Nothing was on disk at the start. */
  fresh = false;
  /** Journal bytes after which the next snapshot is tried; grows when one fails. */
  #compactAt = COMPACT_BYTES;

  constructor(
    dir: string,
    readonly self: { name: string; vtep: Ip },
    readonly probe: ProbeNetns,
    disk?: Disk,
  ) {
    super();
    this.#journal = new Journal(dir, disk);
  }

  /** Reads what is on disk. Damage is reported by `confidence`, never thrown: the data plane must stay up. */
  load(): void {
    const loaded = this.#journal.load();
    this.fresh = loaded.fresh;
    for (const record of loaded.records as JournalRecord[]) {
      this.#ledger.enter({ ...record, ...(record.set && { set: record.set.map(upgraded) }) });
    }
    // Damage is not written down: it stays where it is until the wish is stated anew.
    if (loaded.damage !== undefined) {
      this.#ledger.doubt = loaded.damage;
      this.#ledger.peersKnown = false;
    }
  }

  /**
   * Takes note of this node's underlay address. Where it is another than in the last life, what the node tells others of
   * itself changes by that, so it gets new revisions, by which they know it for newer.
   */
  settleVtep(): void {
    const { name, vtep } = this.self;
    if (this.#ledger.vtep === vtep || this.#ledger.doubt !== undefined) return;
    const own = [...this.wish.endpoints.values(), ...this.wish.nodes.values()].filter(
      ({ table, id, origin }) => origin === 'api' && (table === 'endpoints' || id === name),
    ) as Stored[];
    const revision = this.revision + 1;
    const mutations = own.map(({ table, id, ...rest }) => {
      const spec = table === 'nodes' ? { ...rest.spec, vtep } : rest.spec;
      return { table, id, stored: { ...rest, table, id, spec, revision } as Stored };
    });
    this.#commit(this.#ledger.vtep === undefined ? [] : mutations, { vtep });
  }

  get wish(): Wish {
    return this.#ledger.wish.read();
  }

  get revision(): number {
    return this.#ledger.wish.revision;
  }

  get confidence(): Confidence {
    return {
      peersKnown: this.#ledger.peersKnown,
      ...(this.#ledger.doubt !== undefined && { doubt: this.#ledger.doubt }),
    };
  }

  /**
   * State was lost: keeps the prune gate shut until the wish is confirmed, over restarts too.
   * @throws WEFT_UNAVAILABLE where that cannot be written down
   */
  distrust(reason: string): void {
    if (this.#ledger.doubt === undefined) this.#commit([], { doubt: reason, peersKnown: false });
  }

  get<T extends Table>(table: T, id: string): Stored<T> | undefined {
    return this.wish[table].get(id) as Stored<T> | undefined;
  }

  /** @returns the object as stored, and whether it is new. An equal body changes nothing, not even the revision. */
  put<T extends Table>(
    table: T,
    id: string,
    body: unknown,
    options: { ifMatch?: number | undefined; origin?: Origin; dryRun?: boolean; surroundings?: Surroundings } = {},
  ): { stored: Stored<T>; created: boolean } {
    const before = this.get(table, id);
    matchRevision(before, table, id, options.ifMatch);
    const cursors = new Cursors(this.#ledger.next);
    const spec = prepare(this.#context(cursors, options.surroundings), table, id, body);
    const origin = options.origin ?? 'api';
    if (before && before.origin === origin && sameJson(before.spec, spec)) return { stored: before, created: false };
    const stored: Stored<T> = { table, id, origin, revision: this.revision + 1, spec };
    if (options.dryRun) return { stored, created: before === undefined };
    this.#commit([{ table, id, stored: stored as Stored }], { next: cursors.moved });
    return { stored: this.get(table, id) as Stored<T>, created: before === undefined };
  }

  remove(table: Table, id: string, options: { ifMatch?: number | undefined; dryRun?: boolean } = {}): void {
    const before = checkRemoval(this.wish, table, id);
    matchRevision(before, table, id, options.ifMatch);
    if (!options.dryRun) this.#commit([{ table, id }], {});
  }

  /**
   * The whole desired state of this node (origin api). What it leaves out goes; everything is checked first, as if
   * it were put object by object, and lands as one change.
   */
  replace(bodies: Bodies, options: { prune: boolean; dryRun?: boolean; surroundings?: Surroundings }): Mutation[] {
    const draft = new MutableWish(this.wish);
    const cursors = new Cursors(this.#ledger.next);
    const mutations = new Map<string, Mutation>();
    const note = (m: Mutation) => {
      mutations.set(`${m.table}/${m.id}`, m);
      draft.apply(this.revision, [m]);
    };
    if (options.prune) for (const gone of this.#leftOut(bodies)) note(gone);
    draft.apply(this.revision, restated(this.wish, bodies));
    for (const table of ORDER) {
      for (const [id, body] of explicitFirst(bodies[table] ?? {})) {
        const before = this.get(table, id);
        const context = { ...this.#context(cursors, options.surroundings), wish: draft.read() };
        const spec = prepare(context, table, id, body);
        if (before?.origin === 'api' && sameJson(before.spec, spec)) continue;
        note({ table, id, stored: { table, id, origin: 'api', revision: this.revision + 1, spec } as Stored });
      }
    }
    const list = [...mutations.values()];
    if (options.dryRun) return list;
    if (list.length) this.#commit(list, { next: cursors.moved });
    if (options.prune) this.#confirm();
    return list;
  }

  /**
   * Takes backends out of balancing, or with no drain lets them back. It stays when they are stated anew, over restarts
   * too, and goes with them.
   * @param service only as backends of it
   */
  drain(backends: readonly Backend[], drain: Drain | undefined, service?: string): void {
    const mutations = withDrain(backends, drain, this.revision + 1, service);
    if (mutations.length > 0) this.#commit(mutations, { drains: true });
  }

  /** What this node's probes found of an endpoint: kept over restarts, and when it is stated anew. */
  judge(endpoint: string, unhealthy: boolean): void {
    const mutation = judged(this.wish, endpoint, unhealthy, this.revision + 1);
    if (mutation) this.#commit([mutation], { judged: true });
  }

  /** Applies one POST body of gossip as one change. */
  gossip(rows: readonly GossipRow[]): number {
    const now = Date.now();
    for (const [id, tomb] of this.#ledger.tombs) if (now - tomb.at > TOMBSTONE_MS) this.#ledger.tombs.delete(id);
    // A batch that is refused half-way must not leave a snapshot open or closed.
    const open = new Map([...this.#open].map(([table, named]) => [table, new Set(named)] as const));
    const outcome = mergeGossip(this.wish, rows, this.#ledger.tombs, open, this.self.name, now);
    // Revisions are the Lamport time of this node's own rows, so they pass what was heard: what is made anew here, after
    // somebody elsewhere removed it, is newer than that removal to everyone.
    const revision = rows.reduce((top, { ltime }) => Math.max(top, ltime), this.revision + 1);
    const mutations = outcome.mutations.map((m) => {
      if (!m.stored) return m;
      const known = this.wish[m.table].get(m.id);
      // What is merely said again has changed when it was said first.
      const since = known && sameJson(known.spec, m.stored.spec) ? known.revision : revision;
      return { ...m, stored: { ...m.stored, revision: since } };
    });
    const fresh = outcome.completed.filter((table) => !this.#ledger.snapshots.has(table));
    const found = !this.#ledger.peersKnown && outcome.completed.includes('peers');
    if (mutations.length || outcome.tombstones.length || fresh.length || found) {
      const known = found && { peersKnown: true };
      this.#commit(mutations, { revision, tombs: outcome.tombstones, snapshots: fresh, ...known });
    }
    this.#open = open;
    if (found) this.emit('confident');
    return mutations.length;
  }

  /**
   * A number that stays with its name over restarts: the lowest from `first` up that no other name of its space has.
   * Names begin with the id of the object that they belong to and are forgotten with it.
   * @param usable asked of each candidate; what it throws ends the search
   */
  number(space: string, name: string, first: number, usable: (n: number) => boolean = () => true): number {
    const known = this.#ledger.numbers.get(`${space}/${name}`);
    if (known !== undefined) return known;
    const n = this.#ledger.numbers.free(space, first, usable);
    if (!this.#chosen) this.#commit([], { numbers: [[`${space}/${name}`, n]] });
    else {
      this.#chosen.push([`${space}/${name}`, n]);
      this.#ledger.numbers.set(`${space}/${name}`, n);
    }
    return n;
  }
  /** Numbers that wait to be written down together. */
  #chosen: [string, number][] | undefined;

  /**
   * Numbers that `work` asks for become durable together, when it returns: a hundred new sandboxes wait once for the disk.
   * @throws as `work`, and WEFT_UNAVAILABLE; nothing is chosen then
   */
  numbering<T>(work: () => T): T {
    const numbers: [string, number][] = [];
    this.#chosen = numbers;
    try {
      const out = work();
      if (numbers.length > 0) this.#commit([], { numbers });
      return out;
    } catch (error) {
      for (const [key] of numbers) this.#ledger.numbers.delete(key);
      throw error;
    } finally {
      this.#chosen = undefined;
    }
  }

  /** The number of a published port that was left to this node; undefined until it is chosen. */
  chosenPort(name: string): number | undefined {
    return this.#ledger.numbers.get(`${PORT_SPACE}/${name}`);
  }

  /** Forgets the whole wish; numbers, tombstones and doubts too. */
  clear(): void {
    const mutations = this.#ledger.wish
      .all()
      .map(({ table, id, origin }): Mutation => (origin === 'gossip' ? { table, id, heard: true } : { table, id }));
    this.#commit(mutations, {});
    this.#open.clear();
    this.#ledger.forget();
    this.#journal.snapshot(this.#ledger.whole());
  }

  close(): void {
    this.#journal.close();
  }

  /** The wish was stated whole: what is in doubt on disk is written anew. Without gossip, peers are stated with it. */
  #confirm(): void {
    if (this.#ledger.doubt === undefined) return;
    const gossips = this.#ledger.snapshots.size > 0 || [...this.wish.peers.values()].some((p) => p.origin === 'gossip');
    const peersKnown = this.#ledger.peersKnown || !gossips;
    this.#journal.snapshot(this.#ledger.whole({ r: this.revision + 1, peersKnown }));
    this.#ledger.wish.apply(this.revision + 1, []);
    this.#ledger.doubt = undefined;
    this.#ledger.peersKnown = peersKnown;
    this.emit('confident');
  }

  #context(cursors: Cursors, surroundings = NO_SURROUNDINGS): Context {
    const { wish, self, probe, balancing } = this;
    return { wish, self, cursors, probe, surroundings, balancing, chosen: (name) => this.chosenPort(name) };
  }

  #leftOut(bodies: Bodies): Mutation[] {
    return this.#ledger.wish
      .all()
      .filter((o) => o.origin === 'api' && !Object.hasOwn(bodies[o.table] ?? {}, o.id))
      .map(({ table, id }) => ({ table, id }));
  }

  /**
   * @param changes with drains, they say whether their objects are drained; else those are as they were. With `judged`
   * they say whether their endpoints are unhealthy, likewise
   * @param beside `revision` is the next one when not given; without a change or a tombstone it stays
   */
  #commit(
    changes: readonly Mutation[],
    { revision, drains, judged: says, ...beside }: Beside & { revision?: number; drains?: true; judged?: true },
  ): void {
    const drained = drains ? changes : keepDrains(this.wish, changes);
    const mutations = says ? drained : keepVerdicts(this.wish, drained);
    const changed = mutations.length > 0 || (beside.tombs?.length ?? 0) > 0;
    const record = recordOf(changed ? (revision ?? this.revision + 1) : this.revision, mutations, beside);
    this.#journal.append(record);
    this.#ledger.enter(record);
    if (changed) this.emit('change', mutations, this.revision);
    if (this.#journal.size > this.#compactAt) this.#compact();
  }

  /** The change that brought it here is durable already, so a failure is no failure of that change. */
  #compact(): void {
    try {
      this.#journal.snapshot(this.#ledger.whole());
      this.#compactAt = COMPACT_BYTES;
    } catch (error) {
      this.#compactAt = this.#journal.size * 2;
      this.emit('trouble', toWeftError(error));
    }
  }
}

function matchRevision(before: Stored | undefined, table: Table, id: string, ifMatch: number | undefined): void {
  if (ifMatch === undefined || before?.revision === ifMatch) return;
  const is = before ? `is at revision ${before.revision}` : 'does not exist';
  throw new WeftError('WEFT_STALE_REVISION', `${SINGULAR[table]} "${id}" ${is}, not at ${ifMatch}`, 'read it again');
}
