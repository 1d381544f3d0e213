// Boots User-Mode Linux guests (Debian's linux.uml): a 6.1 kernel with ip_vs as ordinary processes of this machine, on
// the machine's own file tree. A guest writes to an overlay in memory, is reached over one serial line (channel.mjs),
// has no network but the NICs it is given, and goes away with the process that booted it.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Channel } from './channel.mjs';
import { WeftGuestError } from './error.mjs';
import { checkMachine, compileAgent, compilePreload } from './machine.mjs';
import { killSession } from './session.mjs';

/** A page fault costs 180 us in a guest: a young generation of fixed size is faulted in once and kept. */
export const NODE_FLAGS = ['--min-semi-space-size=64', '--max-semi-space-size=64'];

/**
 * @typedef {{ name: string, tap: string, mac: string, addresses?: string[] }} Nic
 * `tap` must exist in the network namespace the guest is started in. `addresses` are ADDRESS/LENGTH.
 * @typedef {object} BootOptions
 * @property {string} [name] host name, and WEFT_GUEST in the environment of everything that runs in the guest
 * @property {string} [memory] size as the kernel's mem= takes it; taken from the host only as it is touched
 * @property {Nic[]} [nics] network devices, in order
 * @property {string} [netns] path of the network namespace that holds the taps; compulsory with NICs
 * @property {number} [timeoutMs] how long the guest may take until its agent answers
 */

/** One running guest. Made by boot(). */
export class Guest {
  #log;
  #uml;
  #channel;
  #ended;
  #killAtExit;
  #stopping = null;

