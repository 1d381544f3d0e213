import { Writer } from '../../base/bytes.js';
import { WeftError } from '../../base/errors.js';
import { type Ack, ack, NLM_F_ACK, NLMSG_ERROR, parseMessages } from '../netlink.js';
import { batchBegin, batchEnd, NFNL_SUBSYS_NFTABLES, nfMessage } from '../nfnl.js';
import type { Change } from './change.js';

/** A transaction ready to be sent with one sendmsg. */
export interface Batch {
  bytes: Buffer;
  /** Sequence number of the BATCH_BEGIN; change n has `seq + 1 + n`, and BATCH_END that of the last change. */
  seq: number;
  changes: readonly Change[];
}

export interface BatchOptions {
  /** First sequence number; `changes.length + 1` numbers from here on are used. */
  seq: number;
  /** Only commit on top of this generation (see readGeneration). */
  generation?: number;
}

/**
 * Encodes a transaction. Only the last change asks for an acknowledgement: nfnetlink answers after the whole batch was looked at,
 * refusals first, so that one answer tells the end; thousands of acknowledgements would overrun the receive buffer. BATCH_BEGIN
 * and BATCH_END are acknowledged only by kernels since 6.10 and therefore are not asked.
 * @throws WEFT_INVALID_ARGUMENT where a change does not fit its attributes; nothing was sent then
 */
export function batch(changes: readonly Change[], { seq, generation }: BatchOptions): Batch {
  if (changes.length === 0) throw new WeftError('WEFT_INVALID_ARGUMENT', 'a transaction of nf_tables without changes');
  const w = new Writer(0x1000);
  batchBegin(w, NFNL_SUBSYS_NFTABLES, seq, generation);
  for (const [i, change] of changes.entries()) {
    const flags = change.flags | (i === changes.length - 1 ? NLM_F_ACK : 0);
    const request = { subsystem: NFNL_SUBSYS_NFTABLES, operation: change.operation, flags, family: change.family };
    nfMessage(w, request, seqOf(seq, i), change.write);
  }
  batchEnd(w, NFNL_SUBSYS_NFTABLES, seqOf(seq, changes.length - 1));
  return { bytes: w.done(), seq, changes };
}

/** A refusal. Without `change` it is the transaction that was refused: ERESTART for another generation, EPERM, a failed commit. */
export interface Refusal {
  ack: Ack;
  change?: Change;
}

/**
 * The refusals in the answer to a batch; none means that all of it was committed, one that nothing was. The kernel looks at every
 * change even after the first refusal, so later ones may only be consequences (no such chain). Each takes 832 bytes of
 * the receive buffer, which is twice SO_RCVBUF (seen in 6.18): ENOBUFS instead of an answer means that more were refused than it
 * holds, since success is a single answer.
 * @throws WEFT_INTERNAL on malformed bytes
 */
export function refusals(answer: Uint8Array, { seq, changes }: Batch): Refusal[] {
  const out: Refusal[] = [];
  for (const message of parseMessages(answer)) {
    if (message.type !== NLMSG_ERROR) continue;
    const answered = ack(message);
    if (answered.errno === 0) continue;
    const change = changes[(message.seq - seq - 1) >>> 0];
    out.push(change === undefined ? { ack: answered } : { ack: answered, change });
  }
  return out;
}

function seqOf(seq: number, change: number): number {
  return (seq + 1 + change) >>> 0;
}
