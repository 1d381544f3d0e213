import dgram from 'node:dgram';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import type { DnsAnswer } from '../../src/api/names.js';
import { Lab, type LabNode, outcomeOf, patient } from './lab.js';
import { missing, type Need } from './needs.js';
import { native, question } from './resolver-world.js';

/** What files of names need. */
export const NAMES_NEED: readonly Need[] = [
  'root',
  'ip',
  'dig',
  'curl',
  'veth',
  'bridge',
  'vxlan',
  'nft-bridge',
  'iptables-nat',
];

/** What a sandbox is answered, asked through the agent: no process is started. */
export async function ask(node: LabNode, sandbox: string, name: string, type = 'A'): Promise<string[]> {
  const query = new URLSearchParams({ sandbox, name, type });
  const { status, records } = await node.api.get<DnsAnswer>(`/v1/inspect/dns?${query}`);
  const values = records.map((record) => record.value).sort();
  return status === 'NOERROR' ? values : [status];
}

/** Status and answers of one `dig` for several questions, each a list of arguments. */
export async function dig(node: LabNode, sandbox: string, ...questions: string[][]): Promise<[string, string[]][]> {
  const options = ['@127.0.0.11', '+tries=1', '+time=8', '+nosearch'];
  const { stdout, stderr } = await node.execIn(sandbox, 'dig', ...options, ...questions.flat());
  const found = stdout.split(';; ->>HEADER<<-').slice(1);
  if (found.length !== questions.length) throw new Error(`dig said ${stdout}${stderr}`);
  return found.map((one): [string, string[]] => {
    const answer = /;; ANSWER SECTION:\n([\s\S]*?)\n\n/.exec(one)?.[1] ?? '';
    const values = answer.split('\n').filter(Boolean);
    return [/status: (\w+)/.exec(one)?.[1] ?? '', values.map((line) => line.split(/\s+/).slice(4).join(' ')).sort()];
  });
}

/** A socket of the test's own in a sandbox. */
export function socketIn(node: LabNode, sandbox: string, type: 'udp' | 'tcp', port: number): number {
  const netns = native.netnsOpen(node.pin(sandbox));
  try {
    return native.socketOpen(netns, { type, family: 4, address: '0.0.0.0', port, reuseAddr: true }).fd;
  } finally {
    native.closeFd(netns);
  }
}

/** A web server in a sandbox that says the sandbox's name, one request a connection. */
export async function webServer(node: LabNode, sandbox: string): Promise<Server> {
  const server = createServer((_request, response) => response.setHeader('connection', 'close').end(`${sandbox}\n`));
  server.listen({ fd: socketIn(node, sandbox, 'tcp', 8080) });
  await once(server, 'listening');
  return server;
}

/** A client that asks for `web` in a sandbox, always from one port. */
export class Stub {
  readonly #socket = dgram.createSocket('udp4');
  readonly #connected: Promise<unknown>;

  constructor(node: LabNode, sandbox: string) {
    this.#socket.bind({ fd: socketIn(node, sandbox, 'udp', 0) });
    this.#connected = once(this.#socket, 'connect');
    this.#socket.connect(53, '127.0.0.11');
  }

