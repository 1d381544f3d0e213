import { z } from 'zod';
import { WeftError } from '../base/errors.js';
import { isLocalScope, type Network } from '../model/network.js';
import type { Peer } from '../model/peer.js';
import { BODIES, type Stored, type Table, type Wish } from '../model/registry.js';
import { parseWith } from '../model/scalars.js';
import { checkId, checkNetworkAlone } from './check.js';
import { keptPeer, shared, withGateways } from './defaults.js';
import { checkVnis } from './overlay.js';
import type { Mutation } from './wish.js';

/** Tables that the control plane spreads. */
export const GOSSIP_TABLES = ['peers', 'nodes', 'services', 'networks'] as const;
type GossipTable = (typeof GOSSIP_TABLES)[number];

const rowSchema = z.strictObject({
  table: z.enum(GOSSIP_TABLES),
  op: z.enum(['set', 'delete', 'snapshot-begin', 'snapshot-end']),
  key: z.string().min(1).optional(),
  node: z.string().min(1).optional(),
  /** Half of what counts exactly, so that no row can bring the clock to its end. */
  ltime: z
    .int()
    .min(0)
    .max(2 ** 52)
    .optional(),
  value: z.unknown().optional(),
});

/** One line of `POST /v1/gossip`, checked. */
export interface GossipRow {
  table: GossipTable;
  op: z.output<typeof rowSchema>['op'];
  key: string;
  node: string;
  ltime: number;
  value: unknown;
}

/** A row that was deleted: older updates of it are ignored for half an hour. */
export interface Tombstone {
  table: GossipTable;
  key: string;
  node: string;
  ltime: number;
  /** Milliseconds since 1970. */
  at: number;
}

export const TOMBSTONE_MS = 30 * 60 * 1000;

/** Which rows a snapshot has named so far, for the tables in which one is open. */
export type OpenSnapshots = Map<GossipTable, Set<string>>;

export interface GossipOutcome {
  mutations: Mutation[];
  tombstones: Tombstone[];
  /** Tables whose snapshot ended in this batch. */
  completed: GossipTable[];
}

/** Parses and checks one NDJSON line. @param n line number, for the message */
export function parseGossipRow(line: string, n: number): GossipRow {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `gossip line ${n} is not JSON`, 'one object a line');
  }
  const row = parseWith(rowSchema, json, `gossip line ${n}`);
  const snapshot = row.op === 'snapshot-begin' || row.op === 'snapshot-end';
  if (!snapshot && (row.key === undefined || row.node === undefined || row.ltime === undefined)) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `gossip line ${n}: ${row.op} needs key, node and ltime`);
  }
  let value: unknown;
  if (row.op === 'set') {
    checkId(row.table, row.key as string);
    value = parseWith(BODIES[row.table], row.value, `gossip line ${n}`);
    if (row.table === 'peers') value = keptPeer(value as Peer);
    if (row.table === 'networks') {
      value = withGateways(value as Network);
      refuseLocal(row.key as string, value as Network);
      checkNetworkAlone(row.key as string, value as Network);
    }
    requireAllocated(row.table, row.key as string, value);
  }
  const node = shared.text(row.node ?? '');
  return { table: row.table, op: row.op, key: row.key ?? '', node, ltime: row.ltime ?? 0, value };
}

/** A network of one node is nobody else's business. */
function refuseLocal(key: string, { driver }: Network): void {
  if (!isLocalScope(driver)) return;
  throw new WeftError(
    'WEFT_INVALID_ARGUMENT',
    `network "${key}" comes from another node with driver ${driver}, which ends at its node`,
    'spread overlay networks only',
  );
}

/** Two agents that each chose a VNI or VIP would disagree for ever: spread rows must carry theirs. */
function requireAllocated(table: GossipTable, key: string, value: unknown): void {
  if (table === 'networks') checkVnis(key, value as Network, 'its row has too few', 'the control plane chooses them');
  const service = value as { mode: string; networks: string[]; vips: Record<string, string[]> };
  if (table !== 'services' || service.mode !== 'vip') return;
  const without = service.networks.find((network) => !service.vips[network]?.length);
  if (without !== undefined) {
    throw new WeftError(
      'WEFT_INVALID_ALLOCATION',
      `service "${key}" comes without a VIP on "${without}"`,
      'the control plane chooses it',
    );
  }
}

