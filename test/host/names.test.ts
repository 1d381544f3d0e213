import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { existsSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { DnsAnswer } from '../../src/api/names.js';
import { Lab, type LabNode, outcomeOf, patient, until } from '../support/lab.js';
import { missing, needs } from '../support/needs.js';
import { nameServer, native, question, reply } from '../support/resolver-world.js';

/** What a sandbox is answered, asked through the agent: no process is started. */
async function ask(node: LabNode, sandbox: string, name: string, type = 'A'): Promise<string[]> {
  const query = new URLSearchParams({ sandbox, name, type });
  const { status, records } = await node.api.get<DnsAnswer>(`/v1/inspect/dns?${query}`);
  const values = records.map((record) => record.value).sort();
  return status === 'NOERROR' ? values : [status];
}

/** Status and answers of one `dig` for several questions, each a list of arguments. */
async function dig(node: LabNode, sandbox: string, ...questions: string[][]): Promise<[string, string[]][]> {
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
function socketIn(node: LabNode, sandbox: string, type: 'udp' | 'tcp', port: number): number {
  const netns = native.netnsOpen(node.pin(sandbox));
  try {
    return native.socketOpen(netns, { type, family: 4, address: '0.0.0.0', port, reuseAddr: true }).fd;
  } finally {
    native.closeFd(netns);
  }
}

/** A web server in a sandbox that says the sandbox's name, one request a connection. */
async function webServer(node: LabNode, sandbox: string): Promise<Server> {
  const server = createServer((_request, response) => response.setHeader('connection', 'close').end(`${sandbox}\n`));
  server.listen({ fd: socketIn(node, sandbox, 'tcp', 8080) });
  await once(server, 'listening');
  return server;
}

/** A client that asks for `web` in a sandbox, always from one port. */
class Stub {
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
async function answers(node: LabNode, sandbox: string, limitMs: number): Promise<boolean> {
  const stub = new Stub(node, sandbox);
  try {
    return await stub.answered(limitMs);
  } finally {
    stub.close();
  }
}

/** Asks every few milliseconds until it is ended. */
function load(node: LabNode, sandbox: string) {
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

const adoption = (node: LabNode): string =>
  [...node.log().matchAll(/"msg":"(adopted [^"]*)"/g)].map(([, message]) => message).at(-1) ?? '';
const resolverPid = (node: LabNode): number => Number(readFileSync(join(node.runDir, 'resolver.pid'), 'utf8'));
const runs = (pid: number): boolean => existsSync(`/proc/${pid}/exe`);
const phaseOf = async (node: LabNode, sandbox: string) =>
  (await node.api.get<{ status: { phase: string; reason?: string } }>(`/v1/sandboxes/${sandbox}`)).status;
/** Where the kernel can, ports are rewritten by nf_tables, else translated by iptables. */
const rewritten = missing(['nft-inet']) === '';
const dnsRules = async (node: LabNode, sandbox: string): Promise<string[]> => {
  const command = rewritten ? ['nft', 'list', 'ruleset'] : ['iptables-save', '-t', 'nat'];
  const rules = rewritten ? /set|accept/ : /DNS/;
  return (await node.execIn(sandbox, ...command)).stdout.split('\n').filter((line) => rules.test(line));
};

if (needs(t, ['root', 'ip', 'dig', 'curl', 'veth', 'bridge', 'vxlan', 'nft-bridge', 'iptables-nat'])) {
  const limited = { timeout: patient(60_000) };
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

  t.test('dig: services, tasks, aliases, endpoints, addresses; what exists is never denied', limited, async (t) => {
    const backends = ['10.20.0.21', '10.20.0.22', '10.20.0.23'];
    const asked = await dig(
      n1,
      'c1',
      ['web'],
      ['tasks.web'],
      ['www'],
      ['WEB.APP.'],
      ['b3'],
      ['third'],
      ['second', '+tcp'],
      ['web', 'AAAA'],
      ['web', 'MX'],
      ['-x', '10.20.0.200'],
      ['-x', '10.20.0.23'],
    );
    t.same(asked, [
      ['NOERROR', ['10.20.0.200']],
      ['NOERROR', backends],
      ['NOERROR', ['10.20.0.200']],
      ['NOERROR', ['10.20.0.200']],
      ['NOERROR', ['10.20.0.23']],
      ['NOERROR', ['10.20.0.23']],
      ['NOERROR', ['10.20.0.22']],
      ['NOERROR', []],
      ['NOERROR', []],
      ['NOERROR', ['web.app.']],
      ['NOERROR', ['b3.app.']],
    ]);
    t.same(await ask(n2, 'b3', 'tasks.web'), backends, 'the other node says the same');
    t.same(await ask(n2, 'b3', 'c1'), ['10.20.0.11']);
  });

  t.test('SRV: what a proxy needs to find the backends of both nodes', limited, async (t) => {
    const web = { networks: ['app'], vips: { app: ['10.20.0.200'] }, aliases: ['www'], labels: { tier: 'front' } };
    await put(n1, 'services/web', { ...web, ports: [{ port: 80, target: 8080, name: 'http' }] });
    const targets = [21, 22, 23].map((n) => `0 1 8080 10-20-0-${n}.tasks.web.app.`);
    const asked = await dig(
      n1,
      'c1',
      ['_http._tcp.web', 'SRV'],
      ['_80._tcp.www', 'SRV', '+tcp'],
      ['_81._udp.web', 'SRV'],
      ['10-20-0-23.tasks.web.app.'],
      ['WEB', 'TXT'],
      ['nothing.app'],
      ['nothing'],
    );
    t.same(asked, [
      ['NOERROR', targets],
      ['NOERROR', targets.map((target) => target.replace('.web', '.www'))],
      ['NOERROR', targets.map((target) => target.replace('8080', '81'))],
      ['NOERROR', ['10.20.0.23']],
      ['NOERROR', ['"tier=front"']],
      ['NXDOMAIN', []],
      ['NXDOMAIN', []],
    ]);
  });

  t.test('programs in a sandbox: getent, and curl by name reaches every backend', limited, async (t) => {
    for (const [node, name] of [
      [n1, 'b1'],
      [n1, 'b2'],
      [n2, 'b3'],
    ] as const)
      servers.push(await webServer(node, name));
    t.match(await n1.must('sandbox', 'exec', 'c1', '--', 'getent', 'hosts', 'web'), /^10\.20\.0\.200\s+web\n$/);
    t.match(await n1.must('sandbox', 'exec', 'c1', '--', 'getent', 'hosts', 'c1'), /^10\.20\.0\.11\s+c1\n$/);
    const urls = Array.from({ length: 6 }, () => 'http://web:8080/');
    const said = await n1.must('sandbox', 'exec', 'c1', '--', 'curl', '-sS', '--max-time', '8', ...urls);
    t.same(said.trim().split('\n').sort(), ['b1', 'b1', 'b2', 'b2', 'b3', 'b3']);
  });

  t.test('the rest goes to the node’s name servers, as its resolv.conf says now', limited, async (t) => {
    const first = await nameServer(`/run/netns/${n1.ns}`, '127.0.0.51', (query) => [reply(query, '192.0.2.7')]);
    t.same(await ask(n1, 'c1', 'example.com'), ['192.0.2.7']);
    t.same(await dig(n1, 'c1', ['example.org', '+tcp']), [['NOERROR', ['192.0.2.7']]]);
    t.equal(first.asked.udp + first.asked.tcp, 2);
    const second = await nameServer(`/run/netns/${n1.ns}`, '127.0.0.52', (query) => [reply(query, '192.0.2.8')]);
    servers.push(second);
    await first.close();
    const began = Date.now();
    t.same(await ask(n1, 'c1', 'example.net'), ['SERVFAIL'], 'nobody listens there any more');
    t.ok(Date.now() - began < patient(500), 'which is said at once');
    t.same(await ask(n1, 'c1', 'example.com'), ['192.0.2.7'], 'what was said is true for a while');
    writeFileSync(`${resolvConf}.new`, 'nameserver 127.0.0.52\n');
    renameSync(`${resolvConf}.new`, resolvConf);
    await until('the new name server is asked', async () => (await ask(n1, 'c1', 'example.com'))[0] === '192.0.2.8');
    await put(n1, 'sandboxes/own', { dns: ['127.0.0.55'] });
    await put(n1, 'endpoints/own:app', { addresses: ['10.20.0.12'] });
    t.same(await ask(n1, 'own', 'example.com'), ['SERVFAIL'], 'a sandbox with --dns asks its own');
    t.same(await ask(n1, 'own', 'web'), ['10.20.0.200']);
  });

  t.test('a name server in a sandbox is asked from inside; domains have servers of their own', limited, async (t) => {
    const inner = await nameServer(n1.pin('b1'), '10.20.0.21', (query) => [reply(query, '192.0.2.21')], 5353);
    const rule = await nameServer(`/run/netns/${n1.ns}`, '127.0.0.57', (query) => [reply(query, '192.0.2.57')]);
    servers.push(inner, rule);
    await put(n1, 'sandboxes/own', { dnsSplit: { example: ['10.20.0.21#5353'], 'corp.example': ['127.0.0.57'] } });
    t.same(await ask(n1, 'own', 'inner.example'), ['192.0.2.21']);
    t.same(await dig(n1, 'own', ['inner2.example', '+tcp']), [['NOERROR', ['192.0.2.21']]]);
    t.same([inner.asked.udp, inner.asked.tcp], [1, 1]);
    t.same(await ask(n1, 'own', 'a.corp.example'), ['192.0.2.57']);
    t.same(await ask(n1, 'own', 'web'), ['10.20.0.200']);
  });

  t.test('a sandbox knows its networks only, and an internal one has no way out', limited, async (t) => {
    await put(n1, 'networks/inside', { subnets: ['10.21.0.0/24'], vni: 4098, internal: true });
    await put(n1, 'sandboxes/i1', { hostname: 'Inner' });
    await put(n1, 'endpoints/i1:inside', { addresses: ['10.21.0.11'] });
    t.same(await ask(n1, 'i1', 'inner'), ['10.21.0.11']);
    t.same(await ask(n1, 'i1', 'web'), ['NXDOMAIN']);
    t.same(await ask(n1, 'i1', 'example.com'), ['NXDOMAIN']);
    const { code, stderr } = await n1.weft('dns', 'query', 'web', '--sandbox', 'i1');
    t.equal(code, 1);
    t.match(stderr, /^weft: WEFT_NOT_FOUND: web A: NXDOMAIN/);
    await put(n1, 'endpoints/i1:app', { addresses: ['10.20.0.13'] });
    t.same(await ask(n1, 'i1', 'web'), ['10.20.0.200'], 'from the moment it is connected');
    t.match(readFileSync(join(n1.runDir, 'sandboxes/i1/hosts'), 'utf8'), /^10\.20\.0\.13\tInner i1$/m);
    await n1.must('disconnect', 'i1', 'app', '--wait');
    t.same(await ask(n1, 'i1', 'web'), ['NXDOMAIN']);
    t.notMatch(readFileSync(join(n1.runDir, 'sandboxes/i1/hosts'), 'utf8'), /10\.20\.0\.13/);
  });

  t.test('a name is answered as soon as its change is applied, and is gone as soon', limited, async (t) => {
    const answered = async (name: string) => {
      const path = `/v1/inspect/dns?sandbox=c1&name=${name}`;
      return (await n1.api.get<{ records: { value: string }[] }>(path)).records.map(({ value }) => value);
    };
    const b2 = { addresses: ['10.20.0.22'], service: 'web' };
    for (let i = 1; i <= 20; i++) {
      await put(n1, 'endpoints/b2:app', { ...b2, aliases: ['second', `alias${i}`] });
      t.same(await answered(`alias${i}`), ['10.20.0.22']);
      t.notOk((await answered(`alias${i - 1}`)).includes('10.20.0.22'));
    }
  });

  t.test('port 53 is the container’s own to bind', limited, async (t) => {
    const udp = dgram.createSocket('udp4');
    udp.bind({ fd: socketIn(n1, 'c1', 'udp', 53) });
    const tcp = net.createServer((socket) => socket.destroy()).listen({ fd: socketIn(n1, 'c1', 'tcp', 53) });
    t.teardown(() => {
      udp.close();
      tcp.close();
    });
    await once(tcp, 'listening');
    t.same(await dig(n1, 'c1', ['web'], ['web', '+tcp']), [
      ['NOERROR', ['10.20.0.200']],
      ['NOERROR', ['10.20.0.200']],
    ]);
  });

  t.test('backends that drain, and those of dead nodes, leave at once', limited, async (t) => {
    await put(n1, 'endpoints/b2:app', {
      addresses: ['10.20.0.22'],
      service: 'web',
      aliases: ['second'],
      state: 'draining',
    });
    t.same(await ask(n1, 'c1', 'tasks.web'), ['10.20.0.21', '10.20.0.23']);
    t.same(await ask(n1, 'c1', 'second'), ['10.20.0.22'], 'its own names stay');
    await put(n1, 'nodes/n2', { vtep: n2.vtep, alive: false });
    t.same(await ask(n1, 'c1', 'tasks.web'), ['10.20.0.21']);
    await put(n1, 'nodes/n2', { vtep: n2.vtep });
    await put(n1, 'endpoints/b2:app', { addresses: ['10.20.0.22'], service: 'web', aliases: ['second'] });
    t.equal((await ask(n1, 'c1', 'tasks.web')).length, 3);
  });

  t.test('dns ls: every name with its network, marked where the resolver has another view', limited, async (t) => {
    const table = await n1.must('dns', 'ls');
    t.match(table, /^web +app +A +10\.20\.0\.200 +ok$/m);
    t.match(table, /^tasks\.web +app +A +10\.20\.0\.21,10\.20\.0\.22,10\.20\.0\.23 +ok$/m);
    t.match(table, /^b3\.app +app +PTR +10\.20\.0\.23 +ok$/m);
    const names = (await n1.must('dns', 'ls', '-o', 'name', '--network', 'inside')).trim().split('\n');
    t.same(names, ['i1', 'inner', 'i1.inside']);
    const other = { op: 'view', view: { revision: 5, upstreams: [], sandboxes: {}, networks: {} } };
    const stranger = net.connect(join(n1.runDir, 'resolver.sock'));
    stranger.write(`${JSON.stringify(other)}\n`);
    await once(stranger, 'data');
    stranger.destroy();
    const rows = JSON.parse(await n1.must('dns', 'ls', '-j')) as { drift: string; reason: string }[];
    t.same([...new Set(rows.map((row) => row.drift))], ['differs']);
    t.match(rows[0]?.reason, /the resolver has view 5, not \d+/);
    await put(n1, 'sandboxes/c9', {});
    await until('the next change brings the whole view', () => answers(n1, 'c1', patient(300)));
    t.match(await n1.must('dns', 'query', '10.20.0.200', 'ptr', '--sandbox', 'c1'), /in-addr\.arpa +5 +PTR +web\.app/);
    t.equal((await n1.weft('dns', 'query', 'web')).code, 2, 'which sandbox?');
    t.match((await n1.weft('dns', 'query', 'web', 'FOO', '--sandbox', 'c1')).stderr, /"FOO" is no record type/);
    t.match((await n1.weft('dns', 'query', 'web', '--sandbox', 'none')).stderr, /^weft: WEFT_NOT_FOUND: /);
  });

  t.test('a sandbox’s files go with it', limited, async (t) => {
    const files = join(n1.runDir, 'sandboxes', 'c9');
    t.equal(readFileSync(join(files, 'resolv.conf'), 'utf8'), 'nameserver 127.0.0.11\noptions ndots:0\n');
    await n1.must('sandbox', 'rm', 'c9', '--wait');
    t.notOk(existsSync(files));
  });

  t.test('kill -9 of the agent loses no query, and its restart changes nothing', limited, async (t) => {
    const before = await dnsRules(n1, 'c1');
    t.equal(before.length, rewritten ? 7 : 8, before.join('\n'));
    const queries = load(n1, 'c1');
    await n1.kill9();
    t.same(await dig(n1, 'c1', ['tasks.web']), [['NOERROR', ['10.20.0.21', '10.20.0.22', '10.20.0.23']]]);
    await start(n1);
    const { answered, lost } = await queries.end();
    t.equal(lost, 0, `of ${answered + lost}`);
    t.ok(answered > 20, `${answered} answered`);
    t.match(adoption(n1), /^adopted \d+ objects, 0 changes$/);
    t.same(await dnsRules(n1, 'c1'), before);
    t.match(await n1.must('status'), /phase +ready/);
  });

  t.test('a resolver that answers late: its rules stay meanwhile, and the sandbox says so', limited, async (t) => {
    const before = await dnsRules(n1, 'c1');
    const pid = resolverPid(n1);
    process.kill(pid, 'SIGSTOP');
    try {
      await n1.kill9();
      await start(n1);
      t.match(adoption(n1), /, 0 changes$/);
      t.same(await dnsRules(n1, 'c1'), before);
      t.match(await phaseOf(n1, 'c1'), { phase: 'degraded', reason: /its resolver does not run/ });
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await until('the sandbox is well', async () => (await phaseOf(n1, 'c1')).phase === 'ready');
    t.same(await dnsRules(n1, 'c1'), before);
    t.match(await n1.must('status'), /operations 0,/);
  });

  t.test('SIGTERM of the agent leaves the resolver', limited, async (t) => {
    const pid = resolverPid(n1);
    t.equal(await n1.stop(), 0);
    t.same(await dig(n1, 'c1', ['web']), [['NOERROR', ['10.20.0.200']]]);
    await n1.start(['--dns-ttl', '0', '--dns-split', 'lan=127.0.0.57', '--dns-split', 'b.lan=127.0.0.52'], ownEtc);
    t.equal(resolverPid(n1), pid);
    t.same([await ask(n1, 'c1', 'a.lan'), await ask(n1, 'c1', 'b.lan')], [['192.0.2.57'], ['192.0.2.8']]);
    t.match(adoption(n1), /, 0 changes$/);
    t.match(
      await n1.must('dns', 'query', 'web', '--sandbox', 'c1'),
      /web +0 +A +10\.20\.0\.200/,
      'as its agent says now',
    );
  });

  t.test('kill -9 of the resolver heals', limited, async (t) => {
    const before = await dnsRules(n1, 'c1');
    const pid = resolverPid(n1);
    const stub = new Stub(n1, 'c1');
    t.teardown(() => stub.close());
    t.ok(await stub.answered());
    process.kill(pid, 'SIGKILL');
    // A query that it had taken when it died is nobody's to answer: each look is a new one, and a short one.
    const took = await until('names are answered again', () => answers(n1, 'c1', patient(300)));
    t.ok(await stub.answered(), 'a client that keeps its port too');
    // 0.3 s on a quiet machine; Node's start alone takes a second on a busy one.
    t.ok(took < patient(2000), `${took} ms`);
    t.not(resolverPid(n1), pid);
    t.same(await dnsRules(n1, 'c1'), before, 'it listens where the other did: tracked flows go on');
    await until('every sandbox is well', async () => /phase +ready/.test(await n1.must('status')));
    t.ok((await n1.events()).some((event) => event.type === 'trouble' && /resolver has ended/.test(event.message)));
    t.same(await dig(n1, 'b2', ['web'], ['web', '+tcp']), [
      ['NOERROR', ['10.20.0.200']],
      ['NOERROR', ['10.20.0.200']],
    ]);
  });

  t.test('who asks while nothing answers is refused at once', limited, async (t) => {
    await n1.kill9();
    process.kill(resolverPid(n1), 'SIGKILL');
    for (const how of ['+notcp', '+tcp']) {
      const { stdout } = await n1.execIn('c1', 'dig', '@127.0.0.11', how, '+tries=1', '+time=8', 'web');
      t.match(stdout, /127\.0\.0\.11#53.*: connection refused/, how);
    }
    await start(n1);
    t.ok(await answers(n1, 'c1', patient(2000)));
  });

  t.test('a resolver of another version, which does not know what it is told, makes room', limited, async (t) => {
    await n1.kill9();
    process.kill(resolverPid(n1), 'SIGKILL');
    const socket = join(n1.runDir, 'resolver.sock');
    rmSync(socket, { force: true });
    const error = { code: 'WEFT_INVALID_ARGUMENT', message: 'view: "ttl" is not known' };
    const other = spawn(process.execPath, [
      '-e',
      `const status = { op: 'status', pid: process.pid, revision: 1, sandboxes: {}, errors: {}, counters: {}, inFlight: 0 };
      const refused = ${JSON.stringify({ op: 'error', error })};
      require('node:net').createServer((agent) => require('node:readline').createInterface({ input: agent }).on('line', (line) =>
        agent.write(JSON.stringify(JSON.parse(line).op === 'status' ? status : refused) + '\\n'))).listen(process.argv[1], () => console.log('listening'));`,
      socket,
    ]);
    t.teardown(() => other.kill('SIGKILL'));
    const ended = once(other, 'exit');
    await once(other.stdout, 'data');
    await start(n1);
    await until('names are answered', () => answers(n1, 'c1', patient(300)));
    t.same(await ended, [null, 'SIGTERM']);
    t.not(resolverPid(n1), other.pid);
  });

  t.test('rules to the resolver that somebody takes away are put back', limited, async (t) => {
    const before = await dnsRules(n1, 'c1');
    const flush = rewritten ? 'nft flush ruleset' : 'iptables -t nat -F';
    t.equal((await n1.execIn('c1', ...flush.split(' '))).code, 0);
    await until('they are back', async () => (await dnsRules(n1, 'c1')).join() === before.join());
    t.ok(await answers(n1, 'c1', patient(2000)));
  });

  t.test('a sandbox that serves nobody has no connection tracking', limited, async (t) => {
    if (!needs(t, ['nft-inet', 'conntrack'])) return;
    t.same(await dig(n1, 'c1', ['web'], ['web', '+tcp']), [
      ['NOERROR', ['10.20.0.200']],
      ['NOERROR', ['10.20.0.200']],
    ]);
    t.equal((await n1.execIn('c1', 'curl', '-s', 'http://10.20.0.21:8080/')).code, 0);
    t.equal((await n1.execIn('c1', 'conntrack', '-L')).stdout, '');
    const served = (await n1.execIn('b1', 'conntrack', '-L')).stdout;
    t.match(served, 'dst=10.20.0.21', 'one that serves has');
    t.notMatch(served, / dport=53 /, 'and keeps the resolver out of it');
  });

  t.test('a namespace that is given back is as it was', limited, async (t) => {
    const container = spawn('unshare', ['--net', 'sleep', '600'], { stdio: 'ignore' });
    t.teardown(() => container.kill('SIGKILL'));
    const own = readlinkSync('/proc/self/ns/net');
    await until('it is there', () => readlinkSync(`/proc/${container.pid}/ns/net`) !== own);
    await n1.must('sandbox', 'create', 'lent', '--pid', String(container.pid));
    const look = async () => {
      const command = rewritten ? ['nft', 'list', 'ruleset'] : ['iptables-save', '-t', 'nat'];
      return (await outcomeOf('nsenter', [`--net=/proc/${container.pid}/ns/net`, ...command])).stdout;
    };
    await until('rules lead to the resolver', async () => (await look()).includes('127.0.0.11'));
    await n1.must('sandbox', 'rm', 'lent', '--wait');
    t.notMatch(await look(), /127\.0\.0\.11|weft|WEFT/);
  });

  t.test('a namespace that was handed over: names in it, and no hold on it when it is gone', limited, async (t) => {
    const container = spawn('unshare', ['--net', 'sleep', '600'], { stdio: 'ignore' });
    t.teardown(() => container.kill('SIGKILL'));
    const pid = container.pid as number;
    // Until then it is the test's own namespace, which must not become a sandbox.
    const own = readlinkSync('/proc/self/ns/net');
    await until('the container has its namespace', () => readlinkSync(`/proc/${pid}/ns/net`) !== own);
    await n1.must('sandbox', 'create', 'proc', '--pid', String(pid));
    await n1.must('connect', 'proc', 'app', '--ip', '10.20.0.31', '--wait');
    await until('it is ready', async () => (await phaseOf(n1, 'proc')).phase === 'ready');
    t.same(await ask(n1, 'proc', 'web'), ['10.20.0.200']);
    const legs = async () => (await n1.execIn('net-app', 'ip', '-o', 'link')).stdout.match(/wf[0-9a-f]{11}/g)?.length;
    const before = (await legs()) ?? 0;
    container.kill('SIGKILL');
    await until('the kernel frees the namespace', async () => (await legs()) === before - 1);
    await until('the sandbox says so', async () => (await phaseOf(n1, 'proc')).phase === 'degraded');
    await n1.must('disconnect', 'proc', 'app', '--wait');
    await n1.must('sandbox', 'rm', 'proc', '--wait');
    await until('all is well', async () => /phase +ready/.test(await n1.must('status')));
  });

  t.test('a process that gets the number of one that was handed over is not touched', limited, async (t) => {
    const container = spawn('unshare', ['--net', 'sleep', '600'], { stdio: 'ignore' });
    t.teardown(() => container.kill('SIGKILL'));
    const pid = container.pid as number;
    const own = readlinkSync('/proc/self/ns/net');
    const hasItsOwn = () => existsSync(`/proc/${pid}`) && readlinkSync(`/proc/${pid}/ns/net`) !== own;
    await until('the container has its namespace', hasItsOwn);
    await n1.must('sandbox', 'create', 'reused', '--pid', String(pid));
    await until('it is ready', async () => (await phaseOf(n1, 'reused')).phase === 'ready');
    container.kill('SIGKILL');
    await until('the sandbox says that it is gone', async () => (await phaseOf(n1, 'reused')).phase === 'degraded');

    // The next process gets the number after this one, unless another is made in between.
    const again = `echo ${pid - 1} >/proc/sys/kernel/ns_last_pid; unshare --net sleep 600 >&- 2>&- & echo $!`;
    await until('another process has the number', async () => {
      const made = Number((await outcomeOf('sh', ['-c', again])).stdout);
      if (made === pid) t.teardown(() => process.kill(made, 'SIGKILL'));
      else process.kill(made, 'SIGKILL');
      return made === pid;
    });
    await until('it has its namespace', hasItsOwn);
    await n1.api.post('/v1/reconcile');
    t.equal((await phaseOf(n1, 'reused')).phase, 'degraded');
    const inside = [`--net=/proc/${pid}/ns/net`];
    t.match((await outcomeOf('nsenter', [...inside, 'ip', '-br', 'link'])).stdout, /^lo +DOWN/);
    t.equal((await outcomeOf('nsenter', [...inside, 'nft', 'list', 'ruleset'])).stdout, '');
    await t.rejects(n1.api.put('/v1/sandboxes/reused', { pid }), {
      code: 'WEFT_INVALID_NETNS',
      message: /another process/,
    });
    await n1.must('sandbox', 'rm', 'reused', '--wait');
  });

  t.test('down ends the resolver and removes the files; so does --cleanup without an agent', limited, async (t) => {
    const pid = resolverPid(n1);
    await n1.must('down');
    t.notOk(runs(pid));
    for (const name of ['resolver.pid', 'resolver.sock', 'resolver.log', 'sandboxes'])
      t.notOk(existsSync(join(n1.runDir, name)), name);
    const second = resolverPid(n2);
    await n2.kill9();
    t.ok(runs(second));
    const { code, stderr } = await n2.run(['--cleanup'], ownEtc);
    t.equal(code, 0, stderr);
    t.notOk(runs(second));
    t.notOk(existsSync(join(n2.runDir, 'sandboxes')));
  });

  t.test('the next sandbox brings a resolver again', limited, async (t) => {
    await put(n1, 'networks/app', { subnets: ['10.20.0.0/24'], vni: 4097 });
    await endpoint(n1, 'c1', '10.20.0.11');
    t.same(await ask(n1, 'c1', 'c1'), ['10.20.0.11']);
  });
}
