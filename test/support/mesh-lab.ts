import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ApiClient } from '../../src/api/client.js';
import { hostMounts } from '../../src/kernel/real/mounts.js';
import { loadNative } from '../../src/kernel/real/native.js';
import { Traffic } from './traffic-port.js';

/*
 * The mesh's world: three nodes behind a router and a client outside, each a network namespace, with a real agent on each
 * node. Replicas b1 and b2 of service web are on node 1, b3 on node 2, and containers c1, c2, c3 on one node each; node 3
 * has no replica at all.
 */

export const NODES = [1, 2, 3] as const;
export type NodeNumber = (typeof NODES)[number];

export const VIP = '10.20.0.200';
/** Published, TCP and UDP; the tasks listen on TARGET. */
export const PUBLISHED = 8080;
export const TARGET = 80;
export const CLIENT = '203.0.113.2';

/** Replicas: their node and the last byte of their addresses. */
export const REPLICAS = { b1: { node: 1, host: 21 }, b2: { node: 1, host: 22 }, b3: { node: 2, host: 23 } } as const;
export type Replica = keyof typeof REPLICAS;
export const REPLICA_NAMES = Object.keys(REPLICAS) as Replica[];

export const underlay = (node: NodeNumber): string => `192.168.7${node}.1`;
export const appAddress = (host: number): string => `10.20.0.${host}`;

type Row = Record<string, unknown>;

const AGENT = fileURLToPath(new URL('../../src/weftd.js', import.meta.url));
const READY_MS = process.env.WEFT_GUEST === undefined ? 15_000 : 90_000;
/** Where what agents pin is seen from here: `unshare --mount` hides it otherwise. */
const HOST_ROOT = hostMounts().root;

const native = loadNative();

