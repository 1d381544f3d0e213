// The host's end of the line to a guest's agent (agent.c describes the frames).
import { WeftGuestError } from './error.mjs';

const HEADER = 9;

/** Bytes that may wait in the guest's tty; agent.c says why there is a limit. */
const WINDOW = 2048;

/** Largest script in bytes: the guest passes it to its shell as one argument (MAX_ARG_STRLEN, linux/binfmts.h, less the NUL). */
export const MAX_SCRIPT = 131071;

/**
 * @typedef {{ code: number, stdout: string, stderr: string, pid: number, timedOut: boolean }} Outcome
 * `code` is the shell's exit code, 128 + signal where a signal ended it. `pid` is also the call's process group.
 * @typedef {{ timeoutMs?: number, onStdout?: (chunk: Buffer) => void, onStderr?: (chunk: Buffer) => void }} RunOptions
 */

/** Calls over one duplex stream, any number at a time. */
export class Channel {
  #stream;
  #pending = Buffer.alloc(0);
  #unsent = [];
  #unread = 0;
  #calls = new Map();
  #next = 1;
  #closed = null;
  #greet;
  /** Settles when the agent has said that it is ready. */
  ready;

  /** @param {import('node:stream').Duplex} stream */
  constructor(stream) {
    this.#stream = stream;
    this.ready = new Promise((resolve, reject) => {
      this.#greet = { resolve, reject };
    });
    this.ready.catch(() => {}); // whoever awaits it sees the error; nobody has to
    stream.on('data', (chunk) => this.#take(chunk));
    // A line breaks when the guest ends; its owner sees that too, knows why, and calls close() with the reason.
    stream.on('error', () => {});
  }

  /**
   * Runs `script` with /bin/sh in the guest. Rejects when the guest goes away before the script ends; a script that
   * fails or is stopped after `timeoutMs` is an outcome, not an error.
   * @param {string} script @param {RunOptions} [options] @returns {Promise<Outcome>}
   */
  run(script, options = {}) {
    const payload = Buffer.from(script);
    if (payload.length > MAX_SCRIPT) {
      return Promise.reject(new WeftGuestError(`script of ${payload.length} bytes; at most ${MAX_SCRIPT}`));
    }
    if (payload.includes(0)) return Promise.reject(new WeftGuestError('script holds a NUL byte'));
    if (this.#closed !== null) return Promise.reject(new WeftGuestError(this.#closed));
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const call = { resolve, reject, out: [], err: [], pid: 0, timedOut: false, timer: undefined, options };
      if (options.timeoutMs !== undefined) {
        call.timer = setTimeout(() => {
          call.timedOut = true;
          this.#send('K', id, Buffer.alloc(0));
        }, options.timeoutMs);
      }
      this.#calls.set(id, call);
      this.#send('R', id, payload);
    });
  }

  /** Ends the line: every running call rejects with `reason`. */
  close(reason) {
    if (this.#closed !== null) return;
    this.#closed = reason;
    this.#greet.reject(new WeftGuestError(reason));
    for (const call of this.#calls.values()) {
      clearTimeout(call.timer);
      call.reject(new WeftGuestError(reason));
    }
    this.#calls.clear();
    this.#stream.destroy();
  }

  #send(type, id, payload) {
    const header = Buffer.alloc(HEADER);
    header.write(type, 'latin1');
    header.writeUInt32LE(id, 1);
    header.writeUInt32LE(payload.length, 5);
    this.#unsent.push(header, payload);
    this.#push();
  }

  /** Sends what the window has room for. */
  #push() {
    while (this.#unsent.length > 0 && this.#unread < WINDOW) {
      const [first] = this.#unsent;
      const part = first.subarray(0, WINDOW - this.#unread);
      if (part.length === first.length) this.#unsent.shift();
      else this.#unsent[0] = first.subarray(part.length);
      this.#unread += part.length;
      this.#stream.write(part);
    }
  }

  #acknowledge(n) {
    this.#unread -= n;
    this.#push();
  }

  #take(chunk) {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    while (this.#pending.length >= HEADER) {
      const end = HEADER + this.#pending.readUInt32LE(5);
      if (this.#pending.length < end) return;
      const frame = this.#pending.subarray(0, end);
      this.#pending = this.#pending.subarray(end);
      this.#accept(String.fromCharCode(frame[0]), frame.readUInt32LE(1), frame.subarray(HEADER));
    }
  }

  #accept(type, id, payload) {
    if (type === 'H') return this.#greet.resolve();
    if (type === 'A') return this.#acknowledge(payload.readUInt32LE());
    const call = this.#calls.get(id);
    if (call === undefined) return this.close(`the guest answered call ${id}, which is not running`);
    if (type === 'S') call.pid = payload.readUInt32LE();
    else if (type === 'O') (call.options.onStdout ?? ((c) => call.out.push(c)))(Buffer.from(payload));
    else if (type === 'E') (call.options.onStderr ?? ((c) => call.err.push(c)))(Buffer.from(payload));
    else if (type === 'X') this.#end(id, call, payload.readUInt32LE());
    else this.close(`the guest sent a frame of unknown type ${JSON.stringify(type)}`);
  }

  #end(id, call, code) {
    clearTimeout(call.timer);
    this.#calls.delete(id);
    call.resolve({
      code,
      stdout: Buffer.concat(call.out).toString(),
      stderr: Buffer.concat(call.err).toString(),
      pid: call.pid,
      timedOut: call.timedOut,
    });
  }
}
