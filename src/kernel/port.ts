import type { WeftError } from '../base/errors.js';
import type { Ns, Where } from '../objects/kind.js';
import type { Op } from '../reconcile/plan.js';

/** What is in a namespace, before it is read. */
export interface Look<T = unknown> {
  /**
   * As long as this is the same, `read` answers the same: a number that the kernel raises with each change, or a digest of
   * what it told. Undefined where nothing of the kind is known.
   */
  stamp?: string;
  /** Made object by object as they are asked for, and anew each time. */
  read(): Promise<Iterable<T>>;
}

/** Reads and writes the objects of one kind. Real and fake implement the same contract (test/contract). */
export interface KindPort<T = unknown> {
  /**
   * What exists in a namespace. A namespace that is not there has nothing in it.
   * @param want objects the wish has there: kinds without a list of their own (sysctls) look at these alone
   * @param keys when given, other keys may be left out
   */
  observe(ns: Ns, want: readonly T[], keys?: ReadonlySet<string>): Promise<T[]>;
  /**
   * The same of everything, for kinds of which there are tens of thousands: what is as it was need not be read.
   * @param wanted whether the wish has objects there
   */
  look?(ns: Ns, wanted: boolean): Promise<Look<T>>;
  /**
   * Sends operations of one kind in one namespace, in order. Removing what is absent succeeds.
   * @returns one entry per operation: undefined, or why it failed
   */
  apply(ns: Ns, ops: readonly Op<T>[]): Promise<(WeftError | undefined)[]>;
}

/** The kernel as the loop sees it. */
export interface Kernel {
  port(kind: string): KindPort;
  /** undefined while the namespace does not exist. */
  where(ns: Ns): Where | undefined;
  /** Namespaces of ours that exist, wanted or not. */
  namespaces(): Promise<Ns[]>;
  /** Somebody begins to read or write; each has its `passed`. */
  begin(): void;
  /** The last one is through: descriptors of namespaces that are not ours are given back. */
  passed(): void;
}
