import { toWeftError, WeftError } from '../base/errors.js';
import type { Kernel } from '../kernel/port.js';
import type { Kind, Ns, Where } from '../objects/kind.js';
import { NODE_NS, STAGE } from '../objects/kind.js';
import { incompatible, type Link, linkKind, type VethLink } from '../objects/link.js';
import type { Netns } from '../objects/netns.js';
import { KINDS, STAGES } from '../objects/registry.js';
import { type Desired, Dirt, type Keys, type Scope, scopeId } from './desired.js';
import { type Clash, groupByRank, type Held, type Op, type Plan, plan } from './plan.js';

export interface Failure {
  op: Op;
  error: WeftError;
}

/** A scope that could not be read: nothing of it was compared or changed. */
export interface Unread extends Scope {
  keys: Keys;
  error: WeftError;
}

export interface PassResult {
  /** Operations that the kernel accepted. */
  done: Op[];
  failed: Failure[];
  /** One unreadable container must not hold up the others: the pass goes on without it. */
  unread: Unread[];
  held: Held[];
  clashes: Clash[];
  /** How many objects of ours were found as wished. */
  kept: number;
  /** What was compared: what was dirty, and what stands on links and namespaces that were made. */
  looked: Dirt;
  /** What removals may have taken along though it is wished: to be compared once more, now. */
  again: Dirt;
}

export type PruneGate = (ns: Ns, kind: string, key: string) => string | undefined;

interface Work extends Scope {
  keys: Keys;
  plan?: Plan;
  error?: WeftError;
  /** Objects found as wished, by the plan. */
  kept?: number;
}

const kindOf = (name: string): Kind<unknown> => {
  const kind = KINDS.get(name);
  if (!kind) throw new WeftError('WEFT_INTERNAL', `no kernel kind "${name}"`);
  return kind as unknown as Kind<unknown>;
};

/**
 * One pass over what is dirty: stage by stage observe, plan, add and change; then remove in reverse order.
 * A scope is observed when its first stage comes, after the stages below were applied, so that what depends on a
 * link that was just created is compared with the kernel as it is then.
 */
export class Pass {
  readonly #work = new Map<string, Work>();
  /** Namespaces that were made in this pass. */
  readonly #made = new Set<Ns>();
  /** Everything is read, also where the kernel says that it is as it was when it was as wished. */
  #thorough = false;
  /** Links that were made or changed in this stage, by namespace. */
  readonly #links = new Map<Ns, Set<string>>();
  readonly result: PassResult = {
    done: [],
    failed: [],
    unread: [],
    held: [],
    clashes: [],
    kept: 0,
    looked: new Dirt(),
    again: new Dirt(),
  };

  constructor(
    readonly kernel: Kernel,
    readonly desired: Desired,
    readonly gate: PruneGate,
    dirt: Dirt,
  ) {
    for (const scope of dirt.scopes.values()) this.#work.set(scopeId(scope.ns, scope.kind), { ...scope });
  }

  /** Only plans: what a pass would do as things are now. Operations in namespaces yet to be made show as additions. */
  async dryRun(): Promise<PassResult & { ops: Op[] }> {
    this.#thorough = true;
    const ops: Op[] = [];
    for (const work of this.#work.values()) ops.push(...(await this.#planned(work)).ops);
    this.#summarise();
    return { ...this.result, ops: ops.sort(byStage) };
  }

  async run(): Promise<PassResult> {
    for (const stage of STAGES) {
      const due = [...this.#work.values()].filter((work) => kindOf(work.kind).stages.includes(stage));
      await Promise.all(due.map((work) => this.#planned(work)));
      await this.#send(due, stage, (op) => op.verb !== 'remove' || isAtomic(op));
      if (stage === STAGE.netns) this.#lookAtNearEnds();
      this.#lookOnLinks();
    }
    for (const stage of [...STAGES].reverse()) {
      const due = [...this.#work.values()].filter((work) => kindOf(work.kind).stages.includes(stage));
      await this.#send(due, stage, (op) => op.verb === 'remove' && !isAtomic(op));
    }
    this.#summarise();
    return this.result;
  }

  /** By the last plan of each scope: what was planned anew after a link was made would count twice. */
  #summarise(): void {
    for (const { ns, kind, keys, plan: made, kept, error } of this.#work.values()) {
      if (error) {
        this.result.unread.push({ ns, kind, keys, error });
        continue;
      }
      this.result.held.push(...(made?.held ?? []));
      this.result.clashes.push(...(made?.clashes ?? []));
      this.result.kept += kept ?? 0;
      this.result.looked.addAll(ns, kind, keys);
    }
  }

  async #planned(work: Work): Promise<Plan> {
    work.plan ??= await this.#compare(work).catch((error) => {
      work.error = toWeftError(error);
      return { ops: [], held: [], clashes: [] };
    });
    return work.plan;
  }

  async #compare(work: Work): Promise<Plan> {
    const kind = kindOf(work.kind);
    const where = this.kernel.where(work.ns) ?? { ns: work.ns, nsOwned: true };
    const { ns, keys } = work;
    const { desired } = this;
    const port = this.kernel.port(work.kind);
    if (keys === 'all' && port.look) {
      const look = await port.look(ns, desired.has(ns, work.kind));
      const stamp = look.stamp && `${where.nsOwned} ${look.stamp}`;
      if (stamp !== undefined && !this.#thorough && desired.agreedIn(ns, work.kind) === stamp) {
        work.kept = desired.table(ns, work.kind).size;
        return { ops: [], held: [], clashes: [] };
      }
      const made = this.#compared(work, kind, where, await look.read());
      const settled = desired.releasedIn(ns, work.kind).length === 0;
      const agree = settled && made.ops.length + made.held.length + made.clashes.length === 0;
      desired.agree(ns, work.kind, agree ? stamp : undefined);
      return made;
    }
    const objects = desired.in(ns, work.kind, keys).map(({ object }) => object);
    return this.#compared(work, kind, where, await port.observe(ns, objects, keys === 'all' ? undefined : keys));
  }

