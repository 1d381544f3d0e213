import { EventEmitter, once } from 'node:events';
import { toWeftError, WeftError } from '../base/errors.js';
import type { Kernel } from '../kernel/port.js';
import type { Kind } from '../objects/kind.js';
import { KINDS } from '../objects/registry.js';
import { type Desired, Dirt, scopeId } from './desired.js';
import { everything, Pass, type PassResult, type PruneGate, type Unread } from './pass.js';
import type { Clash, Held, Op } from './plan.js';

/** Why a scope is looked at; decides whether a difference is drift (somebody else's doing). */
export type Cause = 'start' | 'wish' | 'kernel' | 'sweep' | 'retry';

/** A difference that no change of the wish explains: somebody else changed the kernel, and we put it back. */
export interface Drift {
  op: Op;
  at: number;
}

/** What stands between an object of the wish and the kernel. */
export interface Trouble {
  owner: string;
  error: WeftError;
  since: number;
  /** Where it stands in the kernel; missing where a whole look failed. */
  ns?: string;
  kind?: string;
  key?: string;
}

interface LoopEvents {
  pass: [result: PassResult, cause: ReadonlySet<Cause>];
  drift: [drift: Drift];
  trouble: [trouble: Trouble];
}

/** Revisions of the wish: those after the first, up to the second. */
interface Span {
  after: number;
  upTo: number;
}

interface Failing {
  ns: string;
  kind: string;
  key: string;
  owner: string;
  error: WeftError;
  since: number;
  attempts: number;
  nextAt: number;
  /** Revisions with which the wish changed here, and which are not in the kernel therefore. */
  blocks?: Span | undefined;
}

type Failure = Pick<Failing, 'ns' | 'kind' | 'key' | 'owner' | 'error'>;

/** What changes of the wish brought to a pass. */
interface Wished {
  dirt: Dirt;
  revisions: Span;
}

/**
 * Notifications come in bursts (a namespace that dies says so once per object), and so do changes of the wish that nobody
 * waits for: the rest gets this long to come.
 */
const COALESCE_MS = 20;
/** A full comparison this often finds what no notification told: FDB flags, bridge-nf sysctls, legacy tables. */
const SWEEP_MS = 30_000;
/** In place of a key: all that is in a scope. */
const WHOLE = '';
const NOTHING: Span = { after: 0, upTo: 0 };
const BACKOFF_MS = [200, 500, 1000, 2000, 5000, 10_000, 30_000] as const;

/** Runs passes, one at a time, whenever something is dirty; keeps what failed and tries it again with backoff. */
export class Loop extends EventEmitter<LoopEvents> {
  #dirt = new Dirt();
  #causes = new Set<Cause>();
  #wishKeys = new Dirt();
  #timer: NodeJS.Timeout | undefined;
  #sweep: NodeJS.Timeout | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  /** Passes that could not observe, to be repeated. */
  readonly #postponed: { dirt: Dirt; causes: ReadonlySet<Cause>; wished: Dirt }[] = [];
  #again: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  /** Somebody waits for the next pass. */
  #urgent = false;
  #stopped = false;
  readonly #failing = new Map<string, Failing>();
  held: Held[] = [];
  clashes: Clash[] = [];
  /** Passes run and operations sent since the start. */
  readonly counters = { passes: 0, operations: 0, drifts: 0 };
  /** Revision of the wish that the desired objects stand for, and the last one that a whole pass has come to. */
  wishRevision = 0;
  appliedRevision = 0;
  /** What the last pass came to, but for what its own removals took along. */
  #reachedRevision = 0;

  constructor(
    readonly kernel: Kernel,
    readonly desired: Desired,
    readonly gate: PruneGate,
    readonly sweepMs = SWEEP_MS,
    /** Brings `desired` and `wishRevision` in step with the wish, before a pass and never in one. @returns what changed */
    readonly refresh: () => Dirt = () => new Dirt(),
  ) {
    super();
    // Every request that waits for a pass listens.
    this.setMaxListeners(0);
  }

