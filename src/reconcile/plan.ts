import type { Kind, Ns, Where } from '../objects/kind.js';

/** An object that should exist, why, and for which object of the wish (`network/app`): failures land on its status. */
export interface Wanted<T = unknown> {
  ns: Ns;
  kind: string;
  object: T;
  because: string;
  owner: string;
}

export type Verb = 'add' | 'change' | 'remove';

/** One operation. `have` is there for `change` and `remove`, `want` for `add` and `change`. */
export interface Op<T = unknown> {
  verb: Verb;
  ns: Ns;
  kind: string;
  key: string;
  want?: T;
  have?: T;
  /** One line in words. */
  because: string;
  /** Object of the wish; '' for removals of what no wish owns. */
  owner: string;
}

/** What is in the kernel, is ours, is in no wish, and may not be removed yet (the prune gate is shut). */
export interface Held {
  ns: Ns;
  kind: string;
  key: string;
  text: string;
}

/** The wish needs what a foreign object occupies: nothing is changed, the owner of the wish is told who holds it. */
export interface Clash {
  ns: Ns;
  kind: string;
  key: string;
  owner: string;
  text: string;
}

export interface Plan<T = unknown> {
  ops: Op<T>[];
  held: Held[];
  clashes: Clash[];
}

/** May this object, wanted by nobody, be removed? `undefined` = yes, else the reason to hold it back. */
export type Gate = (key: string) => string | undefined;

/** What should exist in a scope, by key. */
export interface WantedTable<T = unknown> extends Iterable<readonly [string, Wanted<T>]> {
  readonly size: number;
  get(key: string): Wanted<T> | undefined;
}

/**
 * The difference of one scope (namespace × kind). Pure. Of what was observed only what is not as wished is held on to: of
 * 300,000 objects there need never be more than one at a time.
 * @param have what was observed, foreign objects included; of two with one key the last counts
 * @param gate asked only for removals
 * @param keys objects of the kernel with another key are none of this plan's business
 */
export function plan<T>(
  kind: Kind<T>,
  where: Where,
  want: WantedTable<T>,
  have: Iterable<T>,
  gate: Gate,
  keys?: ReadonlySet<string>,
): Plan<T> {
  const found = new Set<Wanted<T>>();
  const different = new Map<Wanted<T>, { have: T; reason: string }>();
  const unwanted = new Map<string, T>();
  for (const object of have) {
    const key = kind.key(object);
    if (keys && !keys.has(key)) continue;
    const wanted = want.get(key);
    if (!wanted) {
      unwanted.set(key, object);
      continue;
    }
    found.add(wanted);
    const reason = kind.same(wanted.object, object);
    if (reason) different.set(wanted, { have: object, reason });
    else different.delete(wanted);
  }
  const ops: Op<T>[] = [];
  const clashes: Clash[] = [];
  for (const [key, wanted] of want) {
    if (!found.has(wanted)) {
      const { object, because, owner } = wanted;
      ops.push({
        verb: 'add',
        ns: where.ns,
        kind: kind.name,
        key,
        want: object,
        because: `missing: ${because}`,
        owner,
      });
      continue;
    }
    const difference = different.get(wanted);
    if (!difference) continue;
    const { have: there, reason } = difference;
    const base = { ns: where.ns, kind: kind.name, key, want: wanted.object, owner: wanted.owner };
    if (kind.owns(there, where) || kind.adopts?.(wanted.object, there, where)) {
      ops.push({ ...base, verb: 'change', have: there, because: `${reason} (${wanted.because})` });
    } else {
      const text = `${kind.describe(there)} in ${where.ns} is not weft's and stands where ${wanted.because} needs its own`;
      clashes.push({ ns: where.ns, kind: kind.name, key, owner: wanted.owner, text });
    }
  }
  const held: Held[] = [];
  for (const [key, object] of unwanted) {
    if (!kind.owns(object, where)) continue;
    const because = gate(key);
    if (because === undefined) {
      ops.push({
        verb: 'remove',
        ns: where.ns,
        kind: kind.name,
        key,
        have: object,
        because: 'nothing wishes it',
        owner: '',
      });
    } else held.push({ ns: where.ns, kind: kind.name, key, text: `${kind.describe(object)}: ${because}` });
  }
  return { ops, held, clashes };
}

/**
 * Operations of one kind in the order of sending: additions by rank, removals by rank downwards (negative, so that all
 * sort ascending). An atomic kind is one group: its transaction sorts itself out.
 */
export function groupByRank<T>(kind: Kind<T>, ops: readonly Op<T>[]): { rank: number; ops: Op<T>[] }[] {
  const groups = new Map<number, Op<T>[]>();
  for (const op of ops) {
    const own = kind.rank((op.want ?? op.have) as T);
    const rank = kind.atomic ? 0 : op.verb === 'remove' ? -own : own;
    const group = groups.get(rank);
    if (group) group.push(op);
    else groups.set(rank, [op]);
  }
  return [...groups].map(([rank, group]) => ({ rank, ops: group })).sort((a, b) => a.rank - b.rank);
}
