import { ASKED_MAX, HIT_OUTCOMES, type HitOutcome, type Terms } from './keep.js';
import type { Transport } from './query.js';
import { TAGS_MAX } from './tags.js';

/** A thread of `datagramsStart`. Opaque. */
export interface DatagramThread {
  readonly __datagramThread: never;
}

/** The part of the native addon that reads and answers datagrams; `src/kernel/real/native.ts` says what each does. */
export interface NativeDatagrams {
  datagramsStart(callback: (batch: Buffer) => void, ownBytes: number, allBytes: number): DatagramThread;
  datagramsAdd(thread: DatagramThread, fd: number): number;
  datagramsRemove(thread: DatagramThread, id: number): void;
  datagramsCounts(thread: DatagramThread, id: number): NativeCounts;
  datagramsStream(thread: DatagramThread, id: number, stream: Uint8Array): { answers: Buffer; taken: number };
  datagramsSend(thread: DatagramThread, id: number, address: number, port: number, message: Uint8Array): void;
  datagramsKeep(
    thread: DatagramThread,
    id: number,
    stamp: number,
    asked: Uint8Array,
    answer: Uint8Array,
    terms: Int32Array,
  ): void;
  datagramsForget(thread: DatagramThread, id?: number, tags?: Uint32Array): number;
  datagramsStop(thread: DatagramThread): void;
}

interface NativeCounts {
  hits: number[];
  streamHits: number[];
  refused: number;
  bytes: number;
}

/** Answers kept for one sandbox, in bytes: 190,000 of one address. */
const OWN_BYTES = 32 * 2 ** 20;
/** And for all of them; beyond, the one with most gives way. */
const ALL_BYTES = 128 * 2 ** 20;

/** Where a datagram came from: the bytes of its IPv4 address as a little-endian number, as they lie in memory. */
export interface Peer {
  address: number;
  port: number;
}

export type OnDatagram = (message: Buffer, from: Peer) => void;

/**
 * The datagrams of all sandboxes: one thread answers what was asked before from a table, also while this one is busy, and
 * hands over the rest.
 */
export class Datagrams {
  readonly #thread: DatagramThread;
  readonly #sockets = new Map<number, OnDatagram>();
  #stamp = 0;

  constructor(readonly native: NativeDatagrams) {
    this.#thread = native.datagramsStart((batch) => this.#take(batch), OWN_BYTES, ALL_BYTES);
  }

  /** Rises with whatever is forgotten. An answer is kept with the stamp of the time when it was looked up. */
  get stamp(): number {
    return this.#stamp;
  }

  /** Takes over a bound IPv4 socket, and closes it. */
  add(fd: number, onDatagram: OnDatagram): DatagramSocket {
    const { native } = this;
    const thread = this.#thread;
    const id = native.datagramsAdd(thread, fd);
    this.#sockets.set(id, onDatagram);
    return {
      send: (message, { address, port }) => native.datagramsSend(thread, id, address, port, message),
      keep: (asked, answer, stamp, terms) => {
        if (asked.length > ASKED_MAX || terms.tags.length > TAGS_MAX) return;
        native.datagramsKeep(thread, id, stamp, asked, answer, packed(terms));
      },
      counts: () => {
        const { hits, streamHits, refused, bytes } = native.datagramsCounts(thread, id);
        return { hits: { udp: byOutcome(hits), tcp: byOutcome(streamHits) }, refused, bytes };
      },
      answerStream: (stream) => native.datagramsStream(thread, id, stream),
      forget: () => {
        this.#stamp = native.datagramsForget(thread, id);
      },
      close: () => {
        this.#sockets.delete(id);
        native.datagramsRemove(thread, id);
      },
    };
  }

  /** Once it is back, no answer under one of these tags, or none at all, leaves that was kept with an older stamp. */
  forget(tags?: readonly number[]): void {
    this.#stamp = this.native.datagramsForget(this.#thread, undefined, tags && Uint32Array.from(tags));
  }

  #take(batch: Buffer): void {
    for (let at = 0; at < batch.length; ) {
      const end = at + ENVELOPE_BYTES + batch.readUInt32LE(at + 12);
      // A copy: whoever waits for a name server keeps the message, and the batch may have 256 KiB a sandbox.
      const message = Buffer.from(batch.subarray(at + ENVELOPE_BYTES, end));
      const from = { address: batch.readUInt32LE(at + 4), port: batch.readUInt16LE(at + 8) };
      this.#sockets.get(batch.readUInt32LE(at))?.(message, from);
      at = end;
    }
  }
}

/** In front of each message of a batch: socket, address, port, two bytes of nothing, length. */
const ENVELOPE_BYTES = 16;

export type Hits = Record<HitOutcome, number>;

function byOutcome(counts: readonly number[]): Hits {
  return Object.fromEntries(HIT_OUTCOMES.map((outcome, i) => [outcome, counts[i] ?? 0])) as Hits;
}

export interface DatagramSocket {
  send(message: Uint8Array, to: Peer): void;
  /** @param stamp of the time when the answer was looked up */
  keep(asked: Uint8Array, answer: Uint8Array, stamp: number, terms: Terms): void;
  /**
   * Answers out of what is kept to messages of a stream, from the first on until one is not known or not whole.
   * @returns the answers, framed as those, and how many bytes they are answers to
   */
  answerStream(stream: Uint8Array): { answers: Buffer; taken: number };
  /** Queries answered out of what is kept, datagrams that the kernel refused to send, bytes of what is kept. */
  counts(): { hits: Record<Transport, Hits>; refused: number; bytes: number };
  /** Everything that is kept. */
  forget(): void;
  close(): void;
}

/** As the thread takes them. */
function packed({ outcome, foldEnd, expiresMs, rotation, tags, ttlAt }: Terms): Int32Array {
  const { at, width, count } = rotation ?? { at: 0, width: 0, count: 0 };
  const kind = HIT_OUTCOMES.indexOf(outcome);
  // 0 is for ever, and what has expired by now is not worth its memory.
  const expires = expiresMs === undefined ? 0 : Math.min(Math.max(1, Math.floor(expiresMs)), 0x7fffffff);
  return Int32Array.of(kind, foldEnd, expires, at, width, count, tags.length, ...tags, ...(ttlAt ?? []));
}
