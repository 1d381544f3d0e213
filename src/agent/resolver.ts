import { EventEmitter, once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { codeOf, toWeftError, WeftError } from '../base/errors.js';
import { ResolverClient } from '../dns/client.js';
import type { BoundSandbox } from '../dns/listeners.js';
import type { Applied, Status } from '../dns/protocol.js';
import type { Wish } from '../model/registry.js';
import type { NetworkNames } from '../network/name-table.js';
import type { AffectedNames } from '../network/names-view.js';
import { hasOwnNamespace } from '../network/sandbox.js';
import { LiveView, type NetnsPath, type ViewSettings } from './live-view.js';
import { nodeNameServers } from './upstreams.js';

/** Beside the agent's program, in dist/ and in build/src/ alike. */
const PROGRAM = fileURLToPath(new URL('../weft-resolver.js', import.meta.url));
/** What it says on standard error, as it dies. */
const LOG_NAME = 'resolver.log';
/** Before it is tried again to reach the resolver or to start one; the first time at once, it may just have died. */
const BACKOFF_MS = [0, 100, 200, 500, 1000, 2000, 5000] as const;
/** Namespaces that are others' are looked at this often: the resolver's sockets would keep a dead container's alive. */
const LOOK_MS = 500;
/** Every so many looks also at sandboxes that failed. */
const LONG_LOOK = 4;
/** A listing waits this long for a message that is on its way. */
const LISTING_LIMIT_MS = 1000;
/** It closes its sockets and goes. */
const END_TIMEOUT_MS = 2000;

export interface ResolverKeeperOptions {
  runDir: string;
  /** The agent's; the resolver says one level less, for it would log every change of the wish. */
  logLevel: string;
  settings: ViewSettings;
  wish: () => Wish;
  netnsPath: NetnsPath;
  /** `DEV:INO` of the namespace that was handed over for a sandbox; '' while it is not there; undefined for our own. */
  foreignIdentity: (sandbox: string) => string | undefined;
}

interface KeeperEvents {
  /** Where the resolver listens in these sandboxes has changed, or it listens there again. */
  listening: [sandboxes: string[]];
  /** It has the names of a newer wish. */
  told: [];
  /** `sandbox` is '' for what concerns the resolver itself. */
  trouble: [sandbox: string, message: string];
}

/**
 * Keeps a resolver process running beside the agent while there are sandboxes, and its view in step with the wish. It
 * outlives the agent: the next one finds it, with its sockets, and sends a view of its own.
 */
export class ResolverKeeper extends EventEmitter<KeeperEvents> {
  readonly #client: ResolverClient;
  readonly #view: LiveView;
  /** Last known, also while no resolver runs: a new one's are compared with them. */
  readonly #ports = new Map<string, BoundSandbox>();
  /** Namespace in which it listens, by sandbox, as of its last answer. */
  #listening = new Map<string, string>();
  #errors = new Map<string, string>();
  /** Why there is no connection. */
  #unreachable = '';
  #started = false;
  #sought = false;
  /** The resolver ran before this agent did. */
  #inherited = false;
  #failures = 0;
  /** The next message is the whole view. */
  #whole = true;
  /** Revision of the wish whose names it has. */
  #toldRevision = 0;
  #work: Promise<void> | undefined;
  #looking: NodeJS.Timeout | undefined;
  readonly #stop = new AbortController();
  readonly #told = new Map<string, string>();

  constructor(readonly options: ResolverKeeperOptions) {
    super();
    // Every request that waits for its change to be applied listens.
    this.setMaxListeners(0);
    this.#view = new LiveView(options.netnsPath, (sandbox) => this.#ports.get(sandbox), options.settings);
    const { runDir, logLevel } = options;
    this.#client = new ResolverClient({
      runDir,
      command: [process.execPath, PROGRAM],
      logLevel: logLevel === 'info' ? 'warn' : logLevel,
      logFile: join(runDir, LOG_NAME),
    });
    this.#client.on('disconnect', () => {
      this.#whole = true;
      this.#listening.clear();
      if (this.#wanted) this.emit('trouble', '', 'the resolver has ended; starting another');
      this.#kick();
    });
  }

  /**
   * Reaches the resolver that runs, starts one where sandboxes need it, and sends the view. Comes back when that is done
   * or after `limitMs`, with the rest going on.
   */
  async start(limitMs: number): Promise<void> {
    this.#started = true;
    this.#readUpstreams();
    this.#looking = setInterval(() => this.#look(), LOOK_MS).unref();
    this.#kick();
    await this.#caughtUp(limitMs);
  }

  /** Ends the connection; the resolver goes on answering from its last view. */
  stop(): void {
    this.#started = false;
    this.#stop.abort();
    clearInterval(this.#looking);
    this.#client.close();
  }

  /** Ends the resolver. @throws WEFT_TIMEOUT where it does not go */
  async end(): Promise<void> {
    await this.#work;
    if (!(await this.#client.attach())) return;
    await this.#terminate();
    this.#ports.clear();
    rmSync(join(this.options.runDir, LOG_NAME), { force: true });
  }

  /** @throws WEFT_TIMEOUT */
  async #terminate(): Promise<void> {
    const { pid } = await this.#client.status();
    const gone = once(this.#client, 'disconnect', { signal: AbortSignal.timeout(END_TIMEOUT_MS) });
    try {
      process.kill(pid, 'SIGTERM');
      await gone;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ESRCH') return;
      throw new WeftError('WEFT_TIMEOUT', `the resolver, pid ${pid}, does not end: ${(error as Error).message}`);
    }
  }

  changed(affected: AffectedNames): void {
    this.#view.mark(affected);
    this.#kick();
  }

  /** Namespaces of these sandboxes were made, or what is in them changed: sockets that could not be opened may now. */
  lookAgain(sandboxes: readonly string[]): void {
    if (sandboxes.length === 0 && this.#errors.size === 0) return;
    this.#view.lookAgain(sandboxes);
    this.#kick();
  }

  /**
   * Does it answer as of this revision of the wish? While there is no connection nothing is waited for: a resolver that is
   * reached, or started, is given the whole view of that time first.
   */
  isTold(revision: number): boolean {
    if (!this.#client.connected || this.#toldRevision >= revision) return true;
    return this.#work === undefined && !this.#pending;
  }

  /** Where it listens, as last known; undefined while this agent has never been told. */
  ports(sandbox: string): { udp: number; tcp: number } | undefined {
    return this.#ports.get(sandbox);
  }

  /** Why names are not answered in a sandbox, or undefined. */
  trouble(sandbox: string): string | undefined {
    if (this.#listening.has(sandbox)) return undefined;
    if (!this.#client.connected) return `its resolver does not run${this.#unreachable && `: ${this.#unreachable}`}`;
    return `its resolver does not listen: ${this.#errors.get(sandbox) ?? 'not told of it yet'}`;
  }

  /** Names by network as the resolver should have them, and how what it has differs. */
  async names(): Promise<{ networks: Map<string, NetworkNames>; drift: '' | 'missing' | 'differs'; reason?: string }> {
    await this.#caughtUp(LISTING_LIMIT_MS);
    const { revision } = this.#view;
    const networks = this.#view.networks();
    if (!this.#client.connected) return { networks, drift: 'missing', reason: 'the resolver does not run' };
    const has = (await this.#client.status()).revision;
    if (has === revision) return { networks, drift: '' };
    return { networks, drift: 'differs', reason: `the resolver has view ${has}, not ${revision}` };
  }

  /** What became of queries; undefined while the resolver does not run, or does not answer. */
  async counts(): Promise<Pick<Status, 'counters' | 'tally'> | undefined> {
    // One of another version, which another agent started, may not count so: it is gone once it is told the view.
    if (!this.#client.connected || this.#whole) return undefined;
    try {
      return await this.#client.status();
    } catch (error) {
      if (error instanceof WeftError) return undefined;
      throw error;
    }
  }

  get #wanted(): boolean {
    return [...this.options.wish().sandboxes.values()].some(hasOwnNamespace);
  }

  get #pending(): boolean {
    if (!this.#started) return false;
    if (!this.#client.connected) return this.#wanted || !this.#sought;
    return this.#whole || this.#view.isDue;
  }

  #kick(): void {
    if (this.#work || !this.#pending) return;
    this.#work = this.#catchUp().finally(() => {
      this.#work = undefined;
      this.#kick();
    });
  }

  async #caughtUp(limitMs: number): Promise<void> {
    const limit = new AbortController();
    await Promise.race([this.#work, sleep(limitMs, undefined, { signal: limit.signal }).catch(() => undefined)]);
    limit.abort();
  }

  async #catchUp(): Promise<void> {
    // What happens in one turn of the event loop is one message.
    await sleep(0);
    while (this.#pending) {
      try {
        await this.#round();
        this.#failures = 0;
      } catch (error) {
        this.#whole = true;
        await this.#failed(toWeftError(error));
      }
    }
  }

  async #round(): Promise<void> {
    if (!this.#client.connected && !(await this.#reach())) return;
    this.#unreachable = '';
    const wish = this.options.wish();
    if (await this.#send(wish)) this.#toldRevision = wish.revision;
    this.emit('told');
  }

  /** @returns whether it has all names of the wish now */
  async #send(wish: Wish): Promise<boolean> {
    if (this.#whole) {
      this.#took(await this.#sendWhole(wish));
      this.#whole = false;
      return true;
    }
    const patch = this.#view.patch(wish);
    if (!patch) return true;
    const reply = await this.#client.sendPatch(patch);
    if (reply.op === 'applied') this.#took(reply);
    else this.#whole = true;
    return !this.#whole;
  }

  /**
   * One that another agent started may be of another version, and not know what it is told: it is ended, and this agent's
   * own listens where it did. @throws what it refused with
   */
  async #sendWhole(wish: Wish): Promise<Applied> {
    try {
      return await this.#client.sendView(this.#view.whole(wish));
    } catch (error) {
      if (this.#inherited && codeOf(error)?.startsWith('WEFT_INVALID')) {
        const { sandboxes } = await this.#client.status();
        for (const [name, bound] of Object.entries(sandboxes)) this.#ports.set(name, bound);
        await this.#terminate();
      }
      throw error;
    }
  }

  async #reach(): Promise<boolean> {
    this.#whole = true;
    this.#sought = true;
    this.#inherited = true;
    if (!this.#wanted) return this.#client.attach();
    this.#inherited = !(await this.#client.connect()).started;
    return true;
  }

  async #failed(error: WeftError): Promise<void> {
    if (!this.#started) return;
    this.#unreachable = error.message;
    const wait = BACKOFF_MS[Math.min(this.#failures, BACKOFF_MS.length - 1)] as number;
    if (this.#failures++ === 1) this.emit('trouble', '', error.message);
    await sleep(wait, undefined, { signal: this.#stop.signal }).catch(() => undefined);
  }

  #took(applied: Applied): void {
    const news: string[] = [];
    for (const [name, bound] of Object.entries(applied.sandboxes)) {
      const known = this.#ports.get(name);
      const same = known?.udp === bound.udp && known.tcp === bound.tcp;
      if (!same || !this.#listening.has(name)) news.push(name);
      this.#ports.set(name, bound);
    }
    const { sandboxes } = this.options.wish();
    for (const name of this.#ports.keys()) if (!sandboxes.has(name)) this.#ports.delete(name);
    this.#listening = new Map(Object.entries(applied.sandboxes).map(([name, { netns }]) => [name, netns]));
    this.#errors = new Map(Object.entries(applied.errors));
    if (news.length > 0) this.emit('listening', news);
  }

  /** Looks at what nobody tells of. */
  #look(): void {
    const moved = [...this.options.wish().sandboxes.keys()].filter((name) => {
      const identity = this.options.foreignIdentity(name);
      return identity !== undefined && identity !== (this.#listening.get(name) ?? '');
    });
    if (moved.length > 0) this.#view.lookAgain(moved);
    this.#readUpstreams();
    if (this.#looks++ % LONG_LOOK === 0) this.#longLook();
    this.#kick();
  }
  #looks = 0;

  /** And tells of sandboxes that failed for a while: that one fails before its namespace is made is no news. */
  #longLook(): void {
    if (this.#errors.size > 0) this.#view.lookAgain();
    for (const [name, message] of this.#errors) this.#tell(name, message);
    for (const name of this.#told.keys()) if (name !== '' && !this.#errors.has(name)) this.#told.delete(name);
  }

  #readUpstreams(): void {
    try {
      this.#view.setUpstreams(nodeNameServers());
    } catch (error) {
      this.#tell('', toWeftError(error).message);
    }
  }

  #tell(sandbox: string, message: string): void {
    if (this.#told.get(sandbox) === message) return;
    this.#told.set(sandbox, message);
    this.emit('trouble', sandbox, message);
  }
}