  /** @returns whether an answer came in time */
  async answered(limitMs = patient(2000)): Promise<boolean> {
    await this.#connected;
    try {
      this.#socket.send(question(1, 'web'));
      await once(this.#socket, 'message', { signal: AbortSignal.timeout(limitMs) });
      return true;
    } catch {
      return false;
    }
  }

  close(): void {
    this.#socket.close();
  }
}

/** Asks once, from a port of its own. @returns whether an answer came in time */
export async function answers(node: LabNode, sandbox: string, limitMs: number): Promise<boolean> {
  const stub = new Stub(node, sandbox);
  try {
    return await stub.answered(limitMs);
  } finally {
    stub.close();
  }
}

/** Asks every few milliseconds until it is ended. */
export function load(node: LabNode, sandbox: string) {
  let running = true;
  let answered = 0;
  let lost = 0;
  const work = (async () => {
    while (running) {
      if (await answers(node, sandbox, patient(2000))) answered++;
      else lost++;
      await sleep(5);
    }
  })();
  return {
    async end() {
      running = false;
      await work;
      return { answered, lost };
    },
  };
}

export const adoption = (node: LabNode): string =>
  [...node.log().matchAll(/"msg":"(adopted [^"]*)"/g)].map(([, message]) => message).at(-1) ?? '';
export const resolverPid = (node: LabNode): number => Number(readFileSync(join(node.runDir, 'resolver.pid'), 'utf8'));
export const runs = (pid: number): boolean => existsSync(`/proc/${pid}/exe`);
export const phaseOf = async (node: LabNode, sandbox: string) =>
  (await node.api.get<{ status: { phase: string; reason?: string } }>(`/v1/sandboxes/${sandbox}`)).status;
/** Where the kernel can, ports are rewritten by nf_tables, else translated by iptables. */
export const rewritten = missing(['nft-inet']) === '';
export const dnsRules = async (node: LabNode, sandbox: string): Promise<string[]> => {
  const command = rewritten ? ['nft', 'list', 'ruleset'] : ['iptables-save', '-t', 'nat'];
  const rules = rewritten ? /set|accept/ : /DNS/;
  return (await node.execIn(sandbox, ...command)).stdout.split('\n').filter((line) => rules.test(line));
};

/** Two nodes with agents and network app, on which service web has b1 and b2 on the first node and b3 on the second. */
export async function namesLab(t: Pick<Test, 'teardown'>) {
  const lab = await Lab.up({ nodes: 2, agents: false });
  const [n1, n2] = [lab.node(1), lab.node(2)];
  const servers: { close(): unknown }[] = [];
  t.teardown(async () => {
    for (const server of servers) server.close();
    await lab.down();
  });

  const resolvConf = join(lab.dir, 'etc', 'resolv.conf');
  /** The agents' /etc is a copy in which resolv.conf can be replaced, by rename too. */
  const ownEtc = ['unshare', '--mount', 'sh', '-c', `mount --bind ${lab.dir}/etc /etc && exec "$@"`, 'sh'];
  await outcomeOf('cp', ['-a', '/etc', join(lab.dir, 'etc')]);
  await outcomeOf('rm', ['-f', resolvConf]);
  writeFileSync(resolvConf, 'nameserver 127.0.0.51\n');
  const start = (node: LabNode) => node.start([], ownEtc);
  await Promise.all([start(n1), start(n2)]);

  const wait = `wait=applied&timeoutMs=${patient(10_000)}`;
  const put = (node: LabNode, path: string, body: object) => node.api.put(`/v1/${path}?${wait}`, body);
  for (const node of [n1, n2]) {
    await put(node, 'networks/app', { subnets: ['10.20.0.0/24'], vni: 4097 });
    await put(node, 'services/web', { networks: ['app'], vips: { app: ['10.20.0.200'] }, aliases: ['www'] });
  }
  const endpoint = async (node: LabNode, sandbox: string, ip: string, more: object = {}) => {
    await put(node, `sandboxes/${sandbox}`, {});
    await put(node, `endpoints/${sandbox}:app`, { addresses: [ip], ...more });
  };
  await endpoint(n1, 'c1', '10.20.0.11');
  await endpoint(n1, 'b1', '10.20.0.21', { service: 'web' });
  await endpoint(n1, 'b2', '10.20.0.22', { service: 'web', aliases: ['second'] });
  await endpoint(n2, 'b3', '10.20.0.23', { service: 'web', aliases: ['third'] });
  await lab.exchangeGossip();
  return { lab, n1, n2, servers, resolvConf, ownEtc, start, put, endpoint };
}
