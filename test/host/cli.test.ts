import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Lab, type LabNode, type Outcome, patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';

const WEFT = fileURLToPath(new URL('../../src/weft.js', import.meta.url));
const VIP = '10.20.0.200';
type Row = Record<string, unknown> & { drift: string };

const children: ChildProcess[] = [];

/** A node program in a network namespace, until the end of the test or `kill`. */
function program(netns: string, script: string): ChildProcess {
  const child = spawn('nsenter', [`--net=${netns}`, process.execPath, '-e', script], { stdio: 'pipe' });
  children.push(child);
  return child;
}

/** A TCP server that echoes; resolves when it listens. */
async function listen(netns: string, port: number): Promise<ChildProcess> {
  const script = `require('net').createServer(s => s.pipe(s)).listen(${port}, '0.0.0.0', () => console.log('up'))`;
  const child = program(netns, script);
  await said(child, 'up');
  return child;
}

/** A connection that stays; resolves when the server has answered over it. */
async function connection(netns: string, ip: string, port: number): Promise<void> {
  const script = `const s = require('net').connect(${port}, '${ip}'); s.write('x'); s.on('data', () => console.log('up'))`;
  await said(program(netns, script), 'up');
}

async function said(child: ChildProcess, text: string): Promise<string> {
  let out = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    out += chunk;
  });
  await until(`a program says ${text}`, () => out.includes(text), 10_000);
  return out;
}

async function rows(node: LabNode, ...command: string[]): Promise<Row[]> {
  return JSON.parse(await node.must(...command, '-j'));
}

const lines = (text: string): string[] => text.split('\n').filter(Boolean);

async function build(lab: Lab): Promise<void> {
  for (const node of lab.nodes) {
    await node.must('network', 'create', 'app', '--subnet', '10.20.0.0/24', '--vni', '4097');
    await node.must('network', 'create', 'ingress', '--ingress', '--subnet', '10.0.0.0/24', '--vni', '4096');
    await node.must('node', 'add', node.name, '--vtep', node.vtep, '--address', `ingress=10.0.0.10${node.number}`);
    await node.must('service', 'create', 'web', '--network', 'app', '--vip', VIP, '--publish', '8080:80');
    const ip = 20 + node.number;
    await node.must('sandbox', 'create', `b${node.number}`);
    for (const [network, address] of [
      ['app', `10.20.0.${ip}`],
      ['ingress', `10.0.0.${ip}`],
    ] as const)
      await node.must('connect', `b${node.number}`, network, '--ip', address, '--service', 'web', '--wait');
  }
  await lab.node(1).connect('app', { c1: '10.20.0.11' });
  await lab.exchangeGossip();
}

/** What the CLI says of a kernel that somebody has just changed: the agent is stopped until the request is on its way. */
async function seenBeforeRepair(node: LabNode, tamper: () => Promise<Outcome>, ...command: string[]): Promise<Row[]> {
  process.kill(node.pid, 'SIGSTOP');
  try {
    const { code, stderr } = await tamper();
    if (code !== 0) throw new Error(stderr);
    const listing = rows(node, ...command);
    await sleep(patient(500));
    process.kill(node.pid, 'SIGCONT');
    return await listing;
  } finally {
    process.kill(node.pid, 'SIGCONT');
  }
}

