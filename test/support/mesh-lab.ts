import { execFileSync } from 'node:child_process';
import type { ApiClient } from '../../src/api/client.js';
import type { Family } from '../../src/base/ip.js';
import { loadNative } from '../../src/kernel/real/native.js';
import { Lab, patient } from './lab.js';
import { Traffic } from './traffic-port.js';

/*
 * The mesh's world: three nodes behind a router and a client outside, each a network namespace, with a real agent on each
 * node. Replicas b1 and b2 of service web are on node 1, b3 on node 2, and containers c1, c2, c3 on one node each; node 3
 * has no replica at all.
 */

export const NODES = [1, 2, 3] as const;
export type NodeNumber = (typeof NODES)[number];

/** By family, as all addresses here. */
export const VIP = { 4: '10.20.0.200', 6: 'fd20::200' } as const;
/** Published, TCP and UDP; the tasks listen on TARGET. */
export const PUBLISHED = 8080;
export const TARGET = 80;
export const PLAIN_PORTS = (['tcp', 'udp'] as const).map((proto) => ({ published: PUBLISHED, target: TARGET, proto }));
/** Of each agent, at 127.0.0.1 of its node. */
export const METRICS_PORT = 9464;
export const CLIENT = { 4: '192.168.70.1', 6: '2001:db8:70::1' } as const;

/** Replicas: their node and the last byte of their addresses. */
export const REPLICAS = { b1: { node: 1, host: 21 }, b2: { node: 1, host: 22 }, b3: { node: 2, host: 23 } } as const;
export type Replica = keyof typeof REPLICAS;
export const REPLICA_NAMES = Object.keys(REPLICAS) as Replica[];

export const underlay = (node: NodeNumber, of: Family = 4): string =>
  of === 4 ? `192.168.7${node}.1` : `2001:db8:7${node}::1`;
export const appAddress = (host: number, of: Family = 4): string => (of === 4 ? `10.20.0.${host}` : `fd20::${host}`);
export const ingressAddress = (host: number, of: Family = 4): string => (of === 4 ? `10.0.0.${host}` : `fd00::${host}`);

type Row = Record<string, unknown>;

const native = loadNative();