  #compared(work: Work, kind: Kind<unknown>, where: Where, have: Iterable<unknown>): Plan {
    const { ns, keys } = work;
    const want = this.desired.table(ns, work.kind, keys);
    const only = keys === 'all' ? undefined : keys;
    const made = plan(kind, where, want, have, (key) => this.gate(ns, work.kind, key), only);
    work.kept = want.size - made.clashes.length - made.ops.filter((op) => op.verb !== 'remove').length;
    this.#settle(work, have);
    return made;
  }

  /** Released keys that are not in the kernel any more need no explicit delete. */
  #settle({ ns, kind: name, keys }: Work, have: Iterable<unknown>): void {
    const released = this.desired.releasedIn(ns, name);
    if (released.length === 0) return;
    const kind = kindOf(name);
    const gone = new Set(released.filter((key) => keys === 'all' || keys.has(key)));
    for (const object of have) gone.delete(kind.key(object));
    for (const key of gone) this.desired.settle(ns, name, key);
  }

  /** Sends the operations of a stage, rank by rank: the far end of a pair exists once its near end, elsewhere, is made. */
  async #send(due: readonly Work[], stage: number, which: (op: Op) => boolean): Promise<void> {
    const jobs = due.flatMap((work) => {
      const kind = kindOf(work.kind);
      const ops = (work.plan?.ops ?? []).filter((op) => which(op) && kind.stage(op.want ?? op.have) === stage);
      return groupByRank(kind, ops).map((group) => ({ work, ...group }));
    });
    const ranks = [...new Set(jobs.map((job) => job.rank))].sort((a, b) => a - b);
    for (const rank of ranks) {
      await Promise.all(jobs.filter((job) => job.rank === rank).map((job) => this.#sendGroup(job.work, job.ops)));
    }
  }

  async #sendGroup(work: Work, ops: Op[]): Promise<void> {
    const errors = await this.#apply(work, ops);
    for (const [i, op] of ops.entries()) this.#record(op, errors[i]);
  }

  async #apply(work: Work, ops: Op[]): Promise<(WeftError | undefined)[]> {
    try {
      return await this.kernel.port(work.kind).apply(work.ns, ops);
    } catch (error) {
      const failure = toWeftError(error);
      return ops.map(() => failure);
    }
  }

  #record(op: Op, error: WeftError | undefined): void {
    if (error) {
      this.result.failed.push({ op, error });
      return;
    }
    this.result.done.push(op);
    if (op.verb === 'remove') {
      this.desired.settle(op.ns, op.kind, op.key);
      this.#lookAgain(op);
    } else if (op.kind === 'netns') {
      // A second name has nothing of its own.
      if ((op.want as Netns).aliasOf !== undefined) return;
      this.#made.add(op.key);
      for (const kind of KINDS.keys()) if (this.desired.has(op.key, kind)) this.#unsettle(op.key, kind);
    } else if (op.kind === 'link') this.#recordLink(op.ns, op.want as Link, op.have as Link | undefined);
  }

  #recordLink(ns: Ns, link: Link, before: Link | undefined): void {
    const anew = before !== undefined && incompatible(link, before) !== '';
    // The one that went took others along: ports, and what was stacked on it.
    if (anew) for (const [name, kind] of KINDS) if (lastStage(kind) > linkKind.stage(link)) this.#unsettle(ns, name);
    if (!anew) this.#changed(ns, link.name);
    if (link.type !== 'veth' || (before !== undefined && !anew)) return;
    // The far end was born with it, in a namespace where nothing need have been dirty.
    this.#lookAt(link.peer.ns, 'link', [link.peer.name]);
    this.#changed(link.peer.ns, link.peer.name);
  }

  #changed(ns: Ns, dev: string): void {
    const devs = this.#links.get(ns);
    if (devs) devs.add(dev);
    else this.#links.set(ns, new Set([dev]));
  }

  /**
   * The kernel takes along what hangs on what is removed: with the first IPv4 address of a subnet the others of it
   * (promote_secondaries is off) and their routes, with one end of a pair the other.
   */
  #lookAgain({ ns, kind, key }: Op): void {
    const { again } = this.result;
    if (kind === 'address' && this.desired.in(ns, kind).length > 0)
      for (const lost of [kind, 'route']) again.add(ns, lost);
    if (kind !== 'link') return;
    again.merge(this.#nearEnds((peer) => peer.ns === ns && peer.name === key));
  }

  /** Near ends of such pairs, as the wish has them. */
  #nearEnds(which: (peer: VethLink['peer']) => boolean): Dirt {
    const dirt = new Dirt();
    for (const { ns, kind } of this.desired.scopes()) {
      if (kind !== 'link') continue;
      for (const [key, { object }] of this.desired.entries(ns, kind)) {
        const link = object as Link;
        if (link.type === 'veth' && which(link.peer)) dirt.add(ns, kind, key);
      }
    }
    return dirt;
  }

  /** A namespace that had to be made anew took the far ends of pairs with it, and they their near ends elsewhere. */
  #lookAtNearEnds(): void {
    if (this.#made.size === 0) return;
    for (const { ns, kind, keys } of this.#nearEnds((peer) => this.#made.has(peer.ns)).scopes.values())
      if (keys !== 'all') this.#lookAt(ns, kind, [...keys]);
  }

  /** All of a scope is compared with the kernel as it is now; a plan made before would miss what vanished since. */
  #unsettle(ns: Ns, kind: string): void {
    this.#work.set(scopeId(ns, kind), { ns, kind, keys: 'all' });
  }

  /** Links were made or changed: what the wish has on them may have gone (routes, addresses, rows). */
  #lookOnLinks(): void {
    for (const [ns, devs] of this.#links) {
      for (const [name, kind] of KINDS as unknown as Map<string, Kind<unknown>>) {
        const keys = this.desired.entries(ns, name).filter(([, { object }]) => kind.standsOn?.(object, devs));
        if (keys.length > 0)
          this.#lookAt(
            ns,
            name,
            keys.map(([key]) => key),
          );
      }
    }
    this.#links.clear();
  }

  /** Objects of the wish are compared, also where that was done before; an addition that is already planned stays. */
  #lookAt(ns: Ns, kind: string, keys: readonly string[]): void {
    const id = scopeId(ns, kind);
    const { plan: made, error: _, ...work }: Work = this.#work.get(id) ?? { ns, kind, keys: new Set() };
    const added = new Set(made?.ops.filter((op) => op.verb === 'add').map((op) => op.key));
    if (made && keys.every((key) => added.has(key))) return;
    this.#work.set(id, { ...work, keys: work.keys === 'all' ? 'all' : new Set([...work.keys, ...keys]) });
  }
}

const lastStage = (kind: Kind<never>): number => kind.stages.at(-1) as number;

const isAtomic = (op: Op): boolean => kindOf(op.kind).atomic === true;

function byStage(a: Op, b: Op): number {
  const stage = (op: Op) => kindOf(op.kind).stage(op.want ?? op.have);
  if (a.verb === 'remove' || b.verb === 'remove') {
    if (a.verb !== b.verb) return a.verb === 'remove' ? 1 : -1;
    return stage(b) - stage(a);
  }
  return stage(a) - stage(b);
}

/** Everything: each scope of the wish and each kind in each namespace of ours that exists and shall stay. */
export async function everything(kernel: Kernel, desired: Desired): Promise<Dirt> {
  const dirt = new Dirt();
  for (const { ns, kind } of desired.scopes()) dirt.add(ns, kind);
  const existing = (await kernel.namespaces()).filter((ns) => desired.wants(NODE_NS, 'netns', ns));
  dirt.add(NODE_NS, 'netns');
  for (const ns of [NODE_NS, ...existing]) for (const kind of KINDS.keys()) if (kind !== 'netns') dirt.add(ns, kind);
  return dirt;
}
