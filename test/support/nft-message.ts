import { Writer } from '../../src/base/bytes.js';
import { type Message, parseMessages } from '../../src/codec/netlink.js';
import { NFNL_SUBSYS_NFTABLES, nfMessage } from '../../src/codec/nfnl.js';
import type { Change } from '../../src/codec/nft/change.js';

/** The message that a change is sent as, as a receiver would see it. */
export function sent(change: Change | undefined): Message {
  if (change === undefined) throw new Error('no change');
  const { operation, flags, family, write } = change;
  const w = new Writer();
  nfMessage(w, { subsystem: NFNL_SUBSYS_NFTABLES, operation, flags, family }, 1, write);
  return only(w.done());
}

/** The one message in these bytes. */
export function only(bytes: Uint8Array): Message {
  const [message, ...others] = parseMessages(bytes);
  if (message === undefined || others.length > 0) throw new Error(`${others.length + 1} messages`);
  return message;
}

/** Body of a message without its nfgenmsg, in hex. */
export function attributes(message: Message): string {
  return Buffer.from(message.body.subarray(4)).toString('hex');
}