/** Runs a program and returns what it printed. @throws where its status is not 0 */
function run(file: string, ...args: string[]): string {
  return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** A change takes a guest seconds, and so does on a busy machine the first one, for which a resolver is started. */
const WAIT = `wait=applied&timeoutMs=${patient(30_000)}`;

export class MeshLab {
  #lab: Lab | undefined;
  /** Logical time of what the control plane says: after all that a node says itself. */
  #said = 1_000_000;
  readonly #traffic = new Map<string, Traffic>();

  /**
   * @param lb what the agents are told
   * @param families of the networks; the underlay has both
   */
  constructor(
    readonly lb: 'auto' | 'nft' | 'ipvs',
    readonly families: readonly Family[] = [4],
  ) {}

  get lab(): Lab {
    if (!this.#lab) throw new Error('the mesh has no network yet');
    return this.#lab;
  }

  /** Path of a node's namespace, the router's, or that of the client outside. */
  netns(of: NodeNumber | 'router' | 'client'): string {
    return `/run/netns/${typeof of === 'number' ? this.lab.node(of).ns : this.lab[of]}`;
  }

  /** Path of a namespace of an agent's: a sandbox, or `net-app`. */
  pin(node: NodeNumber, name: string): string {
    return this.lab.node(node).pin(name);
  }

  /** Runs a shell script in a namespace. @throws where its status is not 0 */
  sh(netns: string, script: string): string {
    return run('nsenter', `--net=${netns}`, 'sh', '-ec', script);
  }

  api(node: NodeNumber): ApiClient {
    return this.lab.node(node).api;
  }

  /** What the agents of a node said, of every life. */
  log(node: NodeNumber): Row[] {
    const lines = this.lab.node(node).log().split('\n');
    return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Row);
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
    return this.traffic('x', this.netns('client'));
  }
  /** From a node itself. */
  onNode(node: NodeNumber): Traffic {
    return this.traffic(`n${node}`, this.netns(node));
  }
  /** From the container c1, c2 or c3. */
  container(node: NodeNumber): Traffic {
    return this.traffic(`c${node}`, this.pin(node, `c${node}`));
  }
  replica(name: Replica): Traffic {
    return this.traffic(name, this.pin(REPLICAS[name].node, name));
  }

  /** Namespaces and cables. Nodes drop what they are not told to forward, and every namespace is strict about sources. */
  async network(): Promise<void> {
    const args = ['--lb', this.lb, '--metrics', `127.0.0.1:${METRICS_PORT}`];
    this.#lab = await Lab.up({ client: true, agents: false, args });
    const drop = ['iptables -P FORWARD DROP', ...(this.families.includes(6) ? ['ip6tables -P FORWARD DROP'] : [])].join(
      '; ',
    );
    for (const i of NODES) this.sh(this.netns(i), drop);
    for (const of of ['router', 'client', ...NODES] as const) this.strict(this.netns(of));
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

  /** On the network: agents, their wish, servers in the replicas. */
  async up(): Promise<void> {
    await Promise.all(this.lab.nodes.map((node) => node.start()));
    await Promise.all(NODES.map((i) => this.wish(i, this.#wishOf(i))));
    await this.gossip();
    for (const [name, { node }] of Object.entries(REPLICAS)) this.strict(this.pin(node, name));
    for (const i of NODES) for (const name of [`c${i}`, 'net-app', 'net-ingress']) this.strict(this.pin(i, name));
    await Promise.all(REPLICA_NAMES.map((name) => this.replica(name).serve(TARGET)));
  }

  /** States a node's wish; what it leaves out stays. */
  async wish(node: NodeNumber, tables: Record<string, Row>): Promise<void> {
    await this.api(node).put(`/v1/wish?prune=false&${WAIT}`, tables);
  }

  /** What a control plane does: every agent's own rows to all others. */
  gossip(): Promise<void> {
    return this.lab.exchangeGossip();
  }

  /** States service web on every node, with these changes. */
  async service(changes: Row): Promise<void> {
    await Promise.all(NODES.map((i) => this.wish(i, { services: { web: { ...this.#web(), ...changes } } })));
  }

  /** Changes a replica's endpoint on both networks, and tells everybody. */
  async change(name: Replica, changes: Row): Promise<void> {
    const { node } = REPLICAS[name];
    const endpoints = this.#endpointsOf(name, changes);
    await this.wish(node, { endpoints });
    await this.gossip();
  }

  /** Takes a replica out of both networks; its sandbox and servers stay. */
  async disconnect(name: Replica): Promise<void> {
    const { node } = REPLICAS[name];
    const ids = Object.keys(this.#endpointsOf(name));
    for (const id of ids) await this.api(node).delete(`/v1/endpoints/${encodeURIComponent(id)}?${WAIT}`);
    const { revision } = await this.api(node).get<{ revision: number }>('/v1/status');
    const row = { table: 'peers', op: 'delete', node: `n${node}`, ltime: revision };
    const body = ids.map((id) => `${JSON.stringify({ ...row, key: `n${node}/${id}` })}\n`).join('');
    for (const i of NODES) if (i !== node) await this.api(i).post(`/v1/gossip?${WAIT}`, body);
  }

  /** The control plane says to all others whether a node lives. @param others that have an agent */
  declare(node: NodeNumber, alive: boolean, others: readonly NodeNumber[] = NODES): Promise<void> {
    return this.sayNode(node, { ...this.nodeRow(node), alive }, others);
  }

  /** The control plane says to all others what a node is; undefined: it is gone. @param others that have an agent */
  async sayNode(node: NodeNumber, value: Row | undefined, others: readonly NodeNumber[] = NODES): Promise<void> {
    const what = value ? { op: 'set', value } : { op: 'delete' };
    const row = { table: 'nodes', key: `n${node}`, node: `n${node}`, ltime: ++this.#said, ...what };
    const body = `${JSON.stringify(row)}\n`;
    await Promise.all(others.filter((i) => i !== node).map((i) => this.api(i).post(`/v1/gossip?${WAIT}`, body)));
  }

  /** What was told as drift so far. */
  async drifts(node: NodeNumber): Promise<string[]> {
    const events = await this.lab.node(node).events();
    return events.filter(({ type }) => type === 'drift').map(({ message }) => message);
  }

  /** Nothing is left: processes, pins, namespaces, files. */
  async down(): Promise<void> {
    await Promise.all([...this.#traffic.values()].map((traffic) => traffic.stop()));
    await this.#lab?.down();
  }

  /** Each family's. */
  #each<T>(one: (of: Family) => T): T[] {
    return this.families.map(one);
  }

  #endpointsOf(name: Replica, changes: Row = {}): Record<string, Row> {
    const { host } = REPLICAS[name];
    return {
      [`${name}:app`]: { addresses: this.#each((of) => appAddress(host, of)), service: 'web', ...changes },
      [`${name}:ingress`]: { addresses: this.#each((of) => ingressAddress(host, of)), service: 'web', ...changes },
    };
  }

  /** The node's row, as it is told. */
  nodeRow(node: NodeNumber): Row {
    return { vtep: underlay(node), addresses: { ingress: this.#each((of) => ingressAddress(100 + node, of)) } };
  }

  #web(): Row {
    return { networks: ['app'], vips: { app: this.#each((of) => VIP[of]) }, publish: PLAIN_PORTS };
  }

  /** A node's own wish. */
  #wishOf(node: NodeNumber): Record<string, Row> {
    const here = REPLICA_NAMES.filter((name) => REPLICAS[name].node === node);
    return {
      networks: {
        app: { subnets: this.#each((of) => SUBNETS.app[of]), vni: 4097 },
        ingress: { subnets: this.#each((of) => SUBNETS.ingress[of]), vni: 4096, ingress: true },
      },
      nodes: { [`n${node}`]: this.nodeRow(node) },
      services: { web: this.#web() },
      sandboxes: Object.fromEntries([`c${node}`, ...here].map((name) => [name, {}])),
      endpoints: Object.assign(
        { [`c${node}:app`]: { addresses: this.#each((of) => appAddress(10 + node, of)) } },
        ...here.map((n) => this.#endpointsOf(n)),
      ),
    };
  }
}

const SUBNETS = {
  app: { 4: '10.20.0.0/24', 6: 'fd20::/64' },
  ingress: { 4: '10.0.0.0/24', 6: 'fd00::/64' },
} as const;
