// Where a test program runs: on the host, or in a guest. Both through file.sh.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { boot, NODE_FLAGS, quote } from '../guest/boot.mjs';
import { killSession } from '../guest/session.mjs';
import { Judge } from './verdict.mjs';

const WRAPPER = fileURLToPath(new URL('file.sh', import.meta.url));

/** file.sh ends its program itself; this is how much longer it may take before it is killed too. */
const GRACE_MS = 20_000;

function command(token, seconds, node) {
  return ['unshare', '--mount', '--net', 'sh', WRAPPER, token, String(seconds), ...node];
}

/** tap's own limit comes first: only tap can say which test hangs and on what. */
function tapTimeout(seconds) {
  return String(seconds * 0.9);
}

/** Runs files on the host. */
export class HostRunner {
  #groups = new Set();

  /**
   * @param {string} file @param {number} seconds
   * @param {{ args?: readonly string[], onStdout?: (chunk: Buffer) => void }} [more] arguments for the file, and who
   *   hears what it says besides the judge
   * @returns {Promise<import('./verdict.mjs').Verdict>}
   */
  async run(file, seconds, { args: own = [], onStdout = () => {} } = {}) {
    const judge = new Judge(file, randomUUID());
    const [program, ...args] = command(judge.token, seconds, [process.execPath, '--enable-source-maps', file, ...own]);
    const child = spawn(program, args, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TAP_TIMEOUT: tapTimeout(seconds) },
    });
    this.#groups.add(child.pid);
    child.stdout.on('data', judge.onStdout);
    child.stdout.on('data', onStdout);
    child.stderr.on('data', judge.onStderr);
    let timedOut = false;
    const timer = setTimeout(
      () => {
        timedOut = true;
        killSession(child.pid);
      },
      seconds * 1000 + GRACE_MS,
    );
    const [code] = await once(child, 'exit');
    clearTimeout(timer);
    killSession(child.pid);
    this.#groups.delete(child.pid);
    // What escaped the group may hold the pipes: the output up to here is all that counts.
    await Promise.race([once(child, 'close'), new Promise((resolve) => setTimeout(resolve, 500))]);
    return judge.verdict({ code: code ?? 137, timedOut });
  }

  /** Ends everything that is still running. */
  async stop() {
    for (const pid of this.#groups) killSession(pid);
  }
}

/** Runs files in one guest, which is booted for the first file, and again only if a file kills it. */
export class GuestRunner {
  #guest;
  #options;

  /** @param {import('../guest/boot.mjs').BootOptions} [options] of the guest */
  constructor(options) {
    this.#options = options;
  }

  /**
   * @param {string} file @param {number} seconds
   * @param {{ args?: readonly string[], onStdout?: (chunk: Buffer) => void }} [more] as HostRunner's
   * @returns {Promise<import('./verdict.mjs').Verdict>}
   */
  async run(file, seconds, { args = [], onStdout = () => {} } = {}) {
    const guest = await this.#running();
    const judge = new Judge(file, randomUUID());
    const node = [process.execPath, ...NODE_FLAGS, '--enable-source-maps', file, ...args];
    const wide = process.env.WEFT_WIDE === undefined ? [] : [`WEFT_WIDE=${process.env.WEFT_WIDE}`];
    const words = ['env', `TAP_TIMEOUT=${tapTimeout(seconds)}`, ...wide, ...command(judge.token, seconds, node)];
    try {
      const end = await guest.run(`cd ${quote(process.cwd())} && exec ${words.map(quote).join(' ')}`, {
        timeoutMs: seconds * 1000 + GRACE_MS,
        onStdout: (chunk) => {
          judge.onStdout(chunk);
          onStdout(chunk);
        },
        onStderr: judge.onStderr,
      });
      await guest.run(`kill -9 -- -${end.pid}`);
      return judge.verdict(end);
    } catch (cause) {
      await this.stop();
      return judge.verdict({ code: 0, timedOut: false, lost: cause.message });
    }
  }

  async #running() {
    if (this.#guest === undefined) {
      this.#guest = await boot(this.#options);
      console.log(`# guest up in ${(this.#guest.bootMs / 1000).toFixed(1)} s`);
    }
    return this.#guest;
  }

  async stop() {
    const guest = this.#guest;
    this.#guest = undefined;
    await guest?.stop();
  }
}
