import {
  ack,
  type Message,
  NETLINK_NETFILTER,
  NLMSG_DONE,
  NLMSG_ERROR,
  parseMessages,
} from '../../src/codec/netlink.js';
import { batch, type Refusal, refusals } from '../../src/codec/nft/batch.js';
import type { Change } from '../../src/codec/nft/change.js';
import { getGeneration, readGeneration } from '../../src/codec/nft/generation.js';
import type { Native, NlSocket } from '../../src/kernel/real/native.js';

/** A NETLINK_NETFILTER socket of a namespace, as tests of the codecs need it: every transaction waits for its answer. */
export class NftSocket {
  readonly socket: NlSocket;
  #seq = 1;

  constructor(
    readonly native: Native,
    netnsFd: number,
    bufferBytes = 8 << 20,
  ) {
    this.socket = native.nlOpen(netnsFd, NETLINK_NETFILTER, bufferBytes);
  }

  /** Everything the kernel answered to a request. */
  async send(request: (seq: number) => Uint8Array): Promise<Message[]> {
    const seq = this.#seq++;
    return [...parseMessages(await this.native.nlTransact(this.socket, request(seq), 10_000))];
  }

  /** Messages of a dump, read. */
  async dump<T>(request: (seq: number) => Uint8Array, read: (message: Message) => T): Promise<T[]> {
    const messages = await this.send(request);
    for (const message of messages) {
      const control = message.type === NLMSG_DONE || message.type === NLMSG_ERROR;
      if (control && ack(message).errno !== 0) throw new Error(`dump refused: ${JSON.stringify(ack(message))}`);
    }
    return messages.filter(({ type }) => type >= 0x100).map(read);
  }

  async apply(changes: readonly Change[], generation?: number): Promise<Refusal[]> {
    const seq = this.#seq;
    this.#seq += changes.length + 1;
    const sent = batch(changes, generation === undefined ? { seq } : { seq, generation });
    return refusals(await this.native.nlTransact(this.socket, sent.bytes, 10_000), sent);
  }

  async generation(): Promise<number> {
    const [first] = await this.dump((seq) => getGeneration(seq), readGeneration);
    if (first === undefined) throw new Error('no generation');
    return first.id;
  }

  close(): void {
    this.native.nlClose(this.socket);
  }
}
