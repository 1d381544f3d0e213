import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';

export type Proto = 'tcp' | 'udp';

class Timeout extends Error {
  readonly code = 'ETIMEDOUT';
}

/** One flow of a client. */
export class Flow {
  #socket: net.Socket | dgram.Socket | undefined;
  #failure: Error | undefined;
  #wake: () => void = () => {};
  #received: Buffer[] = [];

  constructor(
    readonly proto: Proto,
    readonly host: string,
    readonly port: number,
    /** Of the client; 0 for one that the kernel chooses. */
    readonly localPort = 0,
  ) {}

  async open(timeoutMs: number): Promise<void> {
    const fail = (error: Error) => {
      this.#failure ??= error;
      this.#wake();
    };
    const take = (bytes: Buffer) => {
      this.#received.push(bytes);
      this.#wake();
    };
    if (this.proto === 'tcp') {
      const socket = net.connect({ host: this.host, port: this.port, localPort: this.localPort, noDelay: true });
      this.#socket = socket.on('error', fail).on('data', take);
      socket.on('end', () => fail(Object.assign(new Error('ended'), { code: 'ENDED' })));
      socket.on('connect', () => this.#wake());
      await this.#until(() => !socket.connecting, timeoutMs);
    } else {
      const type = net.isIPv6(this.host) ? 'udp6' : 'udp4';
      // As TCP has it: flows to different servers may share a port that was asked for.
      const socket = dgram.createSocket({ type, reuseAddr: this.localPort > 0 });
      this.#socket = socket.on('error', fail).on('message', take);
      socket.bind(this.localPort);
      await once(socket, 'listening');
      socket.connect(this.port, this.host);
      await once(socket, 'connect');
    }
  }

  /** Sends and returns what comes back. @throws the flow's error; that of a datagram does not end a flow */
  async say(bytes: Buffer, timeoutMs: number): Promise<string> {
    if (this.proto === 'udp') this.#failure = undefined;
    if (this.#failure) throw this.#failure;
    const socket = this.#socket as net.Socket & dgram.Socket;
    if (this.proto === 'tcp') socket.write(bytes);
    else socket.send(bytes);
    await this.#until(() => this.#received.length > 0, timeoutMs);
    return Buffer.concat(this.#received.splice(0)).toString();
  }

  async receive(count: number, timeoutMs: number): Promise<number> {
    const length = () => this.#received.reduce((sum, part) => sum + part.length, 0);
    await this.#until(() => length() >= count, timeoutMs).catch((error) => {
      if (!(error instanceof Timeout)) throw error;
    });
    return length();
  }

  /** Leaves nothing behind: a TCP socket ends with RST. */
  reset(): void {
    if (this.#socket instanceof net.Socket) this.#socket.resetAndDestroy();
    else this.close();
  }

  close(): void {
    if (this.#socket instanceof net.Socket) this.#socket.destroy();
    else this.#socket?.close();
  }

  async #until(done: () => boolean, timeoutMs: number): Promise<void> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, timeoutMs);
    try {
      while (!done()) {
        if (this.#failure) throw this.#failure;
        if (late) throw new Timeout('no answer');
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      if (this.#failure && !done()) throw this.#failure;
    } finally {
      clearTimeout(timer);
    }
  }
}

export const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error);

/** One exchange on a flow of its own. @returns the answer, or the errno */
export async function exchange(flow: Flow, timeoutMs: number): Promise<string> {
  try {
    await flow.open(timeoutMs);
    return await flow.say(Buffer.from('x'), timeoutMs);
  } catch (error) {
    return codeOf(error);
  } finally {
    flow.close();
  }
}
