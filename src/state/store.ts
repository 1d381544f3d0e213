import { EventEmitter } from 'node:events';
import { toWeftError, WeftError } from '../base/errors.js';
import type { Ip } from '../base/ip.js';
import { endpointMac } from '../base/mac.js';
import { BODIES, type Origin, SINGULAR, type Stored, TABLES, type Table, type Wish } from '../model/registry.js';
import { parseWith } from '../model/scalars.js';
import { SCHEDULERS } from '../model/service.js';
import { Cursors, isCursorOf, keptAddresses } from './allocate.js';
import type { Balancing } from './check.js';
import { type GossipRow, mergeGossip, type OpenSnapshots, TOMBSTONE_MS, type Tombstone } from './gossip.js';
import { type Disk, Journal } from './journal.js';
import { type Context, checkRemoval, type ProbeNetns, prepare } from './prepare.js';
import { NO_SURROUNDINGS, type Surroundings } from './surroundings.js';
import { upgraded } from './upgrade.js';
import { MutableWish, type Mutation } from './wish.js';

/** One line of the journal: everything that one request changed. */
interface JournalRecord {
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

/** Space of the numbers of published ports that were left to the node. */
export const PORT_SPACE = 'port';
/** Spaces in which names begin with the id of an object of a table. */
const NUMBERS_OF: Partial<Record<Table, readonly string[]>> = {
  sandboxes: ['gateway', PORT_SPACE],
  services: ['mark'],
};

/** The wish, durable. A change is checked, then journalled, then visible; it answers when it is on disk. */
export class Store extends EventEmitter<StoreEvents> {
  readonly #wish = new MutableWish();
  readonly #journal: Journal;
  readonly #next = new Map<string, bigint>();
  readonly #tombs = new Map<string, Tombstone>();
  #open: OpenSnapshots = new Map();
  readonly #snapshots = new Set<string>();
  readonly #numbers = new Map<string, number>();
  #doubt: string | undefined;
  #peersKnown = true;
  #vtep: Ip | undefined;
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
      this.#replay({ ...record, ...(record.set && { set: record.set.map(upgraded) }) });
    }
    // Damage is not written down: it stays where it is until the wish is stated anew.
    if (loaded.damage !== undefined) {
      this.#doubt = loaded.damage;
      this.#peersKnown = false;
    }
  }

  /**
   * Takes note of this node's underlay address. Where it is another than in the last life, what the node tells others of
   * itself changes by that, so it gets new revisions, by which they know it for newer.
   */
  settleVtep(): void {
    const { name, vtep } = this.self;
    if (this.#vtep === vtep || this.#doubt !== undefined) return;
    const own = [...this.wish.endpoints.values(), ...this.wish.nodes.values()].filter(
      ({ table, id, origin }) => origin === 'api' && (table === 'endpoints' || id === name),
    ) as Stored[];
    const revision = this.revision + 1;
    const mutations = own.map(({ table, id, ...rest }) => {
      const spec = table === 'nodes' ? { ...rest.spec, vtep } : rest.spec;
      return { table, id, stored: { ...rest, table, id, spec, revision } as Stored };
    });
    this.#commit(this.#vtep === undefined ? [] : mutations, { vtep });
  }

  get wish(): Wish {
    return this.#wish.read();
  }

  get revision(): number {
    return this.#wish.revision;
  }

  get confidence(): Confidence {
    return { peersKnown: this.#peersKnown, ...(this.#doubt !== undefined && { doubt: this.#doubt }) };
  }

  /**
   * State was lost: keeps the prune gate shut until the wish is confirmed, over restarts too.
   * @throws WEFT_UNAVAILABLE where that cannot be written down
   */
  distrust(reason: string): void {
    if (this.#doubt === undefined) this.#commit([], { doubt: reason, peersKnown: false });
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
    const cursors = new Cursors(this.#next);
    const spec = prepare(this.#context(cursors, options.surroundings), table, id, body);
    const origin = options.origin ?? 'api';
    if (before && before.origin === origin && equal(before.spec, spec)) return { stored: before, created: false };
    const stored: Stored<T> = { table, id, origin, revision: this.revision + 1, spec };
    if (!options.dryRun) this.#commit([{ table, id, stored: stored as Stored }], { next: cursors.moved });
    return { stored, created: before === undefined };
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
  replace(
    bodies: Partial<Record<Table, Record<string, unknown>>>,
    options: { prune: boolean; dryRun?: boolean; surroundings?: Surroundings },
  ): Mutation[] {
    const draft = new MutableWish();
    draft.apply(
      this.revision,
      this.#wish.all().map((stored) => ({ table: stored.table, id: stored.id, stored })),
    );
    const cursors = new Cursors(this.#next);
    const mutations = new Map<string, Mutation>();
    const note = (m: Mutation) => {
      mutations.set(`${m.table}/${m.id}`, m);
      draft.apply(this.revision, [m]);
    };
    if (options.prune) for (const gone of this.#leftOut(bodies)) note(gone);
    draft.apply(this.revision, this.#restated(bodies));
    for (const table of ORDER) {
      for (const [id, body] of explicitFirst(bodies[table] ?? {})) {
        const before = this.get(table, id);
        const context = { ...this.#context(cursors, options.surroundings), wish: draft.read() };
        const spec = prepare(context, table, id, body);
        if (before?.origin === 'api' && equal(before.spec, spec)) continue;
        note({ table, id, stored: { table, id, origin: 'api', revision: this.revision + 1, spec } as Stored });
      }
    }
    const list = [...mutations.values()];
    if (options.dryRun) return list;
    if (list.length) this.#commit(list, { next: cursors.moved });
    if (options.prune) this.#confirm();
    return list;
  }

  /** Applies one POST body of gossip as one change. */
  gossip(rows: readonly GossipRow[]): number {
    const now = Date.now();
    for (const [id, tomb] of this.#tombs) if (now - tomb.at > TOMBSTONE_MS) this.#tombs.delete(id);
    // A batch that is refused half-way must not leave a snapshot open or closed.
    const open = new Map([...this.#open].map(([table, named]) => [table, new Set(named)] as const));
    const outcome = mergeGossip(this.wish, rows, this.#tombs, open, this.self.name, now);
    // Revisions are the Lamport time of this node's own rows, so they pass what was heard: what is made anew here, after
    // somebody elsewhere removed it, is newer than that removal to everyone.
    const revision = rows.reduce((top, { ltime }) => Math.max(top, ltime), this.revision + 1);
    const mutations = outcome.mutations.map((m) => (m.stored ? { ...m, stored: { ...m.stored, revision } } : m));
    const fresh = outcome.completed.filter((table) => !this.#snapshots.has(table));
    const found = !this.#peersKnown && outcome.completed.includes('peers');
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
    const known = this.#numbers.get(`${space}/${name}`);
    if (known !== undefined) return known;
    const taken = new Set([...this.#numbers].filter(([key]) => key.startsWith(`${space}/`)).map(([, n]) => n));
    let n = first;
    while (taken.has(n) || !usable(n)) n++;
    this.#commit([], { numbers: [[`${space}/${name}`, n]] });
    return n;
  }

  /** The number of a published port that was left to this node; undefined until it is chosen. */
  chosenPort(name: string): number | undefined {
    return this.#numbers.get(`${PORT_SPACE}/${name}`);
  }

  #forgetNumbers(table: Table, id: string): void {
    if (table === 'networks') for (const key of this.#next.keys()) if (isCursorOf(key, id)) this.#next.delete(key);
    const spaces = NUMBERS_OF[table] ?? [];
    if (spaces.length === 0) return;
    for (const key of this.#numbers.keys()) {
      if (spaces.some((space) => key === `${space}/${id}` || key.startsWith(`${space}/${id}/`)))
        this.#numbers.delete(key);
    }
  }

  /** Forgets the whole wish; numbers, tombstones and doubts too. */
  clear(): void {
    const mutations = this.#wish.all().map(({ table, id }) => ({ table, id }));
    this.#commit(mutations, {});
    for (const memory of [this.#numbers, this.#next, this.#tombs, this.#snapshots, this.#open]) memory.clear();
    this.#doubt = undefined;
    this.#peersKnown = true;
    this.#journal.snapshot([this.#whole()]);
  }

  close(): void {
    this.#journal.close();
  }

  /** The wish was stated whole: what is in doubt on disk is written anew. Without gossip, peers are stated with it. */
  #confirm(): void {
    if (this.#doubt === undefined) return;
    const gossips = this.#snapshots.size > 0 || [...this.wish.peers.values()].some((p) => p.origin === 'gossip');
    const { doubt: _settled, ...whole } = this.#whole();
    const peersKnown = this.#peersKnown || !gossips;
    this.#journal.snapshot([{ ...whole, r: this.revision + 1, peersKnown }]);
    this.#wish.apply(this.revision + 1, []);
    this.#doubt = undefined;
    this.#peersKnown = peersKnown;
    this.emit('confident');
  }

  /**
   * Objects of the wish that are stated again, with what others could want of them (addresses, ports) as it will be:
   * two endpoints may swap their addresses in one wish.
   */
  #restated(bodies: Partial<Record<Table, Record<string, unknown>>>): Mutation[] {
    const out: Mutation[] = [];
    for (const [id, stated] of Object.entries(bodies.endpoints ?? {})) {
      const before = this.get('endpoints', id);
      if (!before) continue;
      const body = parseWith(BODIES.endpoints, stated, `endpoint "${id}"`);
      const addresses = keptAddresses(body.addresses, before.spec.addresses);
      const [first] = addresses;
      // Networks of drivers that make no interface have neither.
      const mac = body.mac ?? (first === undefined ? '' : endpointMac(first));
      const { service: _before, ...kept } = before.spec;
      const serving = { state: body.state, ...(body.service !== undefined && { service: body.service }) };
      const spec = { ...kept, ...serving, addresses, mac, ifname: body.ifname ?? before.spec.ifname };
      out.push({ table: 'endpoints', id, stored: { ...before, spec } });
    }
    for (const [id, body] of Object.entries(bodies.sandboxes ?? {})) {
      const before = this.get('sandboxes', id);
      if (!before) continue;
      const { ports } = parseWith(BODIES.sandboxes, body, `sandbox "${id}"`);
      out.push({ table: 'sandboxes', id, stored: { ...before, spec: { ...before.spec, ports } } });
    }
    for (const [id, body] of Object.entries(bodies.services ?? {})) {
      const before = this.get('services', id);
      if (!before) continue;
      const { publish, vips } = parseWith(BODIES.services, body, `service "${id}"`);
      out.push({
        table: 'services',
        id,
        stored: { ...before, spec: { ...before.spec, publish, vips: { ...before.spec.vips, ...vips } } },
      });
    }
    return out;
  }

  #context(cursors: Cursors, surroundings = NO_SURROUNDINGS): Context {
    const { wish, self, probe, balancing } = this;
    return { wish, self, cursors, probe, surroundings, balancing, chosen: (name) => this.chosenPort(name) };
  }

  #leftOut(bodies: Partial<Record<Table, Record<string, unknown>>>): Mutation[] {
    return this.#wish
      .all()
      .filter((o) => o.origin === 'api' && !Object.hasOwn(bodies[o.table] ?? {}, o.id))
      .map(({ table, id }) => ({ table, id }));
  }

  #commit(
    mutations: readonly Mutation[],
    extra: {
      /** The next one when not given; without a change or a tombstone it stays. */
      revision?: number;
      next?: ReadonlyMap<string, bigint>;
      tombs?: Tombstone[];
      snapshots?: string[];
      numbers?: [string, number][];
      doubt?: string;
      peersKnown?: boolean;
      vtep?: Ip;
    },
  ): void {
    const changed = mutations.length > 0 || (extra.tombs?.length ?? 0) > 0;
    const record: JournalRecord = { r: changed ? (extra.revision ?? this.revision + 1) : this.revision };
    const set = mutations.flatMap((m) => (m.stored ? [m.stored] : []));
    const del = mutations.filter((m) => !m.stored).map((m): [Table, string] => [m.table, m.id]);
    if (set.length) record.set = set;
    if (del.length) record.del = del;
    if (extra.next?.size) record.next = [...extra.next].map(([cursor, n]) => [cursor, String(n)]);
    if (extra.tombs?.length) record.tombs = extra.tombs;
    if (extra.snapshots?.length) record.snapshots = extra.snapshots;
    if (extra.numbers) record.numbers = extra.numbers;
    if (extra.doubt !== undefined) record.doubt = extra.doubt;
    if (extra.peersKnown !== undefined) record.peersKnown = extra.peersKnown;
    if (extra.vtep !== undefined) record.vtep = extra.vtep;
    this.#journal.append(record);
    this.#replay(record);
    if (changed) this.emit('change', mutations, this.revision);
    if (this.#journal.size > this.#compactAt) this.#compact();
  }

  /** The change that brought it here is durable already, so a failure is no failure of that change. */
  #compact(): void {
    try {
      this.#journal.snapshot([this.#whole()]);
      this.#compactAt = COMPACT_BYTES;
    } catch (error) {
      this.#compactAt = this.#journal.size * 2;
      this.emit('trouble', toWeftError(error));
    }
  }

  #replay(record: JournalRecord): void {
    const set = (record.set ?? []).map((stored) => ({ table: stored.table, id: stored.id, stored }));
    const del = (record.del ?? []).map(([table, id]) => ({ table, id }));
    this.#wish.apply(record.r, [...del, ...set]);
    // Without a slash they are of a version that counted in its own way: an address may rest less, once.
    for (const [cursor, n] of record.next ?? []) if (cursor.includes('/')) this.#next.set(cursor, BigInt(n));
    for (const tomb of record.tombs ?? []) this.#tombs.set(`${tomb.table}/${tomb.key}`, tomb);
    for (const { table, id } of del) this.#forgetNumbers(table, id);
    for (const { table, id } of set) this.#tombs.delete(`${table}/${id}`);
    for (const table of record.snapshots ?? []) this.#snapshots.add(table);
    for (const [name, n] of record.numbers ?? []) this.#numbers.set(name, n);
    if (record.doubt !== undefined) this.#doubt = record.doubt;
    if (record.peersKnown !== undefined) this.#peersKnown = record.peersKnown;
    if (record.vtep !== undefined) this.#vtep = record.vtep;
  }

  #whole(): JournalRecord {
    return {
      r: this.revision,
      set: this.#wish.all(),
      next: [...this.#next].map(([cursor, n]) => [cursor, String(n)]),
      tombs: [...this.#tombs.values()],
      snapshots: [...this.#snapshots],
      numbers: [...this.#numbers],
      ...(this.#doubt !== undefined && { doubt: this.#doubt }),
      peersKnown: this.#peersKnown,
      ...(this.#vtep !== undefined && { vtep: this.#vtep }),
    };
  }
}

/** Objects that others refer to come first. */
const ORDER: readonly Table[] = ['networks', 'sandboxes', 'nodes', 'services', 'endpoints', 'peers'];
if (ORDER.length !== TABLES.length) throw new Error('ORDER must name every table');

/** Bodies that state addresses or subnets come before those that leave the choice to the agent. */
function explicitFirst(bodies: Record<string, unknown>): [string, unknown][] {
  const states = ([, body]: [string, unknown]) => Number(hasAddresses(body));
  return Object.entries(bodies).sort((a, b) => states(b) - states(a));
}

function hasAddresses(body: unknown): boolean {
  const { addresses, subnets, vips } = (body ?? {}) as { addresses?: unknown[]; subnets?: unknown[]; vips?: object };
  return (addresses?.length ?? 0) > 0 || (subnets?.length ?? 0) > 0 || Object.keys(vips ?? {}).length > 0;
}

const equal = (a: unknown, b: unknown): boolean => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, v]) => v !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => [k, sorted(v)]),
  );
}

function matchRevision(before: Stored | undefined, table: Table, id: string, ifMatch: number | undefined): void {
  if (ifMatch === undefined || before?.revision === ifMatch) return;
  const is = before ? `is at revision ${before.revision}` : 'does not exist';
  throw new WeftError('WEFT_STALE_REVISION', `${SINGULAR[table]} "${id}" ${is}, not at ${ifMatch}`, 'read it again');
}