  /** @internal */
  constructor(name, log, uml) {
    this.name = name;
    /** Milliseconds from start to the first answer of the agent; 0 before it. */
    this.bootMs = 0;
    this.#log = log;
    this.#uml = uml;
    this.#channel = new Channel(uml.stdio[3]);
    this.#ended = new Promise((resolve) => {
      uml.once('error', (cause) => resolve(`could not start: ${cause.message}`));
      uml.once('exit', (code, signal) => resolve(`ended (${signal ?? `exit ${code}`})`));
    });
    this.#ended.then((how) => this.#channel.close(`guest ${name} ${how}${this.#consoleTail()}`));
    this.#killAtExit = () => uml.pid !== undefined && killSession(uml.pid);
    process.once('exit', this.#killAtExit);
  }

  /** Process id on the host; also its process group and session. */
  get pid() {
    return this.#uml.pid;
  }

  /** Everything the guest's kernel and init printed so far. */
  console() {
    const text = Buffer.alloc(fs.fstatSync(this.#log).size);
    return text.toString('utf8', 0, fs.readSync(this.#log, text, 0, text.length, 0));
  }

  /** @internal Waits for the agent. */
  async answer(timeoutMs) {
    const started = process.hrtime.bigint();
    const late = () =>
      this.#channel.close(`guest ${this.name} gave no answer in ${timeoutMs} ms${this.#consoleTail()}`);
    const timer = setTimeout(late, timeoutMs);
    try {
      await this.#channel.ready;
    } finally {
      clearTimeout(timer);
    }
    this.bootMs = Number((process.hrtime.bigint() - started) / 1_000_000n);
  }

  /**
   * Runs a script with the guest's /bin/sh, in a session of its own, without standard input. What the script leaves in
   * the background keeps running. After `timeoutMs` its process group gets SIGKILL. Any number of calls at a time.
   * @param {string} script @param {import('./channel.mjs').RunOptions} [options]
   */
  run(script, options) {
    return this.#channel.run(script, options);
  }

  /**
   * Runs a node program in the guest, from the current directory, with NODE_FLAGS.
   * @param {string[]} args file and arguments
   * @param {import('./channel.mjs').RunOptions & { env?: Record<string, string> }} [options]
   */
  runNode(args, options = {}) {
    const env = Object.entries(options.env ?? {}).map(([key, value]) => `${key}=${value}`);
    const words = ['env', ...env, process.execPath, ...NODE_FLAGS, ...args].map(quote).join(' ');
    return this.run(`cd ${quote(process.cwd())} && exec ${words}`, options);
  }

  /** Power failure: kills the guest at once. Resolves when no process of it is left. */
  stop() {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop() {
    this.#channel.close(`guest ${this.name} was stopped`);
    if (this.#uml.pid !== undefined) {
      killSession(this.#uml.pid);
      await this.#ended;
      await gone(this.#uml.pid);
    }
    process.removeListener('exit', this.#killAtExit);
    fs.closeSync(this.#log);
  }

  /** The last lines of the console without the kernel's stack dumps, which would push the cause out of sight. */
  #consoleTail() {
    const lines = this.console()
      .split('\n')
      .filter((line) => line !== '' && !/^(<\d>)? *(\[<|[0-9a-f]{8} [0-9a-f]{8})/.test(line));
    return lines.length === 0 ? '; its console is empty' : `; end of its console:\n${lines.slice(-30).join('\n')}`;
  }
}

/**
 * Boots a guest and waits until it takes commands (2.5 to 4 s). Throws WeftGuestError with the end of the guest's
 * console when it does not come up, and then leaves nothing behind.
 * @param {BootOptions} [options] @returns {Promise<Guest>}
 */
export async function boot({ name = 'guest', memory = '1500M', nics = [], netns, timeoutMs = 60_000 } = {}) {
  checkMachine();
  checkTaps(nics, netns);
  // Not under /dev/shm: a guest's kernel mounts its own /dev before init and would not find its init there.
  const dir = fs.mkdtempSync('/tmp/weft-guest-');
  let guest;
  try {
    for (const stage of ['init', 'stage2']) {
      fs.copyFileSync(fileURLToPath(new URL(stage, import.meta.url)), `${dir}/${stage}`);
      fs.chmodSync(`${dir}/${stage}`, 0o755);
    }
    compileAgent(`${dir}/agent`);
    compilePreload(`${dir}/xstate.so`);
    const words = kernelWords(dir, name, memory, nics);
    const log = fs.openSync(`${dir}/console.log`, 'a+');
    guest = new Guest(name, log, start(words, log, netns, `${dir}/xstate.so`));
    await guest.answer(timeoutMs);
    return guest;
  } catch (cause) {
    await guest?.stop();
    throw cause;
  } finally {
    // A guest that is up needs its files no more, and so nothing stays behind even if this process is killed.
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

/** A tap that does not exist would be made by the guest, on no bridge, and without `netns` in the machine's own network. */
function checkTaps(nics, netns) {
  if (nics.length > 0 && netns === undefined) throw new WeftGuestError('a guest with NICs needs netns');
  for (const { tap } of nics) {
    const shown = spawnSync('nsenter', [`--net=${netns}`, 'ip', 'link', 'show', 'dev', tap], { encoding: 'utf8' });
    if (shown.status !== 0) throw new WeftGuestError(`no tap ${tap} in ${netns}: ${shown.stderr.trim()}`);
  }
}

/** The guest kernel's command line. */
function kernelWords(dir, name, memory, nics) {
  const words = [
    ...['root=/dev/root', 'rootfstype=hostfs', 'rootflags=/', 'ro', `mem=${memory}`, `init=${dir}/init`],
    ...['con0=null,fd:1', 'con=null', 'ssl0=fd:3', 'ssl=null', 'quiet', 'panic=1', 'umid=guest', `uml_dir=${dir}/`],
    // gro=1 is compulsory: without it the NIC drops the host's large segments.
    ...nics.map((nic, i) => `vec${i}:transport=tap,ifname=${nic.tap},depth=128,gro=1,mac=${nic.mac}`),
    // The kernel hands words it does not know to init as environment.
    `GUEST_DIR=${dir}`,
    `GUEST_NAME=${name}`,
    `GUEST_NICS=${nics.map((nic) => [nic.mac, nic.name, ...(nic.addresses ?? [])].join(',')).join(';')}`,
  ];
  const bad = words.find((word) => /[\s"]/.test(word));
  if (bad !== undefined) throw new WeftGuestError(`blank or quote in a guest parameter: ${bad}`);
  return words;
}

function start(words, log, netns, preload) {
  const argv = netns === undefined ? ['linux.uml', ...words] : ['nsenter', `--net=${netns}`, 'linux.uml', ...words];
  return spawn(argv[0], argv.slice(1), {
    detached: true, // setsid: one signal to the group is the power switch
    stdio: ['ignore', log, log, 'pipe'],
    env: { ...process.env, LD_PRELOAD: preload, TMPDIR: '/dev/shm' }, // where the guest's memory file lives (already unlinked)
  });
}

async function gone(pid) {
  const deadline = Date.now() + 10_000;
  while (killSession(pid)) {
    if (Date.now() > deadline) throw new WeftGuestError(`processes of guest session ${pid} survive SIGKILL`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A word as /bin/sh reads it back. */
export function quote(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
