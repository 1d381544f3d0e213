import { digestOf } from '../../base/digest.js';
import type { WeftError } from '../../base/errors.js';
import type { Message } from '../../codec/netlink.js';
import { lastingBytes } from '../../codec/rtnl/lasting.js';
import type { Op } from '../../reconcile/plan.js';
import type { Batch } from './netlink-socket.js';
import { noInterface, outcome } from './port.js';
import type { Space } from './spaces.js';

/** Up to this many keys are asked for one by one; more are cheaper to dump. */
const FEW = 16;

/** Rows as the kernel has them, and the interfaces that they name by ifindex. */
interface Rows {
  rows: Message[];
  names: ReadonlyMap<number, string>;
}

/** Are these few enough to ask for one by one? */
export const areFew = (keys: ReadonlySet<string> | undefined): keys is ReadonlySet<string> =>
  keys !== undefined && keys.size <= FEW;

/**
 * Asks for the rows of a few keys: an interface and what tells its rows apart, with a blank in between.
 * @param ask for the rows of one, given its ifindex
 */
export async function rowsOf(
  space: Space,
  keys: ReadonlySet<string>,
  ask: (ifindex: number, id: string) => Promise<(Message | undefined)[]>,
): Promise<Rows> {
  const split = [...keys].map((key) => key.split(' ') as [string, string]);
  const indexes = await space.indexesOf(split.map(([dev]) => dev));
  const rows: Message[] = [];
  for (const [dev, id] of split) {
    const ifindex = indexes.get(dev);
    if (ifindex !== undefined) for (const row of await ask(ifindex, id)) if (row) rows.push(row);
  }
  return { rows, names: new Map([...indexes].map(([name, index]) => [index, name])) };
}

/** As a stamp (kernel/port.ts): rows of a dump that count, with the names of interfaces by which they are told apart. */
export function stampOf(dump: Uint8Array, names: ReadonlyMap<number, string>, lasts: Lasts): { stamp?: string } {
  const rows = lastingBytes(dump, lasts);
  return rows ? { stamp: `${[...names].join()} ${digestOf(rows)}` } : {};
}

/** Does a row with these NTF_* and NUD_* count? Others come and go by themselves. */
export type Lasts = (flags: number, state: number) => boolean;

/**
 * Sends operations on rows of devices in one batch: 10,000 rows are a handful of system calls.
 * @param write adds an operation's messages, at least one, given the device's ifindex
 */
export async function sendRows<T extends { dev: string }>(
  space: Space,
  ops: readonly Op<T>[],
  write: (batch: Batch, op: Op<T>, ifindex: number) => void,
): Promise<(WeftError | undefined)[]> {
  const indexes = await space.indexesOf(ops.map(({ want, have }) => ((want ?? have) as T).dev));
  const batch = space.rtnl.batch();
  const out: (WeftError | undefined)[] = new Array(ops.length).fill(undefined);
  /** Number of the operation that a message belongs to. */
  const senders: number[] = [];
  for (const [i, op] of ops.entries()) {
    const { dev } = (op.want ?? op.have) as T;
    const ifindex = indexes.get(dev);
    if (ifindex === undefined) {
      if (op.verb !== 'remove') out[i] = noInterface(dev, op as Op);
      continue;
    }
    write(batch, op, ifindex);
    while (senders.length < batch.length) senders.push(i);
  }
  for (const [n, answer] of (await space.rtnl.send(batch)).entries()) {
    const i = senders[n] as number;
    out[i] ??= outcome(ops[i] as Op, answer);
  }
  return out;
}
