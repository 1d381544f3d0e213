import type net from 'node:net';
import type { Chain } from './chain.js';
import type { Datagrams, Peer } from './datagrams.js';
import { Frames, framed } from './frames.js';
import type { Transport } from './query.js';
import { type NamespaceSockets, openSockets, type SandboxSockets } from './sockets.js';
import type { SandboxView } from './view.js';

/** Connections of one sandbox at a time; each may hold an unfinished message of 64 KiB. */
const CONNECTIONS = 128;
/** RFC 7766 section 6.2.3 asks for a few seconds. Longer than the deadline of a forwarded query. */
const IDLE_MS = 10_000;
/** Unanswered queries on one connection, beyond which we stop reading it. */
const PIPELINED = 64;

/** Answers one sandbox, on its UDP and TCP socket. */
export class Listener {
  readonly #connections = new Set<net.Socket>();
  #closed = false;

  private constructor(
    readonly sandbox: string,
    /** Path as the view had it when the sockets were opened. */
    readonly netns: string,
    readonly chain: Chain,
    readonly sockets: SandboxSockets,
    readonly datagrams: Datagrams,
  ) {
    // Nothing to do about it but count: one client's trouble must not end the others' service.
    sockets.tcp.on('error', () => chain.counters.socketErrors++);
    sockets.tcp.maxConnections = CONNECTIONS;
  }

  /** @throws WEFT_INVALID_NETNS, WEFT_UNAVAILABLE */
  static async open(
    native: NamespaceSockets,
    datagrams: Datagrams,
    chain: Chain,
    sandbox: string,
    { netns, ports }: Pick<SandboxView, 'netns' | 'ports'>,
  ): Promise<Listener> {
    let listener: Listener | undefined;
    const sockets = await openSockets(native, datagrams, netns, ports, {
      connection: (socket) => listener?.accept(socket),
      datagram: (message, from) => listener?.answer(message, from),
    });
    listener = new Listener(sandbox, netns, chain, sockets, datagrams);
    for (const { message, from } of sockets.early) listener.answer(message, from);
    return listener;
  }

  /** Replies that are still to come have nowhere to go and are dropped. */
  close(): void {
    this.#closed = true;
    this.sockets.udp.close();
    this.sockets.tcp.close();
    for (const socket of this.#connections) socket.destroy();
  }

  answer(message: Buffer, from: Peer): void {
    const reply = this.#respond(message, 'udp');
    if (reply instanceof Promise) void reply.then((late) => this.#send(late, from));
    else if (reply) this.#send(reply, from);
  }

  #respond(message: Buffer, transport: Transport): ReturnType<Chain['respond']> {
    const { stamp } = this.datagrams;
    return this.chain.respond(this.sandbox, message, transport, (answer, terms) => {
      if (!this.#closed) this.sockets.udp.keep(message, answer, stamp, terms);
    });
  }

  #send(reply: Uint8Array, to: Peer): void {
    if (!this.#closed) this.sockets.udp.send(reply, to);
  }

  /** One TCP connection: queries may be pipelined, replies leave in the order in which they are ready (RFC 7766). */
  accept(socket: net.Socket): void {
    const frames = new Frames();
    let waiting = 0;
    let ended = false;
    this.#connections.add(socket);
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('drain', () => socket.resume());
    socket.on('end', () => {
      ended = true;
      if (waiting === 0) socket.end();
    });
    const write = (replies: Buffer) => {
      if (socket.writable && !socket.write(replies)) socket.pause();
    };
    const writeLate = (reply: Buffer) => {
      write(reply);
      waiting--;
      if (ended && waiting === 0) socket.end();
      else if (!socket.writableNeedDrain) socket.resume();
    };
    socket.on('data', (chunk) => {
      // What came together is answered together: a system call for each answer would take longer than finding it.
      const ready: Buffer[] = [];
      let trusted = true;
      const known = (rest: Buffer) => {
        const { answers, taken } = this.sockets.udp.answerStream(rest);
        if (taken > 0) ready.push(answers);
        return taken;
      };
      for (const message of frames.push(chunk, known)) {
        const reply = this.#respond(message, 'tcp');
        // What is no query has no answer, and the rest of such a stream is not to be trusted.
        trusted = reply !== undefined;
        if (!reply) break;
        if (reply instanceof Promise) {
          waiting++;
          void reply.then((late) => writeLate(framed(late)));
        } else ready.push(framed(reply));
      }
      if (ready.length > 0) write(Buffer.concat(ready));
      if (!trusted) {
        socket.destroy();
        return;
      }
      if (waiting >= PIPELINED) socket.pause();
    });
  }
}
