import { WeftError } from '../../base/errors.js';
import type { Ack } from '../../codec/netlink.js';
import { netlinkError } from '../../codec/netlink-error.js';
import type { Ns } from '../../objects/kind.js';
import type { Op } from '../../reconcile/plan.js';
import type { Space, Spaces } from './spaces.js';

/** The namespace an operation needs, or why it cannot be done. */
export function spaceFor(spaces: Spaces, ns: Ns): Space {
  const space = spaces.open(ns);
  if (space) return space;
  throw new WeftError('WEFT_INVALID_NETNS', `namespace ${ns} does not exist`, 'weft tries again when it appears');
}

/** errno values by which a removal learns that there is nothing to remove. */
const GONE = new Set([2 /* ENOENT */, 3 /* ESRCH */, 19 /* ENODEV */, 99 /* EADDRNOTAVAIL */]);

/** An acknowledgement as the outcome of an operation: removing what is absent succeeds. */
export function outcome(op: Op, answer: Ack): WeftError | undefined {
  if (answer.errno === 0 || (op.verb === 'remove' && GONE.has(answer.errno))) return undefined;
  return netlinkError({ operation: op.verb, kind: op.kind, key: op.key, namespace: op.ns }, answer);
}

/** The interface an object stands on. */
export function requireIndex(indexes: ReadonlyMap<string, number>, dev: string, op: Op): number {
  const index = indexes.get(dev);
  if (index !== undefined) return index;
  throw noInterface(dev, op);
}

export function noInterface(dev: string, op: Op): WeftError {
  const text = `cannot ${op.verb} ${op.kind} ${op.key} in ${op.ns}: there is no interface ${dev}`;
  return new WeftError('WEFT_NETLINK', text, undefined, { errno: 'ENODEV' });
}

/** Runs operations one by one; a thrown error is that operation's own. */
export async function oneByOne<T>(ops: readonly Op<T>[], run: (op: Op<T>) => Promise<WeftError | undefined>) {
  const out: (WeftError | undefined)[] = [];
  for (const op of ops) {
    try {
      out.push(await run(op));
    } catch (error) {
      if (!(error instanceof WeftError)) throw error;
      out.push(error);
    }
  }
  return out;
}