/** Runs a program and returns what it printed. @throws where its status is not 0 */
export function run(file: string, ...args: string[]): string {
  return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

interface Agent {
  process: ChildProcess;
  api: ApiClient;
  runDir: string;
  stateDir: string;
  /** Lines of the log, of every life. */
  log: Row[];
}

export class MeshLab {
  readonly dir = mkdtempSync(join(tmpdir(), 'weft-mesh-'));
  readonly #prefix = `wm${process.pid}`;
  readonly #agents = new Map<NodeNumber, Agent>();
  readonly #traffic = new Map<string, Traffic>();

  /** @param lb what the agents are told */
  constructor(readonly lb: 'auto' | 'nft' | 'ipvs') {}

  /** Path of a namespace of the topology: n1, n2, n3, the router `r`, the client outside `x`. */
  netns(name: string): string {
    return `/run/netns/${this.#prefix}${name}`;
  }

  /** Path of a namespace of an agent's: a sandbox, or `net-app`. */
  pin(node: NodeNumber, name: string): string {
    return join(HOST_ROOT, this.#agent(node).runDir, 'netns', name);
  }

  /** Runs a shell script in a namespace. @throws where its status is not 0 */
  sh(netns: string, script: string): string {
    return run('nsenter', `--net=${netns}`, 'sh', '-ec', script);
  }

  api(node: NodeNumber): ApiClient {
    return this.#agent(node).api;
  }

  log(node: NodeNumber): readonly Row[] {
    return this.#agent(node).log;
  }

  /** Servers and clients of a namespace; started with the first call. */
  traffic(name: string, netns: string): Traffic {
    let traffic = this.#traffic.get(name);
    if (!traffic) {
      traffic = new Traffic(name, netns);
      this.#traffic.set(name, traffic);
    }
    return traffic;
  }

  /** From outside. */
  get outside(): Traffic {
    return this.traffic('x', this.netns('x'));
  }
  /** From a node itself. */
  onNode(node: NodeNumber): Traffic {
    return this.traffic(`n${node}`, this.netns(`n${node}`));
  }
  /** From the container c1, c2 or c3. */
  container(node: NodeNumber): Traffic {
    return this.traffic(`c${node}`, this.pin(node, `c${node}`));
  }
  replica(name: Replica): Traffic {
    return this.traffic(name, this.pin(REPLICAS[name].node, name));
  }

  /** Namespaces and cables. Nodes drop what they are not told to forward, and every namespace is strict about sources. */
  network(): void {
    const p = this.#prefix;
    const script = [`for n in ${['r', 'x', ...NODES.map((i) => `n${i}`)].join(' ')}; do ip netns add ${p}$n; done`];
    const cable = (ns: string, dev: string, address: string, far: string, gateway: string) => [
      `ip link add ${dev} netns ${p}${ns} type veth peer name ${far} netns ${p}r`,
      `ip -n ${p}${ns} link set lo up`,
      `ip -n ${p}${ns} addr add ${address}/24 dev ${dev}`,
      `ip -n ${p}${ns} link set ${dev} up`,
      `ip -n ${p}r addr add ${gateway}/24 dev ${far}`,
      `ip -n ${p}r link set ${far} up`,
      `ip -n ${p}${ns} route add default via ${gateway}`,
    ];
    for (const i of NODES) script.push(...cable(`n${i}`, 'under', underlay(i), `r${i}`, `192.168.7${i}.254`));
    script.push(...cable('x', 'out', CLIENT, 'rx', '203.0.113.254'));
    script.push(`ip -n ${p}r link set lo up`);
    for (const i of NODES) script.push(`nsenter --net=/run/netns/${p}n${i} iptables -P FORWARD DROP`);
    run('sh', '-ec', script.join('\n'));
    this.sysctls(this.netns('r'), { 'net/ipv4/ip_forward': '1' });
    for (const name of ['r', 'x', ...NODES.map((i) => `n${i}`)]) this.strict(this.netns(name));
  }

  /** rp_filter=1, in all and what comes. */
  strict(netns: string): void {
    this.sysctls(netns, { 'net/ipv4/conf/all/rp_filter': '1', 'net/ipv4/conf/default/rp_filter': '1' });
  }

  sysctls(netns: string, values: Record<string, string>): void {
    const fd = native.netnsOpen(netns);
    const refused = native.sysctlWrite(fd, Object.entries(values)).filter((error) => error !== null);
    native.closeFd(fd);
    if (refused.length > 0) throw new Error(`sysctls in ${netns}: ${refused.join(' ')}`);
  }

  sysctl(netns: string, path: string): string | null {
    const fd = native.netnsOpen(netns);
    const [value = null] = native.sysctlRead(fd, [path]);
    native.closeFd(fd);
    return value;
  }

  /** Starts an agent, or starts it again, and waits until it is ready. */
  async start(node: NodeNumber): Promise<void> {
    const before = this.#agents.get(node);
    const runDir = before?.runDir ?? join(this.dir, `run${node}`);
    const stateDir = before?.stateDir ?? join(this.dir, `state${node}`);
    const log = before?.log ?? [];
    const options = ['--node', `n${node}`, '--advertise', underlay(node), '--run-dir', runDir, '--state-dir', stateDir];
    const child = spawn(
      'nsenter',
      [`--net=${this.netns(`n${node}`)}`, process.execPath, ...process.execArgv, AGENT, ...options, '--lb', this.lb],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const api = new ApiClient(join(runDir, 'weft.sock'));
    this.#agents.set(node, { process: child, api, runDir, stateDir, log });
    let complaint = '';
    child.stderr?.on('data', (bytes: Buffer) => {
      complaint += bytes.toString();
    });
    await new Promise<void>((resolve, reject) => {
      let rest = '';
      child.stdout?.on('data', (bytes: Buffer) => {
        const lines = (rest + bytes.toString()).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          const row = JSON.parse(line) as Row;
          log.push(row);
          if (row.msg === 'ready') resolve();
        }
      });
      child.on('exit', (code) => reject(new Error(`agent n${node} ended with ${code}: ${complaint}`)));
      setTimeout(() => reject(new Error(`agent n${node} is not ready: ${complaint}`)), READY_MS).unref();
    });
  }

  /** kill -9. */
  async kill(node: NodeNumber): Promise<void> {
    const { process: child } = this.#agent(node);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** On the network: agents, their wish, servers in the replicas. */
  async up(): Promise<void> {
    await Promise.all(NODES.map((i) => this.start(i)));
    await Promise.all(NODES.map((i) => this.wish(i, wishOf(i))));
    await this.gossip();
    for (const [name, { node }] of Object.entries(REPLICAS)) this.strict(this.pin(node, name));
    for (const i of NODES) for (const name of [`c${i}`, 'net-app', 'net-ingress']) this.strict(this.pin(i, name));
    await Promise.all(REPLICA_NAMES.map((name) => this.replica(name).serve(TARGET)));
  }

  /** States a node's wish; what it leaves out stays. */
  async wish(node: NodeNumber, tables: Record<string, Row>): Promise<void> {
    await this.api(node).put('/v1/wish?prune=false&wait=applied&timeoutMs=60000', tables);
  }

  /** What a control plane does: every agent's own rows to all others. */
  async gossip(): Promise<void> {
    const rows = new Map<NodeNumber, string[]>();
    for (const i of NODES) {
      const own: string[] = [];
      for await (const line of this.api(i).lines('/v1/gossip?follow=false')) own.push(line);
      rows.set(i, own);
    }
    const pushes = NODES.map((to) => {
      const body = NODES.filter((from) => from !== to).flatMap((from) => rows.get(from) ?? []);
      return this.api(to).post('/v1/gossip?wait=applied&timeoutMs=60000', `${body.join('\n')}\n`);
    });
    await Promise.all(pushes);
  }

  /** Changes a replica's endpoint on both networks, and tells everybody. */
  async change(name: Replica, changes: Row): Promise<void> {
    const { node } = REPLICAS[name];
    const endpoints = endpointsOf(name, changes);
    await this.wish(node, { endpoints });
    await this.gossip();
  }

  /** Takes a replica out of both networks; its sandbox and servers stay. */
  async disconnect(name: Replica): Promise<void> {
    const { node } = REPLICAS[name];
    const ids = Object.keys(endpointsOf(name));
    for (const id of ids) await this.api(node).delete(`/v1/endpoints/${encodeURIComponent(id)}?wait=applied`);
    const { revision } = await this.api(node).get<{ revision: number }>('/v1/status');
    const row = { table: 'peers', op: 'delete', node: `n${node}`, ltime: revision };
    const body = ids.map((id) => `${JSON.stringify({ ...row, key: `n${node}/${id}` })}\n`).join('');
    for (const i of NODES) if (i !== node) await this.api(i).post('/v1/gossip?wait=applied', body);
  }

  async drifts(node: NodeNumber): Promise<{ object: string; message: string }[]> {
    const out: { object: string; message: string }[] = [];
    for await (const line of this.api(node).lines('/v1/events?follow=false')) {
      const event = JSON.parse(line) as { type: string; object: string; message: string };
      if (event.type === 'drift') out.push(event);
    }
    return out;
  }

  /** Nothing is left: processes, pins, namespaces, files. */
  async down(): Promise<void> {
    await Promise.all([...this.#traffic.values()].map((traffic) => traffic.stop()));
    for (const node of this.#agents.keys()) {
      await this.#dismantle(node);
      await this.kill(node);
    }
    const p = this.#prefix;
    const names = ['r', 'x', ...NODES.map((i) => `n${i}`)].filter((n) => existsSync(`/run/netns/${p}${n}`));
    if (names.length > 0) run('sh', '-c', names.map((n) => `ip netns del ${p}${n}`).join('\n'));
    rmSync(this.dir, { recursive: true, force: true });
  }

  async #dismantle(node: NodeNumber): Promise<void> {
    try {
      const { process: child, api, runDir } = this.#agent(node);
      if (child.exitCode !== null || child.signalCode !== null) await this.start(node);
      await api.post('/v1/down');
      const pidFile = join(runDir, 'resolver.pid');
      for (let i = 0; i < 50 && existsSync(pidFile); i++) await sleep(20);
      const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : 0;
      if (pid > 0) process.kill(pid, 'SIGKILL');
    } catch (error) {
      process.stderr.write(`# node ${node} was not taken down: ${String(error)}\n`);
    }
  }

  #agent(node: NodeNumber): Agent {
    const agent = this.#agents.get(node);
    if (!agent) throw new Error(`no agent on node ${node}`);
    return agent;
  }
}

const NETWORKS: Record<string, Row> = {
  app: { subnets: ['10.20.0.0/24'], vni: 4097 },
  ingress: { subnets: ['10.0.0.0/24'], vni: 4096, ingress: true },
};

const SERVICE: Row = {
  networks: ['app'],
  vips: { app: [VIP] },
  publish: [
    { published: PUBLISHED, target: TARGET, proto: 'tcp' },
    { published: PUBLISHED, target: TARGET, proto: 'udp' },
  ],
};

function endpointsOf(name: Replica, changes: Row = {}): Record<string, Row> {
  const { host } = REPLICAS[name];
  return {
    [`${name}:app`]: { addresses: [appAddress(host)], service: 'web', ...changes },
    [`${name}:ingress`]: { addresses: [`10.0.0.${host}`], service: 'web', ...changes },
  };
}

/** A node's own wish. */
function wishOf(node: NodeNumber): Record<string, Row> {
  const here = REPLICA_NAMES.filter((name) => REPLICAS[name].node === node);
  return {
    networks: NETWORKS,
    nodes: { [`n${node}`]: { vtep: underlay(node), addresses: { ingress: [`10.0.0.10${node}`] } } },
    services: { web: SERVICE },
    sandboxes: Object.fromEntries([`c${node}`, ...here].map((name) => [name, {}])),
    endpoints: Object.assign(
      { [`c${node}:app`]: { addresses: [appAddress(10 + node)] } },
      ...here.map((n) => endpointsOf(n)),
    ),
  };
}
