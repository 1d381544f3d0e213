import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { patient } from './lab.js';

/** Compiled files lie in build/test/support, one folder deeper than their sources. */
const SCRIPT = fileURLToPath(new URL('../../../test/support/wrk.lua', import.meta.url));

/** Connections of each wrk, each with a thread of its own, and milliseconds that each rests before a request. */
export const CONNECTIONS = 2;
const REST_MS = 100;
/** wrk tells how it went when it ends: it is started again and again. */
const RUN_SECONDS = patient(10_000) / 1000;

export interface WrkOptions {
  /** Path of the namespace. */
  netns: string;
  url: string;
  keepAlive: boolean;
  /** Address of the client that servers shall see. */
  seen: string;
}

/** What one run of wrk says; times are those of Date.now(). */
export interface WrkRun {
  name: string;
  from: number;
  to: number;
  requests: number;
  /** Connections that could not be made, and those that broke. */
  connect: number;
  read: number;
  write: number;
  /** Answers that were not 200, and those that were not from a server of ours, or for another client. */
  status: number;
  wrong: number;
  example: string;
  /** Answers that took more than two seconds: no failures. */
  slow: number;
  /** Connections that had no answer at all, in a run that was not cut short. */
  silent: number;
  longestMs: number;
  /** wrk itself failed, and why. */
  failed?: string;
}

/** wrk as a load: one run after the other until it is stopped. */
export class Wrk {
  #child: ChildProcess | undefined;
  #stopped = false;
  #runs: WrkRun[] = [];
  readonly #done: Promise<void>;

  constructor(
    readonly name: string,
    readonly options: WrkOptions,
  ) {
    this.#done = this.#run();
  }

  /** Runs that have ended since this was asked last. */
  runs(): WrkRun[] {
    return this.#runs.splice(0);
  }

  /** Ends the run of the moment, which tells how it went. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#child?.kill('SIGINT');
    await this.#done;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) this.#runs.push(await this.#once());
  }

  async #once(): Promise<WrkRun> {
    const { netns, url, keepAlive, seen } = this.options;
    const headers = keepAlive ? [] : ['-H', 'Connection: close'];
    const size = [`-t${CONNECTIONS}`, `-c${CONNECTIONS}`, `-d${RUN_SECONDS}s`];
    const words = ['wrk', ...size, ...headers, '-s', SCRIPT, url, '--', String(patient(REST_MS)), seen];
    const from = Date.now();
    const child = spawn('nsenter', [`--net=${netns}`, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (said += bytes));
    const [code] = await once(child, 'close');
    const told = /^\{.*\}$/m.exec(said)?.[0];
    const run = { name: this.name, from, to: Date.now(), ...NOTHING, ...(told && JSON.parse(told)) };
    if (this.#stopped) return { ...run, silent: 0 };
    return code === 0 && told ? run : { ...run, failed: `exit status ${code}: ${said.trim()}` };
  }
}

const COUNTS = { requests: 0, connect: 0, read: 0, write: 0, status: 0, wrong: 0, slow: 0, silent: 0, longestMs: 0 };
const NOTHING = { ...COUNTS, example: '' };