if (needs(t, ['root', 'vxlan', 'nft-bridge', 'iptables-nat', 'ip'])) {
  const lab = await Lab.up({ nodes: 2 });
  t.teardown(async () => {
    for (const child of children) child.kill('SIGKILL');
    await lab.down();
  });
  const [n1, n2] = [lab.node(1), lab.node(2)];
  const nodeNs = `/run/netns/${n1.ns}`;
  await build(lab);
  const { balancer } = await n1.api.get<{ balancer: string }>('/v1/status');
  await listen(n1.pin('b1'), 80);
  await listen(n2.pin('b2'), 80);
  // As many as backends, so that in turn each has one, and the one here is seen.
  for (let i = 0; i < 2; i++) {
    await connection(n1.pin('c1'), VIP, 80);
    await connection(`/run/netns/${n2.ns}`, n1.vtep, 8080);
  }

  t.test('every listing as a table, as JSON and as names, and all of it as wished', async (t) => {
    const listings = ['vip', 'vtep', 'fdb', 'neigh', 'ipvs', 'rules', 'conntrack', 'port'];
    for (const name of listings) {
      const json = await rows(n1, name, 'ls');
      t.same(
        json.filter((row) => row.drift !== 'ok'),
        [],
        `${name}: ok`,
      );
      t.equal(json.length > 0, name !== 'ipvs' || balancer === 'ipvs', `${name}: has rows`);
      const table = lines(await n1.must(name, 'list'));
      t.match(table[0], /^[A-Z]+ .* DRIFT$/, `${name}: a heading`);
      t.equal(table.length, json.length + 1, `${name}: a line a row`);
      // Processes start slowly in a guest, and what is special of names is in few listings.
      if (!['vip', 'rules', 'conntrack', 'port'].includes(name)) continue;
      t.equal(lines(await n1.must(name, 'ls', '-o', 'name')).length, json.length, `${name}: a name a row`);
    }
  });

  t.test('vip ls has what the balancer has', async (t) => {
    const row = { namespace: 'net-app', network: 'app', vip: VIP, service: 'web', balancer, drift: 'ok' };
    t.same(await rows(n1, 'vip', 'ls'), [{ ...row, active: 2, draining: 0 }]);
    await n1.must('endpoint', 'update', 'b1:app', '--weight', '0', '--wait');
    t.same(await rows(n1, 'vip', 'ls'), [{ ...row, active: 1, draining: 1 }]);
    await n1.must('endpoint', 'update', 'b1:app', '--weight', '1', '--wait');
    t.same(await rows(n1, 'vip', 'ls', '-6'), []);
    t.equal((await rows(n1, 'vip', 'ls', '-4')).length, 1);
  });

  t.test('service update changes what is given and keeps the rest', async (t) => {
    const before = JSON.parse(await n1.must('service', 'inspect', 'web'));
    const options = ['--scheduler', 'wrr', '--affinity', '60', '--prefer-local', '--port', '81:8081/udp'];
    await n1.must('service', 'update', 'web', ...options, '--wait');
    t.match(JSON.parse(await n1.must('service', 'inspect', 'web')), {
      ...{ scheduler: 'wrr', affinity: 60, preferLocal: true, ports: [{ port: 81, target: 8081, proto: 'udp' }] },
      ...{ vips: before.vips, publish: before.publish },
    });
    await n1.must('service', 'update', 'web', '--scheduler', 'rr', '--affinity', '0', '--no-prefer-local', '--wait');
    const bad = await n1.weft('service', 'update', 'web', '--port', '81');
    t.match(bad.stderr, /--port 81: give PORT:TARGET/);
  });

  t.test('ipvs ls has weights and connections', async (t) => {
    if (balancer !== 'ipvs') return t.plan(0, 'needs ip_vs');
    const web = (await rows(n1, 'ipvs', 'ls', '--sandbox', 'net-app')).filter((row) => row.service === 'web');
    t.same([...new Set(web.map((row) => row.server))].sort(), ['10.20.0.21', '10.20.0.22']);
    t.match(web[0], { scheduler: 'rr', method: 'direct', weight: 1 });
    t.equal(
      web.reduce((sum, row) => sum + Number(row.active), 0),
      2,
      'two connections are open',
    );
  });

  t.test('rules ls -o wide has the rules', async (t) => {
    const text = await n1.must('rules', 'ls', '-o', 'wide');
    t.match(text, /^ {4}-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10\.0\.0\.101:8080$/m);
    t.match(text, /^ {4}ether daddr != 02:57:c0:a8:47:01 accept$/m);
    const own = lines(await n1.must('rules', 'ls', '--sandbox', 'ingress', '-o', 'name'));
    t.ok(own.length > 0 && own.every((line) => line.startsWith('net-ingress ')), 'one namespace only');
  });

  t.test('conntrack ls has the open connections', async (t) => {
    const flows = await rows(n1, 'conntrack', 'ls', '--sandbox', '@node');
    t.equal(flows.length, 2);
    t.match(flows[0], { proto: 'tcp', destination: n1.vtep, port: 8080, service: 'web', state: 'established' });
    const task = await rows(n1, 'conntrack', 'ls', '--sandbox', 'b1');
    t.match(
      task.find((row) => row.destination === VIP),
      { service: 'web', backend: '10.20.0.21', port: 80 },
    );
    const { code, stdout, stderr } = await n1.weft('conntrack', 'ls', '--limit', '1');
    t.same([code, lines(stdout).length], [0, 2], 'bounded');
    t.match(stderr, /^weft: \d+ more are not shown; give --limit\n$/);
  });

  t.test('a port that a program has is not published, and one that a program takes is shown', async (t) => {
    const server = await listen(nodeNs, 9090);
    const publish = ['service', 'create', 'late', '--network', 'app', '--vip', '10.20.0.201', '--publish', '9090:80'];
    const refused = await n1.weft(...publish);
    t.equal(refused.code, 1);
    t.match(
      refused.stderr,
      new RegExp(
        `^weft: WEFT_CONFLICT: port 9090/tcp is taken on this node: node \\(pid ${server.pid}\\) listens on 0`,
      ),
    );
    t.equal((await n1.weft('service', 'inspect', 'late')).code, 1, 'nothing was made');
    server.kill('SIGKILL');
    await until('the port is free', async () => (await n1.weft(...publish, '--wait')).code === 0);
    t.equal((await n1.weft(...publish)).code, 0, 'saying it again is no conflict');

    // While an agent runs it holds the port.
    await n1.kill9();
    const deaf = await listen(nodeNs, 9090);
    await n1.start();
    const late = (await rows(n1, 'port', 'ls')).find((row) => row.service === 'late');
    t.match(late, { port: '9090', via: '10.0.0.101', active: 0, drift: 'ok' });
    t.same(late?.listeners, [{ address: '0.0.0.0', pid: deaf.pid, program: 'node' }]);
    t.match(await n1.must('port', 'ls'), `node(${deaf.pid})@0.0.0.0`);
    t.equal((await n1.weft(...publish)).code, 0, 'what is published stays, whoever came since');
    deaf.kill('SIGKILL');
    await n1.must('service', 'rm', 'late', '--wait');
  });

  t.test('a VIP that somebody removed is missing, then repaired and reported', async (t) => {
    const tamper = () => n1.execIn('net-app', 'ip', 'address', 'del', `${VIP}/32`, 'dev', 'br0');
    let row: Row | undefined;
    // The agent may be quicker than the request.
    for (let attempt = 0; attempt < 5 && row?.drift !== 'missing'; attempt++) {
      [row] = await seenBeforeRepair(n1, tamper, 'vip', 'ls');
      await until('the VIP is back', async () => (await rows(n1, 'vip', 'ls'))[0]?.drift === 'ok');
    }
    t.match(row, { vip: VIP, drift: 'missing', reason: 'VIP of web' });
    t.match(await n1.must('events'), new RegExp(`drift service/web: add address br0 ${VIP} in net-app`));
  });

  t.test('verify: nothing, what it can repair, and what it cannot', async (t) => {
    t.same(await n1.weft('verify', '-j'), { code: 0, stdout: '[]\n', stderr: '' });
    const knob = 'net/ipv4/conf/eth1/src_valid_mark';
    t.equal((await n1.execIn('b1', 'sysctl', '-qw', `${knob.replaceAll('/', '.')}=0`)).code, 0);
    // The agent may have seen it by itself by then; either way it is as wished when the command returns.
    await n1.must('verify', '--repair');
    t.match((await n1.execIn('b1', 'sysctl', '-n', knob.replaceAll('/', '.'))).stdout, '1');

    // A stranger's route where the mesh's own must stand: weft touches nothing of others.
    const foreign = ['default', 'dev', 'eth1', 'table', '18600', 'proto', 'static'];
    t.equal((await n1.execIn('b1', 'ip', 'route', 'replace', ...foreign)).code, 0);
    const left = await n1.weft('verify', '--repair', '-j');
    t.equal(left.code, 1);
    t.match(JSON.parse(left.stdout), [{ repaired: false, difference: 'clash', namespace: 'b1', object: 'sandbox/b1' }]);
    const named = await n1.weft('verify', '-o', 'name');
    t.equal(named.code, 1);
    t.match(named.stdout, /^b1 route 18600 /);
    t.equal((await n1.execIn('b1', 'ip', 'route', 'del', ...foreign)).code, 0);
    await until('the route is back', async () => (await n1.weft('verify')).code === 0);
  });

  t.test('events --follow goes on', async (t) => {
    const follow = spawn(process.execPath, [WEFT, '--socket', n1.socket, 'events', '--follow', '-j']);
    children.push(follow);
    await said(follow, 'service/web');
    const news = said(follow, 'network/spare');
    await n1.must('network', 'create', 'spare', '--subnet', '10.99.0.0/24', '--vni', '4999', '--wait');
    t.match(await news, '"type":"change"');
    follow.kill('SIGTERM');
    await n1.must('network', 'rm', 'spare', '--wait');
  });

  t.test('an endpoint of several services', async (t) => {
    await n1.must('service', 'create', 'twin', '--network', 'app', '--mode', 'dnsrr');
    await n1.must('endpoint', 'update', 'b1:app', '--service', 'web', '--service', 'twin', '--wait');
    t.match(await n1.must('endpoint', 'ls'), /^b1:app .* web,twin /m);
    await n1.must('endpoint', 'update', 'b1:app', '--service', 'web', '--wait');
    t.match(await n1.must('endpoint', 'ls'), /^b1:app .* web /m);
    await n1.must('service', 'rm', 'twin', '--wait');
  });

  t.test('exit status and standard error', async (t) => {
    for (const wrong of [
      ['nonsense'],
      ['vip', 'nonsense'],
      ['vip', 'ls', '-o', 'xml'],
      ['conntrack', 'ls', '--limit', 'x'],
    ]) {
      const { code, stderr } = await n1.weft(...wrong);
      t.equal(code, 2, wrong.join(' '));
      t.match(stderr, /^weft: [^\n]+\n$/, 'one line');
    }
    const absent = await n1.weft('ipvs', 'ls', '--sandbox', 'nowhere');
    t.equal(absent.code, 1);
    t.match(absent.stderr, /^weft: WEFT_NOT_FOUND: there is no namespace "nowhere" \([^\n]+\)\n$/);
    t.match(await n1.must('version'), /^weft \d+\.\d+\.\d+\n$/);
    const help = await n1.must('help');
    for (const command of ['vip ls', 'port ls', 'network create', 'verify', 'events', 'sandbox exec'])
      t.match(help, new RegExp(`^ {2}${command} `, 'm'), `help has ${command}`);
  });
}
