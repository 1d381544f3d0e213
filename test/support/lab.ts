import { execFile, spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ApiClient } from '../../src/api/client.js';
import { hostMounts } from '../../src/kernel/real/mounts.js';
import { loadNative } from '../../src/kernel/real/native.js';
import { Spaces } from '../../src/kernel/real/spaces.js';
import { inGuest } from './needs.js';

/**
 * A cluster on one kernel, in network namespaces of its own: nodes n1, n2, … behind a router, each with a real agent.
 *
 *     n1 192.168.71.1 ─┐
 *     n2 192.168.72.1 ─┼─ router (.254 of each) ── client 192.168.70.1, when asked for
 *     n3 192.168.73.1 ─┘
 *
 * and likewise 2001:db8:71::1 and so on, ::fe of each at the router.
 *
 *     const lab = await Lab.up({ nodes: 3 });
 *     t.teardown(() => lab.down());
 *     await lab.node(1).weft('network', 'create', 'app', '--subnet', '10.20.0.0/24', '--vni', '4097');
 *     await lab.exchangeGossip();
 *     await lab.node(1).execIn('c1', 'ping', '-c1', '10.20.0.12');
 *
 * Namespaces are named after the process (w4711n1, w4711r, w4711c), so labs of several test files run side by side.
 * Everything is removed by `down()`, and when the process ends without it.
 */
export class Lab {
  readonly dir = mkdtempSync(join(tmpdir(), 'weft-lab-'));
  readonly nodes: readonly LabNode[];
  readonly #prefix = `w${process.pid}`;
  readonly #lastResort = () => this.#remove();

  private constructor(readonly options: LabOptions) {
    const count = options.nodes ?? 3;
    this.nodes = Array.from({ length: count }, (_, i) => new LabNode(this, i + 1, `${this.#prefix}n${i + 1}`));
  }

