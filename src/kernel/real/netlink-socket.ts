import { Writer } from '../../base/bytes.js';
import { WeftError } from '../../base/errors.js';
import {
  type Ack,
  ack,
  endOf,
  errnoName,
  type Message,
  message,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  parseMessages,
  rowsIn,
} from '../../codec/netlink.js';
import type { Native, NlSocket } from './native.js';

type Write<T> = (w: Writer, value: T) => void;

const TIMEOUT_MS = 10_000;
/** A dump disturbed by changes is repeated this often; the last try is taken as it is, the sweep corrects it. */
const DUMP_TRIES = 5;
/** Bytes a send: below the default SO_SNDBUF (212,992), and the loop breathes between two. */
const CHUNK = 128 * 1024;
/** Above this many bytes a request goes through the addon's threads; below, the 9 us on the loop are cheaper. */
const SYNC_BYTES = 4096;
const RECEIVE_BUFFER = 8 * 1024 * 1024;
/** Acknowledged requests a send. */
const EACH = 1000;
const ENOENT = 2;

/** Requests to be sent together. The kernel answers each refused one; success is told by the last alone. */
export class Batch {
  readonly #socket: NetlinkSocket;
  #writer = new Writer(1024);
  #chunks: { bytes: Buffer; lastSeq: number }[] = [];
  #lastAt = 0;
  readonly sequences: number[] = [];

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  add<T>(type: number, flags: number, write: Write<T>, value: T): this {
    if (this.#writer.length > CHUNK) this.#close();
    const at = this.#writer.length;
    const seq = this.#socket.nextSeq();
    message(this.#writer, { type, flags: flags | NLM_F_REQUEST, seq }, write, value);
    this.#lastAt = at;
    this.sequences.push(seq);
    return this;
  }

  get length(): number {
    return this.sequences.length;
  }

  chunks(): readonly { bytes: Buffer; lastSeq: number }[] {
    this.#close();
    return this.#chunks;
  }

  #close(): void {
    if (this.#writer.length === 0) return;
    const bytes = this.#writer.done();
    const flagsAt = this.#lastAt + 6;
    bytes.writeUInt16LE(bytes.readUInt16LE(flagsAt) | NLM_F_ACK, flagsAt);
    this.#chunks.push({ bytes, lastSeq: this.sequences.at(-1) as number });
    this.#writer = new Writer(CHUNK + 4096);
  }
}

/** A netlink socket born in a namespace. */
export class NetlinkSocket {
  readonly #socket: NlSocket;
  #seq = 1;
  readonly portId: number;

  /** @param netnsFd −1 for the agent's own namespace */
  constructor(
    readonly native: Native,
    netnsFd: number,
    protocol: number,
  ) {
    this.#socket = native.nlOpen(netnsFd, protocol, RECEIVE_BUFFER);
    this.portId = native.nlPortId(this.#socket);
  }

  close(): void {
    this.native.nlClose(this.#socket);
  }

  nextSeq(): number {
    this.#seq = (this.#seq % 0x7fffffff) + 1;
    return this.#seq;
  }

  batch(): Batch {
    return new Batch(this);
  }

  /** Sends a batch. @returns one acknowledgement per request, in order; errno 0 is success. */
  async send(batch: Batch): Promise<Ack[]> {
    const refused = new Map<number, Ack>();
    for (const { bytes, lastSeq } of batch.chunks()) {
      for (const m of parseMessages(await this.#transact(bytes))) {
        if (m.type === NLMSG_ERROR) {
          const answer = ack(m);
          if (answer.errno !== 0 || m.seq === lastSeq) refused.set(m.seq, answer);
        }
      }
    }
    return batch.sequences.map((seq) => refused.get(seq) ?? { errno: 0 });
  }

  /** One request. */
  async request<T>(type: number, flags: number, write: Write<T>, value: T): Promise<Ack> {
    const [answer] = await this.send(this.batch().add(type, flags, write, value));
    return answer as Ack;
  }

  /** The answer to a get without NLM_F_DUMP, or why there is none. */
  async get<T>(type: number, write: Write<T>, value: T): Promise<{ message?: Message; ack: Ack }> {
    const w = new Writer(512);
    message(w, { type, flags: NLM_F_REQUEST | NLM_F_ACK, seq: this.nextSeq() }, write, value);
    const out: { message?: Message; ack: Ack } = { ack: { errno: 0 } };
    for (const m of parseMessages(await this.#transact(w.done()))) {
      if (m.type === NLMSG_ERROR) out.ack = ack(m);
      else out.message = m;
    }
    return out;
  }

  /**
   * All rows of a table.
   * @throws WEFT_NETLINK with `details.errno`
   */
  async dump<T>(type: number, write: Write<T>, filter: T): Promise<Message[]> {
    return [...rowsIn(await this.dumpBytes(type, write, filter))];
  }

  /** The same as it came, for `rowsIn`. Repeats what a concurrent change disturbed. */
  async dumpBytes<T>(type: number, write: Write<T>, filter: T): Promise<Buffer> {
    for (let attempt = 1; ; attempt++) {
      const w = new Writer(256);
      message(w, { type, flags: NLM_F_REQUEST | NLM_F_DUMP, seq: this.nextSeq() }, write, filter);
      const bytes = await this.#transact(w.done());
      const { disturbed, answer } = endOf(bytes);
      if (answer) refuse(answer, type);
      if (!disturbed || attempt === DUMP_TRIES) return bytes;
    }
  }

  /**
   * A request whose codec writes whole messages: the rows it answers with.
   * @param absentIsEmpty ENOENT is an empty answer
   * @throws WEFT_NETLINK with `details.errno`
   */
  async exchange(write: (w: Writer, seq: number) => void, absentIsEmpty = false): Promise<Message[]> {
    const w = new Writer(256);
    write(w, this.nextSeq());
    const rows: Message[] = [];
    for (const m of parseMessages(await this.#transact(w.done()))) {
      if (m.type !== NLMSG_ERROR && m.type !== NLMSG_DONE) rows.push(m);
      else if (!(absentIsEmpty && ack(m).errno === ENOENT)) refuse(ack(m), m.type);
    }
    return rows;
  }

  /** One whole message per item, each asking for its own acknowledgement. @returns them in order */
  async sendEach<T>(items: readonly T[], write: (w: Writer, seq: number, item: T) => void): Promise<Ack[]> {
    const out: Ack[] = [];
    // Each acknowledgement takes about 1 KiB of the receive buffer.
    for (let from = 0; from < items.length; from += EACH) {
      const part = items.slice(from, from + EACH);
      const w = new Writer(part.length * 128);
      const answers = new Map<number, Ack>();
      const seqs = part.map((item) => {
        const seq = this.nextSeq();
        write(w, seq, item);
        return seq;
      });
      for (const m of parseMessages(await this.#transact(w.done())))
        if (m.type === NLMSG_ERROR) answers.set(m.seq, ack(m));
      out.push(...seqs.map((seq) => answers.get(seq) ?? { errno: 0 }));
    }
    return out;
  }

  /** Bytes of complete messages, answered as they come. */
  transact(bytes: Buffer, timeoutMs: number): Promise<Buffer> {
    return this.native.nlTransact(this.#socket, bytes, timeoutMs);
  }

  #transact(bytes: Buffer): Promise<Buffer> | Buffer {
    if (bytes.length <= SYNC_BYTES) return this.native.nlTransactSync(this.#socket, bytes, TIMEOUT_MS);
    return this.native.nlTransact(this.#socket, bytes, TIMEOUT_MS);
  }
}

function refuse(answer: Ack, type: number): void {
  if (answer.errno === 0) return;
  const errno = errnoName(answer.errno);
  const text = answer.text === undefined ? errno : `${errno}: ${answer.text}`;
  throw new WeftError('WEFT_NETLINK', `cannot list (netlink type ${type}): ${text}`, undefined, { errno });
}
