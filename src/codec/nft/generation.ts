import { Writer } from '../../base/bytes.js';
import { WeftError } from '../../base/errors.js';
import { isDumpInterrupted, type Message, NLM_F_ACK, NLMSG_MIN_TYPE } from '../netlink.js';
import { NFNL_SUBSYS_NFTABLES, nfBody, nfMessage, nfResource } from '../nfnl.js';
import { NFT_MSG_GETGEN } from './change.js';

/* nft_gen_attributes */
const NFTA_GEN_ID = 1;
const NFTA_GEN_PROC_PID = 2;
const NFTA_GEN_PROC_NAME = 3;

/** The state of a namespace's rulesets, all tables together. */
export interface Generation {
  /** Grows with each committed transaction of any program; give it to the batch that depends on what was read under it. */
  id: number;
  /** In a notification who committed it; in an answer who asks (the kernel fills in the current process). */
  pid?: number;
  program?: string;
}

/** One message comes back, an NFT_MSG_NEWGEN, then the acknowledgement. */
export function getGeneration(seq: number): Buffer {
  const w = new Writer(32);
  nfMessage(
    w,
    { subsystem: NFNL_SUBSYS_NFTABLES, operation: NFT_MSG_GETGEN, flags: NLM_F_ACK, family: 'unspec' },
    seq,
    () => undefined,
  );
  return w.done();
}

/** Body of an NFT_MSG_NEWGEN. @throws WEFT_INTERNAL */
export function readGeneration(message: Message): Generation {
  const { attrs } = nfBody(message, 'nf_tables generation');
  const out: Partial<Generation> = {};
  while (attrs.next()) {
    if (attrs.type === NFTA_GEN_ID) out.id = attrs.be32();
    else if (attrs.type === NFTA_GEN_PROC_PID) out.pid = attrs.be32();
    else if (attrs.type === NFTA_GEN_PROC_NAME) out.program = attrs.string();
  }
  if (out.id === undefined) throw new WeftError('WEFT_INTERNAL', 'nf_tables generation: no id');
  return { ...out, id: out.id };
}

/**
 * Was a dump disturbed by a transaction, so that it has to be repeated? `generation` is what readGeneration gave before it.
 *
 * NLM_F_DUMP_INTR is not enough: rules carry it but elements of sets do not, and under commits to a map of 10,000 every third
 * or fourth dump lacked elements that were there all the time (6.18). But each message has the low 16 bits of the generation
 * it was made under in nfgenmsg.res_id.
 */
export function isTorn(dump: Iterable<Message>, generation: number): boolean {
  for (const message of dump) {
    if (isDumpInterrupted(message)) return true;
    if (message.type >= NLMSG_MIN_TYPE && nfResource(message) !== (generation & 0xffff)) return true;
  }
  return false;
}
