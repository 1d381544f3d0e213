import type { WeftError } from '../../base/errors.js';
import type { Op } from '../../reconcile/plan.js';
import type { Batch } from './netlink-socket.js';
import { noInterface, outcome } from './port.js';
import type { Space } from './spaces.js';

/** Up to this many keys are asked for one by one; more are cheaper to dump. */
export const FEW = 16;

/**
 * Sends operations on rows of devices in one batch: 10,000 rows are a handful of system calls.
 * @param write adds an operation's messages, at least one, given the device's ifindex
 */
export async function sendRows<T extends { dev: string }>(
  space: Space,
  ops: readonly Op<T>[],
  write: (batch: Batch, op: Op<T>, ifindex: number) => void,
): Promise<(WeftError | undefined)[]> {
  const indexes = await space.indexes();
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