/**
 * Decides what a batch changes: the last writer by (ltime, node) wins, older updates and out-of-order deletes are
 * ignored, what a finished snapshot did not name goes.
 * @param self rows hosted by this node are its own doing and not taken back from others
 */
export function mergeGossip(
  wish: Wish,
  rows: readonly GossipRow[],
  tombs: ReadonlyMap<string, Tombstone>,
  open: OpenSnapshots,
  self: string,
  now: number,
): GossipOutcome {
  const merge = new Merge(wish, tombs, self, now);
  for (const row of rows) {
    if (row.op === 'snapshot-begin') open.set(row.table, new Set());
    else if (row.op === 'snapshot-end') merge.endSnapshot(row.table, open);
    else {
      open.get(row.table)?.add(row.key);
      merge.row(row);
    }
  }
  return { mutations: [...merge.changed.values()], tombstones: [...merge.buried.values()], completed: merge.completed };
}

class Merge {
  readonly changed = new Map<string, Mutation>();
  readonly buried = new Map<string, Tombstone>();
  readonly completed: GossipTable[] = [];
  constructor(
    readonly wish: Wish,
    readonly tombs: ReadonlyMap<string, Tombstone>,
    readonly self: string,
    readonly now: number,
  ) {}

  row(row: GossipRow): void {
    const id = `${row.table}/${row.key}`;
    const current = this.#current(row.table, row.key);
    // What was asked of this agent itself is not overruled by hearsay.
    if (current && current.origin !== 'gossip') return;
    if (row.table === 'peers' && row.node === this.self) return;
    const tomb = this.buried.get(id) ?? this.tombs.get(id);
    const last = newest(current, tomb);
    if (last && !newer(row, last)) return;
    if (row.op === 'delete') {
      if (current) this.changed.set(id, { table: row.table, id: row.key, heard: true });
      this.buried.set(id, { table: row.table, key: row.key, node: row.node, ltime: row.ltime, at: this.now });
      return;
    }
    const { node, ltime } = row;
    const stored = { table: row.table, id: row.key, origin: 'gossip', revision: 0, spec: row.value, node, ltime };
    this.changed.set(id, { table: row.table, id: row.key, stored: stored as Stored });
  }

  endSnapshot(table: GossipTable, open: OpenSnapshots): void {
    const named = open.get(table);
    if (!named) {
      throw new WeftError('WEFT_INVALID_ARGUMENT', `snapshot-end of ${table} without its snapshot-begin`);
    }
    open.delete(table);
    this.completed.push(table);
    // Rows that came earlier in the same batch, before the snapshot began, count as known too.
    const pending = [...this.changed.values()].filter((m) => m.table === table).flatMap((m) => m.stored ?? []);
    for (const stored of [...(this.wish[table] as ReadonlyMap<string, Stored>).values(), ...pending]) {
      const { id, origin } = stored;
      if (origin === 'gossip' && !named.has(id)) this.changed.set(`${table}/${id}`, { table, id, heard: true });
    }
  }

  #current(table: Table, key: string): Stored | undefined {
    const pending = this.changed.get(`${table}/${key}`);
    return pending ? pending.stored : (this.wish[table].get(key) as Stored | undefined);
  }
}

interface Stamp {
  ltime?: number;
  node?: string;
}

const newer = (a: Stamp, b: Stamp): boolean =>
  (a.ltime ?? 0) !== (b.ltime ?? 0) ? (a.ltime ?? 0) > (b.ltime ?? 0) : (a.node ?? '') > (b.node ?? '');

function newest(a: Stamp | undefined, b: Stamp | undefined): Stamp | undefined {
  if (!a || !b) return a ?? b;
  return newer(a, b) ? a : b;
}
