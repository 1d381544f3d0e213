import { randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { family, type Ip } from '../../base/ip.js';
import type { Native } from '../../kernel/real/native.js';
import { readProbe, writeReply, writeRequest } from './probe-packet.js';

export interface ProbeAddress {
  address: Ip;
  port: number;
  /** The VRF that the address is in. */
  device?: string;
}

/** Asks other agents whether packets of a size reach them, and answers those that ask; born in the node's namespace. */
export class ProbeSocket {
  readonly #socket: dgram.Socket;
  /** Who waits for the answer to which packet. */
  readonly #waiting = new Map<bigint, { vtep: Ip; answered: () => void }>();

  private constructor(
    readonly at: ProbeAddress,
    socket: dgram.Socket,
    /** Is the address a VTEP that is known? Nobody else is answered. */
    readonly isKnown: (vtep: Ip) => boolean,
    readonly onAsked: (vtep: Ip) => void,
  ) {
    this.#socket = socket;
    socket.on('message', (bytes, from) => this.#received(bytes, from.address, from.port));
    socket.on('error', () => {});
    socket.unref();
  }

  /** @throws EADDRINUSE, EADDRNOTAVAIL and what else socket(2) and bind(2) say */
  static async open(
    native: Native,
    at: ProbeAddress,
    isKnown: (vtep: Ip) => boolean,
    onAsked: (vtep: Ip) => void,
  ): Promise<ProbeSocket> {
    const of = family(at.address);
    const { fd } = native.socketOpen(-1, { type: 'udp', family: of, ...at, v6only: true, mtuProbe: true });
    const socket = dgram.createSocket(of === 4 ? 'udp4' : 'udp6');
    const listening = once(socket, 'listening');
    socket.bind({ fd, exclusive: true });
    await listening;
    return new ProbeSocket(at, socket, isKnown, onAsked);
  }

  close(): void {
    this.#socket.close();
  }

  /**
   * Does a packet of `size` bytes reach the agent there?
   * @param onLate an answer came after the time: it did
   */
  async ask(vtep: Ip, size: number, timeoutMs: number, onLate: () => void): Promise<boolean> {
    const nonce = randomBytes(8).readBigUInt64BE();
    let late = false;
    const answer = new Promise<boolean>((resolve) => {
      this.#waiting.set(nonce, { vtep, answered: () => (late ? onLate() : resolve(true)) });
    });
    try {
      await this.#send(writeRequest(vtep, size, nonce), vtep, this.at.port);
    } catch {
      // EMSGSIZE: larger than the interface takes. EPERM, ENETUNREACH: it does not leave the node at all.
      this.#waiting.delete(nonce);
      return false;
    }
    const gaveUp = sleep(timeoutMs, false, { ref: false });
    const answered = await Promise.race([answer, gaveUp]);
    late = true;
    return answered;
  }

  /** Answers that are still outstanding are not waited for any more. */
  forget(vtep: Ip): void {
    for (const [nonce, { vtep: asked }] of this.#waiting) if (asked === vtep) this.#waiting.delete(nonce);
  }

  #received(bytes: Buffer, from: Ip, port: number): void {
    const packet = readProbe(bytes);
    if (!packet) return;
    if (packet.kind === 'request') {
      if (!this.isKnown(from)) return;
      // A reply that cannot be sent is one that gets lost: the other side counts with it.
      this.#send(writeReply(packet), from, port).catch(() => {});
      this.onAsked(from);
      return;
    }
    const waiting = this.#waiting.get(packet.nonce);
    if (waiting?.vtep !== from) return;
    this.#waiting.delete(packet.nonce);
    waiting.answered();
  }

  #send(bytes: Buffer, to: Ip, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.send(bytes, port, to, (error) => (error ? reject(error) : resolve()));
    });
  }
}
