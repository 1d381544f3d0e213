import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { Frames, framed } from '../../src/dns/frames.js';
import type { Transport } from '../../src/dns/query.js';
import type { Wire } from './dns-fuzz.js';

const ADDRESS = '127.0.0.11';
/** Longer than a busy machine takes. */
const TIMEOUT_MS = 20_000;

/** One resolver's sockets, asked from within the sandbox's namespace, one message after the other. */
export class SocketWire implements Wire {
  readonly #udp = dgram.createSocket('udp4');
  #tcp: net.Socket | undefined;
  #arrived: (reply: Buffer) => void = () => {};

  constructor(readonly ports: { udp: number; tcp: number }) {
    this.#udp.on('message', (reply) => this.#arrived(reply));
  }

  async exchange(message: Buffer, transport: Transport, answered: boolean): Promise<Uint8Array | undefined> {
    const reply = answered ? this.#next(message) : undefined;
    if (transport === 'udp') {
      this.#udp.send(message, this.ports.udp, ADDRESS);
      return reply;
    }
    const connection = await this.#connection();
    connection.write(framed(message));
    if (answered) return reply;
    // What is no query ends the connection.
    await once(connection, 'close', { signal: AbortSignal.timeout(TIMEOUT_MS) });
    this.#tcp = undefined;
    return undefined;
  }

  close(): void {
    this.#udp.close();
    this.#tcp?.destroy();
  }

  /** The reply with the message's id. */
  #next(message: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no answer')), TIMEOUT_MS);
      this.#arrived = (reply) => {
        if (reply.length < 2 || reply.readUInt16BE(0) !== message.readUInt16BE(0)) return;
        clearTimeout(timer);
        resolve(reply);
      };
    });
  }

  async #connection(): Promise<net.Socket> {
    if (this.#tcp?.writable) return this.#tcp;
    const socket = net.connect(this.ports.tcp, ADDRESS);
    const frames = new Frames();
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      for (const reply of frames.push(chunk)) this.#arrived(reply);
    });
    await once(socket, 'connect');
    this.#tcp = socket;
    return socket;
  }
}