  /** Builds the underlay and starts an agent on every node. What was built is removed when this fails. */
  static async up(options: LabOptions = {}): Promise<Lab> {
    const lab = new Lab(options);
    process.once('exit', lab.#lastResort);
    try {
      lab.#build();
      if (options.agents !== false) await Promise.all(lab.nodes.map((node) => node.start()));
    } catch (error) {
      await lab.down();
      throw error;
    }
    return lab;
  }

  /** Node by number, from 1. */
  node(number: number): LabNode {
    const found = this.nodes[number - 1];
    if (!found) throw new Error(`the lab has no node ${number}`);
    return found;
  }

  get router(): string {
    return `${this.#prefix}r`;
  }

  get client(): string {
    return `${this.#prefix}c`;
  }

  /** Every node hears what every other node would tell it; waits until the kernels show it. */
  async exchangeGossip(nodes: readonly LabNode[] = this.nodes): Promise<void> {
    const rows = await Promise.all(nodes.map((node) => node.ownRows()));
    const tell = async (node: LabNode, i: number) => {
      const others = rows.filter((_, from) => from !== i).join('');
      await node.api.post(`/v1/gossip?wait=applied&timeoutMs=${patient(30_000)}`, others);
    };
    await Promise.all(nodes.map(tell));
  }

  /** Removes agents, resolvers, pins, namespaces and files. */
  async down(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill9()));
    this.#remove();
  }

  #build(): void {
    // nobody and nogroup come to no harm in it: an agent that drops privileges must find its files.
    must('chmod', '755', this.dir);
    netns(this.router);
    const forwarding = ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'];
    must('ip', 'netns', 'exec', this.router, 'sysctl', '-qw', ...forwarding);
    for (const node of this.nodes) this.#attach(node.ns, `n${node.number}`, node.subnet);
    if (this.options.client) {
      netns(this.client);
      this.#attach(this.client, 'client', 70);
    }
  }

  /** Joins a namespace to the router: u0 with address .1 (::1) there, a leg with .254 (::fe) here. */
  #attach(ns: string, leg: string, subnet: number): void {
    const net = `192.168.${subnet}`;
    const six = `2001:db8:${subnet}:`;
    if (ns !== this.client) netns(ns);
    must('ip', 'link', 'add', 'u0', 'netns', ns, 'type', 'veth', 'peer', 'name', leg, 'netns', this.router);
    must('ip', '-n', ns, 'addr', 'add', `${net}.1/24`, 'dev', 'u0');
    must('ip', '-n', ns, 'addr', 'add', `${six}:1/64`, 'dev', 'u0', 'nodad');
    must('ip', '-n', this.router, 'addr', 'add', `${net}.254/24`, 'dev', leg);
    must('ip', '-n', this.router, 'addr', 'add', `${six}:fe/64`, 'dev', leg, 'nodad');
    must('ip', '-n', this.router, 'link', 'set', leg, 'up');
    must('ip', '-n', ns, 'link', 'set', 'u0', 'up');
    must('ip', '-n', ns, 'route', 'add', 'default', 'via', `${net}.254`);
    must('ip', '-n', ns, 'route', 'add', 'default', 'via', `${six}:fe`);
  }

  #remove(): void {
    process.off('exit', this.#lastResort);
    for (const node of this.nodes) node.remove();
    for (const ns of [...this.nodes.map((node) => node.ns), this.router, this.client]) {
      if (existsSync(`/run/netns/${ns}`)) spawnSync('ip', ['netns', 'del', ns]);
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export interface LabOptions {
  /** How many nodes; 3 when not given. */
  nodes?: number;
  /** A namespace behind the router that is no node: a client from outside. */
  client?: boolean;
  /** Family of the addresses that nodes advertise; 4 when not given. */
  underlay?: 4 | 6;
  /** Further options of every agent. */
  args?: readonly string[];
  /** false: build the underlay only. */
  agents?: boolean;
}

export interface Outcome {
  /** Exit status; 128 + number where a signal ended it. */
  code: number;
  stdout: string;
  stderr: string;
}

const WEFTD = fileURLToPath(new URL('../../src/weftd.js', import.meta.url));
const WEFT = fileURLToPath(new URL('../../src/weft.js', import.meta.url));

/** One node: a namespace, directories, and the agent that runs there. */
export class LabNode {
  readonly name: string;
  readonly subnet: number;
  /** What it advertises. */
  readonly vtep: string;
  readonly ip6: string;
  readonly runDir: string;
  readonly stateDir: string;
  readonly socket: string;
  readonly logFile: string;
  readonly api: ApiClient;
  #agent: { pid: number; ended: Promise<number> } | undefined;

  constructor(
    readonly lab: Lab,
    readonly number: number,
    /** Name of its namespace, for `ip -n`. */
    readonly ns: string,
  ) {
    this.name = `n${number}`;
    this.subnet = 70 + number;
    this.ip6 = `2001:db8:${this.subnet}::1`;
    this.vtep = lab.options.underlay === 6 ? this.ip6 : `192.168.${this.subnet}.1`;
    this.runDir = join(lab.dir, `run${number}`);
    this.stateDir = join(lab.dir, `state${number}`);
    this.socket = join(this.runDir, 'weft.sock');
    this.logFile = join(lab.dir, `${this.name}.log`);
    this.api = new ApiClient(this.socket);
  }

  /** The agent's process; the test fails where none runs. */
  get pid(): number {
    if (!this.#agent) throw new Error(`no agent runs on ${this.name}`);
    return this.#agent.pid;
  }

  /** The command line of the agent, from `nsenter` on. */
  command(...args: string[]): string[] {
    const own = ['--node', this.name, '--advertise', this.vtep, '--run-dir', this.runDir, '--state-dir', this.stateDir];
    const node = [process.execPath, '--enable-source-maps', WEFTD, ...own, ...(this.lab.options.args ?? []), ...args];
    return ['nsenter', `--net=/run/netns/${this.ns}`, ...node];
  }

  /** Starts the agent and waits until it is ready. @param wrapper a program to run it under, as strace */
  async start(args: readonly string[] = [], wrapper: readonly string[] = []): Promise<void> {
    const from = this.log().length;
    const [program, ...rest] = [...wrapper, ...this.command(...args)];
    const log = openSync(this.logFile, 'a');
    const child = spawn(program as string, rest, { stdio: ['ignore', log, log], env: agentEnvironment() });
    closeSync(log);
    const ended = new Promise<number>((resolve) => {
      child.once('exit', (code) => resolve(code ?? 128));
      child.once('error', () => resolve(127));
    });
    this.#agent = { pid: child.pid ?? 0, ended };
    const failed = ended.then((code) => {
      throw new Error(`the agent of ${this.name} ended with ${code}:\n${this.log().slice(from)}`);
    });
    const ready = until(`the agent of ${this.name} is ready`, () => this.log().includes('"msg":"ready"', from), 60_000);
    failed.catch(() => {});
    await Promise.race([ready, failed]);
  }

  /** Runs an agent that is expected to end by itself, as one that refuses to start. */
  run(args: readonly string[] = [], wrapper: readonly string[] = []): Promise<Outcome> {
    const [program, ...rest] = [...wrapper, ...this.command(...args)];
    return outcomeOf(program as string, rest);
  }

  /** A power failure of the agent; the data plane stays. */
  async kill9(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** An orderly end of the agent. @returns its exit status */
  async stop(): Promise<number> {
    return (await this.#end('SIGTERM')) ?? 0;
  }

  async restart(): Promise<void> {
    await this.kill9();
    await this.start();
  }

  async #end(signal: NodeJS.Signals): Promise<number | undefined> {
    const agent = this.#agent;
    this.#agent = undefined;
    if (!agent) return undefined;
    try {
      process.kill(agent.pid, signal);
    } catch {
      // It has ended by itself.
    }
    return agent.ended;
  }

  /** All that the agents of this node have said, one JSON object a line. */
  log(): string {
    return existsSync(this.logFile) ? readFileSync(this.logFile, 'utf8') : '';
  }

  /** The CLI. Failures are the caller's to look at; see `must`. */
  weft(...args: string[]): Promise<Outcome> {
    return outcomeOf(process.execPath, [WEFT, '--socket', this.socket, ...args]);
  }

  /** The CLI, which has to succeed. @returns what it printed */
  async must(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.weft(...args);
    if (code !== 0) throw new Error(`weft ${args.join(' ')} on ${this.name}: exit ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  /** A command in the node's network namespace. */
  exec(...command: string[]): Promise<Outcome> {
    return outcomeOf('nsenter', [`--net=/run/netns/${this.ns}`, ...command]);
  }

  /** A command in the namespace of a sandbox, or of a network (`net-app`). */
  execIn(sandbox: string, ...command: string[]): Promise<Outcome> {
    return outcomeOf('nsenter', [`--net=${this.pin(sandbox)}`, ...command]);
  }

  /** Path of a namespace that the agent made, as this process sees it (the agent pins where pid 1 lives). */
  pin(ns: string): string {
    return join(hostMounts().root, this.runDir, 'netns', ns);
  }

  /** This node's own rows, as the control plane would spread them. */
  async ownRows(): Promise<string> {
    let rows = '';
    for await (const line of this.api.lines('/v1/gossip?follow=false')) rows += `${line}\n`;
    return rows;
  }

  /** Events of this agent so far. */
  async events(): Promise<{ revision: number; type: string; object?: string; message: string }[]> {
    const out = [];
    for await (const line of this.api.lines('/v1/events?follow=false')) out.push(JSON.parse(line));
    return out;
  }

  /** A network, with a sandbox of each name connected to it. */
  async connect(network: string, endpoints: Record<string, string>): Promise<void> {
    for (const [sandbox, ip] of Object.entries(endpoints)) {
      await this.api.put(`/v1/sandboxes/${sandbox}`, {});
      const wait = `wait=applied&timeoutMs=${patient(30_000)}`;
      await this.api.put(`/v1/endpoints/${sandbox}:${network}?${wait}`, { addresses: [ip] });
    }
  }

  /** Ends what is left of the node, whatever state it is in. */
  remove(): void {
    if (this.#agent) quietly(() => process.kill(this.pid, 'SIGKILL'));
    const resolver = join(this.runDir, 'resolver.pid');
    if (existsSync(resolver)) quietly(() => process.kill(Number(readFileSync(resolver, 'utf8')), 'SIGKILL'));
    if (!existsSync(this.runDir)) return;
    const spaces = new Spaces(loadNative(), this.runDir);
    for (const pin of spaces.pins()) spaces.remove(pin);
    spaces.unmountIfEmpty();
  }
}

/** How much slower things are in a guest: processes start 35 times slower, what they compute hardly. */
const SLOWNESS = inGuest() ? 8 : 1;

/** A time limit, for this machine. */
export const patient = (ms: number): number => ms * SLOWNESS;

/**
 * Waits until something holds.
 * @returns milliseconds that it took
 * @throws where it does not within the time, naming what was waited for and what it was last
 */
export async function until(what: string, holds: () => unknown, timeoutMs = 5000): Promise<number> {
  const began = Date.now();
  const end = began + patient(timeoutMs);
  for (;;) {
    const value = await holds();
    if (value) return Date.now() - began;
    if (Date.now() > end) throw new Error(`waited ${patient(timeoutMs)} ms in vain: ${what}`);
    await sleep(20 * SLOWNESS);
  }
}

/** Runs a program to its end. */
export function outcomeOf(program: string, args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { env: agentEnvironment(), timeout: patient(60_000), maxBuffer: 64 * 1024 * 1024 };
    execFile(program, args, options, (error, stdout, stderr) => {
      const status = error?.code;
      const code = error ? (typeof status === 'number' ? status : error.signal ? 128 : 127) : 0;
      resolve({ code, stdout, stderr: stderr || (code === 127 ? String(error) : '') });
    });
  });
}

/** Settings of the agent that runs the machine must not reach the lab's. */
function agentEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('WEFT_') || /^WEFT_(GUEST|LANE)/.test(name),
  );
  return Object.fromEntries(kept);
}

function netns(name: string): void {
  must('ip', 'netns', 'add', name);
  must('ip', '-n', name, 'link', 'set', 'lo', 'up');
}

/** Set-up that has to succeed. */
function must(program: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr}`);
}

/** The process has ended already: that is what was wanted. */
function quietly(kill: () => void): void {
  try {
    kill();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
