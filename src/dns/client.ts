import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, toWeftError, WeftError } from '../base/errors.js';
import { Lines } from './lines.js';
import { type Applied, type Reply, type Request, type Resync, SOCKET_NAME, type Status } from './protocol.js';
import type { PatchJson, ViewJson } from './view-json.js';

/** From exec to the control socket: Node's start takes 50 ms on a quiet machine, a second on a loaded one. */
const START_TIMEOUT_MS = 10_000;
/** Binding 500 sandboxes takes a quarter of a second. */
const REPLY_TIMEOUT_MS = 30_000;

export interface ResolverClientOptions {
  runDir: string;
  /** Program and leading arguments of the resolver; `--run-dir` and `--log-level` are appended. */
  command: readonly string[];
  logLevel?: string;
  /** Where the resolver's log is appended; discarded without. */
  logFile?: string;
}

interface Waiting {
  resolve(reply: Reply): void;
  reject(error: WeftError): void;
}

/**
 * The agent's end of the resolver's control socket. Emits `disconnect` when the connection ends other than by close():
 * connect() again and send the view. Requests are answered in the order in which they were made.
 */
export class ResolverClient extends EventEmitter<{ disconnect: [] }> {
  #socket: net.Socket | undefined;
  /** Whether the resolver at the other end has answered. */
  #greeted = false;
  readonly #waiting: Waiting[] = [];

  constructor(readonly options: ResolverClientOptions) {
    super();
  }

  get connected(): boolean {
    return this.#greeted;
  }

  /**
   * Connect to the run directory's resolver, starting one where none listens. It is started in a session of its own, so
   * that it outlives the agent and no signal to the agent's group reaches it.
   * @returns whether it was started, and so has no view yet
   * @throws WEFT_UNAVAILABLE where it cannot be started or does not listen in time
   */
  async connect(): Promise<{ started: boolean }> {
    if (await this.attach()) return { started: false };
    const path = join(this.options.runDir, SOCKET_NAME);
    const exited = this.#spawn();
    const deadline = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      // Asked before dialling: where it ended because another had just been started, that one listens by now.
      const failure = exited();
      if (await this.#reach(path)) return { started: true };
      if (failure || performance.now() > deadline)
        throw unavailable(failure ?? 'it did not listen in time', this.options);
      await sleep(10);
    }
  }

  /** Connect to the run directory's resolver where one listens; never starts one. @returns whether one does */
  async attach(): Promise<boolean> {
    return this.#greeted || (await this.#reach(join(this.options.runDir, SOCKET_NAME)));
  }

  /** @throws WEFT_INVALID_* where the view is refused, WEFT_UNAVAILABLE, WEFT_TIMEOUT */
  async sendView(view: ViewJson): Promise<Applied> {
    return expected(await this.#request({ op: 'view', view }), 'applied');
  }

  /**
   * @returns Resync where the patch does not follow the view in force: send the whole view then
   * @throws WEFT_INVALID_* where the patch is refused, WEFT_UNAVAILABLE, WEFT_TIMEOUT
   */
  async sendPatch(patch: PatchJson): Promise<Applied | Resync> {
    return expected(await this.#request({ op: 'patch', ...patch }), 'applied', 'resync');
  }

  /** @throws WEFT_UNAVAILABLE, WEFT_TIMEOUT */
  async status(): Promise<Status> {
    return expected(await this.#request({ op: 'status' }), 'status');
  }

  /** Disconnect. The resolver goes on answering from its last view. */
  close(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#greeted = false;
    socket?.destroy();
    this.#rejectAll('the connection to the resolver was closed');
  }

  #request(request: Request): Promise<Reply> {
    const socket = this.#socket;
    if (!socket) return Promise.reject(new WeftError('WEFT_UNAVAILABLE', 'not connected to the resolver'));
    return new Promise((resolve, reject) => {
      // A reply that never comes leaves the order of the others in doubt: end the connection, not the request alone.
      const timer = setTimeout(() => {
        reject(new WeftError('WEFT_TIMEOUT', `the resolver did not answer within ${REPLY_TIMEOUT_MS} ms`));
        socket.destroy();
      }, REPLY_TIMEOUT_MS);
      this.#waiting.push({
        resolve: (reply) => {
          clearTimeout(timer);
          resolve(reply);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      socket.write(`${JSON.stringify(request)}\n`);
    });
  }

  /**
   * Connect and wait for a first answer: the listening socket of a process that is being killed still takes connections.
   * @returns whether a resolver is there
   */
  async #reach(path: string): Promise<boolean> {
    const socket = await dial(path);
    if (!socket) return false;
    this.#adopt(socket);
    try {
      await this.status();
    } catch (error) {
      if (codeOf(error) === 'WEFT_UNAVAILABLE') return false;
      this.close();
      throw error;
    }
    this.#greeted = true;
    return true;
  }

  #adopt(socket: net.Socket): void {
    const lines = new Lines();
    this.#socket = socket;
    socket.on('data', (chunk) => {
      try {
        for (const line of lines.push(chunk)) this.#waiting.shift()?.resolve(JSON.parse(line) as Reply);
      } catch (error) {
        socket.destroy(error as Error);
      }
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      if (this.#socket !== socket) return;
      const lost = this.#greeted;
      this.#socket = undefined;
      this.#greeted = false;
      this.#rejectAll('the connection to the resolver was lost');
      if (lost) this.emit('disconnect');
    });
  }

  #rejectAll(why: string): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(new WeftError('WEFT_UNAVAILABLE', why));
  }

  /** @returns a function that says why the process ended, if it did */
  #spawn(): () => string | undefined {
    const { command, runDir, logLevel, logFile } = this.options;
    const log = logFile === undefined ? undefined : openSync(logFile, 'a', 0o640);
    const args = [
      ...command.slice(1),
      '--run-dir',
      runDir,
      ...(logLevel === undefined ? [] : ['--log-level', logLevel]),
    ];
    let ended: string | undefined;
    try {
      const child = spawn(command[0] as string, args, {
        detached: true,
        stdio: ['ignore', log ?? 'ignore', log ?? 'ignore'],
      });
      child.on('error', (error) => {
        ended = error.message;
      });
      child.on('exit', (code, signal) => {
        ended = `it ended with ${signal ?? `status ${code}`}`;
      });
      child.unref();
    } finally {
      if (log !== undefined) closeSync(log);
    }
    return () => ended;
  }
}

/** @returns undefined where nobody listens */
async function dial(path: string): Promise<net.Socket | undefined> {
  const socket = net.connect(path);
  try {
    await once(socket, 'connect');
    return socket;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return undefined;
    throw new WeftError('WEFT_UNAVAILABLE', `${path}: ${(error as Error).message}`);
  }
}

/** @throws what the resolver refused with, or WEFT_INTERNAL for a reply of another kind */
function expected<K extends Reply['op']>(reply: Reply, ...kinds: K[]): Extract<Reply, { op: K }> {
  if ((kinds as string[]).includes(reply.op)) return reply as Extract<Reply, { op: K }>;
  if (reply.op !== 'error') throw toWeftError(new Error(`unexpected reply "${reply.op}" of the resolver`));
  const { code, message, hint, details } = reply.error;
  throw new WeftError(code, message, hint, details);
}

function unavailable(why: string, options: ResolverClientOptions): WeftError {
  const hint = options.logFile === undefined ? undefined : `see ${options.logFile}`;
  return new WeftError('WEFT_UNAVAILABLE', `the resolver could not be started: ${why}`, hint);
}