  /** The first pass compares everything; then the sweep begins. */
  async start(): Promise<void> {
    this.#takeWish();
    this.#dirt.merge(await everything(this.kernel, this.desired));
    this.#causes.add('start');
    await this.settle();
    if (this.counters.passes === 0) await once(this, 'pass');
    this.#sweep = setInterval(() => {
      this.sweep().catch((error) => this.#unobserved(error));
    }, this.sweepMs);
    this.#sweep.unref();
  }

  /** Marks scopes for the next pass, which waits for the burst to end. */
  wake(dirt: Dirt, cause: Cause): void {
    this.#dirt.merge(dirt);
    this.#causes.add(cause);
    if (cause === 'wish') this.#wishKeys.merge(dirt);
    this.#schedule(COALESCE_MS);
  }

  /** Somebody waits: the next pass starts at once, or when the one that runs has ended. */
  hurry(): void {
    this.#urgent = true;
    this.#schedule(0);
  }

  /** Compares everything with the kernel now. */
  async sweep(): Promise<void> {
    this.wake(await everything(this.kernel, this.desired), 'sweep');
    await this.settle();
  }

  /** What a full pass would do now, without doing it. */
  async plan(): Promise<PassResult & { ops: Op[] }> {
    await this.#running;
    if (!this.#running) this.#takeWish();
    const dirt = await everything(this.kernel, this.desired);
    this.kernel.begin();
    try {
      return await new Pass(this.kernel, this.desired, this.gate, dirt).dryRun();
    } finally {
      this.kernel.passed();
    }
  }

  /** Resolves when nothing is dirty any more (what fails and waits for its retry does not count). */
  async settle(): Promise<void> {
    while (this.#running || this.#isDue) {
      this.#running ??= this.#runOnce();
      await this.#running;
    }
  }

  /** A change of the wish that means nothing to the kernel still has its pass: its revision is applied with it. */
  get #isDue(): boolean {
    return (this.#dirt.scopes.size > 0 || this.#causes.has('wish')) && !this.#stopped;
  }

  /** Why the object of the wish is not as wished, or undefined. */
  trouble(owner: string): Trouble | undefined {
    for (const failing of this.#failing.values()) if (failing.owner === owner) return failing;
    return undefined;
  }

  troubles(): Trouble[] {
    return [...this.#failing.values()];
  }

  /** Does the kernel show what this revision of the wish changed? */
  isApplied(revision: number): boolean {
    return this.appliedRevision >= revision && this.obstacle(revision) === undefined;
  }

  /** What of a revision's change failed, or was not to be read, and has not been well since. What failed before it is no obstacle. */
  obstacle(revision: number): Trouble | undefined {
    for (const failing of this.#failing.values()) {
      const { after, upTo } = failing.blocks ?? NOTHING;
      if (after < revision && revision <= upTo) return failing;
    }
    return undefined;
  }

  /** A pass runs, or is due. */
  get isBusy(): boolean {
    return this.#running !== undefined || this.#isDue;
  }

  /** Ends after the pass that runs; what is in the kernel stays as it is. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#again);
    clearInterval(this.#sweep);
    await this.#running;
  }

  #schedule(ms: number): void {
    if (this.#stopped || this.#running) return;
    if (this.#timer && ms > 0) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (!this.#running && this.#isDue) this.#running = this.#runOnce();
    }, ms);
  }

  #takeWish(): void {
    const fresh = this.refresh();
    this.#dirt.merge(fresh);
    this.#wishKeys.merge(fresh);
  }

  async #runOnce(): Promise<void> {
    this.#urgent = false;
    try {
      this.#takeWish();
    } catch (error) {
      this.#unobserved(error);
      this.#postpone(new Dirt(), new Set(['wish']), new Dirt());
    }
    const dirt = this.#dirt;
    const causes = this.#causes;
    const wished = this.#wishKeys;
    this.#dirt = new Dirt();
    this.#causes = new Set();
    this.#wishKeys = new Dirt();
    const revisions = { after: this.appliedRevision, upTo: this.wishRevision };
    this.kernel.begin();
    try {
      const result = await new Pass(this.kernel, this.desired, this.gate, dirt).run();
      this.#account(result, causes, { dirt: wished, revisions });
      // Our own removals explain what they took along, so it is no drift.
      this.#dirt.merge(result.again);
      this.#wishKeys.merge(result.again);
      const isWhole = result.again.scopes.size === 0;
      if (!isWhole) this.#urgent = true;
      // What a pass that broke off was to do is still to be done.
      if (this.#postponed.length === 0) {
        // The next pass brings back what removals took along: where each removes something, each completes the one before.
        const complete = isWhole ? revisions.upTo : this.#reachedRevision;
        this.appliedRevision = Math.max(this.appliedRevision, complete);
        this.#reachedRevision = revisions.upTo;
      }
      this.emit('pass', result, causes);
    } catch (error) {
      // Not one scope but the pass broke off: look again, later, for the same reasons.
      this.#unobserved(error);
      this.#postpone(dirt, causes, wished);
    } finally {
      this.kernel.passed();
      this.#running = undefined;
      if (this.#isDue) this.#schedule(this.#urgent ? 0 : COALESCE_MS);
    }
  }

  #postpone(dirt: Dirt, causes: ReadonlySet<Cause>, wished: Dirt): void {
    this.#postponed.push({ dirt, causes, wished });
    this.#again ??= setTimeout(() => {
      this.#again = undefined;
      for (const later of this.#postponed.splice(0)) {
        this.#wishKeys.merge(later.wished);
        for (const cause of later.causes) this.#causes.add(cause);
        this.wake(later.dirt, 'retry');
      }
    }, BACKOFF_MS[1]).unref();
  }

  #unobserved(error: unknown): void {
    this.emit('trouble', { owner: '', error: toWeftError(error), since: Date.now() });
  }

  #account(result: PassResult, causes: ReadonlySet<Cause>, wished: Wished): void {
    const dirt = result.looked;
    // At the start all is new: what fails then is told by the object of the wish that it belongs to.
    const blocked = causes.has('start') ? undefined : wished;
    this.counters.passes++;
    this.counters.operations += result.done.length;
    const now = Date.now();
    const failed = new Set<string>();
    const failures = [
      ...result.failed.map(({ op, error }) => ({ ...op, error })),
      ...result.unread.flatMap((unread) => this.#missed(unread)),
      ...result.clashes.map((clash) => ({ ...clash, error: clashError(clash) })),
    ];
    for (const failure of failures) failed.add(this.#fail(failure, now, blocked));
    for (const op of result.done)
      if (isDrift(op, causes, [wished.dirt, this.#wishKeys], this.#failing)) this.#drifted({ op, at: now });
    this.#forgive(dirt, failed);
    const looked = ({ ns, kind, key }: Held | Clash) => covers(dirt, ns, kind, key);
    this.held = [...this.held.filter((h) => !looked(h)), ...result.held];
    this.clashes = [...this.clashes.filter((c) => !looked(c)), ...result.clashes];
    this.#retryLater();
  }

  /** Nothing is known of a scope: what the wish has there waits, and so does what may have to go. */
  #missed({ ns, kind, keys, error }: Unread): Failure[] {
    const of = KINDS.get(kind) as Kind<unknown> | undefined;
    const owners = new Map<string, string>(keys === 'all' ? [[WHOLE, '']] : [...keys].map((key) => [key, '']));
    for (const { object, owner } of this.desired.in(ns, kind, keys)) owners.set(of?.key(object) ?? WHOLE, owner);
    return [...owners].map(([key, owner]) => ({ ns, kind, key, owner, error }));
  }

  #drifted(drift: Drift): void {
    this.counters.drifts++;
    this.emit('drift', drift);
  }

  /** @param wished where the wish changed, so that a failure there keeps the change from being applied */
  #fail({ ns, kind, key, owner, error }: Failure, now: number, wished: Wished | undefined): string {
    const id = `${ns}|${kind}|${key}`;
    const before = this.#failing.get(id);
    const attempts = (before?.attempts ?? 0) + 1;
    const wait = BACKOFF_MS[Math.min(attempts, BACKOFF_MS.length) - 1] as number;
    const since = before?.since ?? now;
    const blocks =
      wished && covers(wished.dirt, ns, kind, key)
        ? { after: before?.blocks?.after ?? wished.revisions.after, upTo: wished.revisions.upTo }
        : before?.blocks;
    const failing: Failing = { ns, kind, key, owner, error, since, attempts, nextAt: now + wait, blocks };
    this.#failing.set(id, failing);
    if (before?.error.message !== error.message) this.emit('trouble', failing);
    return id;
  }

  /** What was looked at and did not fail again is well. */
  #forgive(dirt: Dirt, failed: ReadonlySet<string>): void {
    for (const [id, { ns, kind, key }] of this.#failing) {
      if (!failed.has(id) && covers(dirt, ns, kind, key)) this.#failing.delete(id);
    }
  }

  #retryLater(): void {
    if (this.#failing.size === 0 || this.#stopped) return;
    let next = Number.POSITIVE_INFINITY;
    for (const { nextAt } of this.#failing.values()) next = Math.min(next, nextAt);
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#retry(), Math.max(0, next - Date.now())).unref();
  }

  #retry(): void {
    this.#retryTimer = undefined;
    const now = Date.now();
    const dirt = new Dirt();
    for (const f of this.#failing.values()) {
      if (f.nextAt > now) continue;
      // A transaction that failed says nothing about its parts: all of the scope is looked at again.
      if (f.key === WHOLE || KINDS.get(f.kind)?.atomic) dirt.add(f.ns, f.kind);
      else dirt.add(f.ns, f.kind, f.key);
    }
    if (dirt.scopes.size > 0) this.wake(dirt, 'retry');
    // A timer may fire a millisecond before the clock says so.
    else this.#retryLater();
  }
}

function covers(dirt: Dirt, ns: string, kind: string, key: string): boolean {
  const keys = dirt.scopes.get(scopeId(ns, kind))?.keys;
  return keys === 'all' || keys?.has(key) === true;
}

function clashError(clash: Clash): WeftError {
  return new WeftError('WEFT_CONFLICT', clash.text, 'remove or rename the other object; weft looks again by itself');
}

/**
 * Neither the wish nor an earlier failure nor the first look explains the operation.
 * @param wished what changes of the wish concern: those the pass began with, and those that came while it ran
 */
function isDrift(
  op: Op,
  causes: ReadonlySet<Cause>,
  wished: readonly Dirt[],
  failing: ReadonlyMap<string, unknown>,
): boolean {
  if (causes.has('start')) return false;
  if (wished.some((dirt) => covers(dirt, op.ns, op.kind, op.key))) return false;
  return ![op.key, WHOLE].some((key) => failing.has(`${op.ns}|${op.kind}|${key}`));
}
