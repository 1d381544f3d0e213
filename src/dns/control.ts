import net from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { toWeftError, WeftError } from '../base/errors.js';
import type { Chain } from './chain.js';
import { Lines } from './lines.js';
import type { Listeners } from './listeners.js';
import type { Reply } from './protocol.js';
import { type Touched, touchedBy } from './tags.js';
import type { View } from './view.js';
import { patchSteps, type Steps, viewSteps } from './view-json.js';

/** Work goes on for so long before queries have their turn; a name that nobody asked before waits for it. */
const TURN_MS = 0.5;

/**
 * The resolver's side of the control socket. Any number of agents may be connected, an old one beside its successor;
 * requests of all are carried out one after the other, and the last view counts. A connection that ends changes nothing.
 */
export class Control {
  readonly server: net.Server;
  #last: Promise<void> = Promise.resolve();

  constructor(
    readonly chain: Chain,
    readonly listeners: Listeners,
    readonly log: (message: string, fields: Record<string, unknown>) => void,
  ) {
    this.server = net.createServer((socket) => this.#serve(socket));
  }

  #serve(socket: net.Socket): void {
    const lines = new Lines();
    this.log('agent connected', {});
    socket.on('error', (error) => this.log('agent connection failed', { error: error.message }));
    socket.on('close', () => this.log('agent disconnected', {}));
    socket.on('data', (chunk) => {
      try {
        for (const line of lines.push(chunk)) this.#enqueue(socket, line);
      } catch (error) {
        socket.end(`${JSON.stringify(refused(error))}\n`);
      }
    });
  }

  #enqueue(socket: net.Socket, line: string): void {
    this.#last = this.#last.then(async () => {
      const reply = await this.#carryOut(line).catch(refused);
      if (reply.op === 'error') this.log('request refused', { error: reply.error });
      if (socket.writable) socket.write(`${JSON.stringify(reply)}\n`);
    });
  }

  async #carryOut(line: string): Promise<Reply> {
    const { op, ...body } = parseLine(line);
    switch (op) {
      case 'view':
        return this.#apply(await amidQueries(viewSteps(body.view)));
      case 'patch': {
        const { revision } = this.chain.view;
        if (body.revision !== revision + 1) return { op: 'resync', revision };
        return this.#apply(await amidQueries(patchSteps(this.chain.view, body)), touchedBy(body));
      }
      case 'status': {
        const { tally } = this.listeners;
        return {
          op: 'status',
          pid: process.pid,
          revision: this.chain.view.revision,
          sandboxes: this.listeners.bound,
          errors: this.listeners.errors,
          counters: tally.total,
          tally: tally.toJson(),
          inFlight: this.chain.inFlight,
        };
      }
      default:
        throw new WeftError('WEFT_INVALID_ARGUMENT', `"${String(op)}" is no request`, 'view, patch or status');
    }
  }

  async #apply(view: View, touched?: Touched): Promise<Reply> {
    await this.listeners.follow(view, touched);
    const { revision } = this.chain.view;
    const { bound, errors } = this.listeners;
    this.log('view applied', { revision, sandboxes: Object.keys(bound).length, errors });
    return { op: 'applied', revision, sandboxes: bound, errors };
  }
}

async function amidQueries<T>(steps: Steps<T>): Promise<T> {
  for (;;) {
    for (const end = performance.now() + TURN_MS; performance.now() < end; ) {
      const { done, value } = steps.next();
      if (done) return value;
    }
    await setImmediate();
  }
}

function parseLine(line: string): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `not JSON: ${(error as Error).message}`);
  }
  if (typeof json !== 'object' || json === null) throw new WeftError('WEFT_INVALID_ARGUMENT', 'not an object');
  return json as Record<string, unknown>;
}

function refused(error: unknown): Reply {
  return { op: 'error', error: toWeftError(error).toBody() };
}
