import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Lab, type LabNode } from './lab.js';
import { Traffic } from './traffic-port.js';

export const CLIENT = '192.168.70.1';
/** Another address of the node. */
export const SECOND = '192.168.71.9';
/** The node at the gateway bridge: what callers there and on the loopback appear as. */
export const GATEWAY = '172.31.0.1';

/**
 * The world of a node's own ports (mode=host). One node behind a router with FORWARD policy DROP and strict reverse path
 * filters, a client outside; sandboxes c1 and c2 on an overlay network, so that they are reached by gw0. c1 serves at 80, 81
 * and 82, c2 at 80, over TCP and UDP.
 */
export class PortsLab {
  readonly #children: ChildProcess[] = [];
  readonly #traffic: Traffic[] = [];
  readonly outside: Traffic;
  readonly onNode: Traffic;

  private constructor(
    readonly lab: Lab,
    readonly node: LabNode,
  ) {
    this.outside = this.trafficIn('x', `/run/netns/${lab.client}`);
    this.onNode = this.trafficIn('n', this.netns);
  }

  static async up(): Promise<PortsLab> {
    const lab = await Lab.up({ nodes: 1, client: true, agents: false });
    const made = new PortsLab(lab, lab.node(1));
    const { node } = made;
    for (const command of [
      ['ip', 'addr', 'add', `${SECOND}/24`, 'dev', 'u0'],
      ['iptables', '-P', 'FORWARD', 'DROP'],
      ['sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=1', 'net.ipv4.conf.default.rp_filter=1'],
    ])
      await node.exec(...command);
    await node.start();
    await node.must('network', 'create', 'app', '--subnet', '10.20.0.0/24', '--vni', '4097');
    await node.connect('app', { c1: '10.20.0.11', c2: '10.20.0.12' });
    return made;
  }

  async down(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    await Promise.all(this.#traffic.map((one) => one.stop()));
    await this.lab.down();
  }

  /** Path of the node's namespace. */
  get netns(): string {
    return `/run/netns/${this.node.ns}`;
  }

  trafficIn(name: string, netns: string): Traffic {
    const one = new Traffic(name, netns);
    this.#traffic.push(one);
    return one;
  }

  /** Servers of a sandbox, and a client in it. */
  async sandbox(name: string, ...ports: number[]): Promise<Traffic> {
    const one = this.trafficIn(name, this.node.pin(name));
    for (const port of ports) await one.serve(port);
    return one;
  }

  /** A TCP listener on the node, until it is killed. */
  async listen(address: string, port: number): Promise<ChildProcess> {
    const script = `require('net').createServer().listen(${port}, '${address}', () => console.log('up'))`;
    const words = [`--net=${this.netns}`, process.execPath, '-e', script];
    const child = spawn('nsenter', words, { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#children.push(child);
    await once(child.stdout as NodeJS.ReadableStream, 'data');
    return child;
  }

  /** The errno with which a program of the node fails to bind, or `bound`. */
  async bind(type: 'tcp' | 'udp4' | 'udp6', address: string, port: number): Promise<string> {
    const made = type === 'tcp' ? "require('net').createServer()" : `require('dgram').createSocket('${type}')`;
    const call = type === 'tcp' ? `listen(${port}, '${address}'` : `bind(${port}, '${address}'`;
    const bound = `() => { console.log('bound'); process.exit(); }`;
    const script = `const s = ${made}; s.on('error', (e) => console.log(e.code)); s.${call}, ${bound})`;
    return (await this.node.exec(process.execPath, '-e', script)).stdout.trim();
  }

  /** Publishes for a sandbox and waits for the kernel. @returns what the command printed */
  async publish(...args: string[]): Promise<string> {
    return (await this.node.must('sandbox', 'publish', ...args, '--wait')).trim();
  }

  unpublish(...args: string[]): Promise<string> {
    return this.node.must('sandbox', 'unpublish', ...args, '--wait');
  }

  /** `weft port ls`. */
  async rows(): Promise<Record<string, unknown>[]> {
    return JSON.parse(await this.node.must('port', 'ls', '-j'));
  }
}
