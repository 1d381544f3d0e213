import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { Lab, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { PATIENCE_MS, Traffic } from '../support/traffic-port.js';

/*
 * Ports of a node that lead to its sandboxes (mode=host). One node behind a router with FORWARD policy DROP and strict
 * reverse path filters, a client outside; sandboxes c1 and c2 on an overlay network, so that they are reached by gw0.
 */

const CLIENT = '192.168.70.1';
const SECOND = '192.168.71.9';

if (needs(t, ['root', 'vxlan', 'nft-bridge', 'iptables-nat', 'ip'])) {
  const lab = await Lab.up({ nodes: 1, client: true, agents: false });
  const node = lab.node(1);
  const netns = `/run/netns/${node.ns}`;
  const children: ChildProcess[] = [];
  const traffic: Traffic[] = [];
  t.teardown(async () => {
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(traffic.map((one) => one.stop()));
    await lab.down();
  });
  const trafficIn = (name: string, ns: string) => {
    const one = new Traffic(name, ns);
    traffic.push(one);
    return one;
  };

  /** A TCP listener on the node, until it is killed. */
  const listen = async (address: string, port: number): Promise<ChildProcess> => {
    const script = `require('net').createServer().listen(${port}, '${address}', () => console.log('up'))`;
    const child = spawn('nsenter', [`--net=${netns}`, process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    children.push(child);
    await once(child.stdout as NodeJS.ReadableStream, 'data');
    return child;
  };
  /** The errno with which a program of the node fails to bind, or `bound`. */
  const bind = async (type: 'tcp' | 'udp4' | 'udp6', address: string, port: number): Promise<string> => {
    const made = type === 'tcp' ? "require('net').createServer()" : `require('dgram').createSocket('${type}')`;
    const call = type === 'tcp' ? `listen(${port}, '${address}'` : `bind(${port}, '${address}'`;
    const script = `const s = ${made}; s.on('error', (e) => console.log(e.code)); s.${call}, () => { console.log('bound'); process.exit(); })`;
    return (await node.exec(process.execPath, '-e', script)).stdout.trim();
  };
  const publish = async (...args: string[]) => (await node.must('sandbox', 'publish', ...args, '--wait')).trim();
  const unpublish = (...args: string[]) => node.must('sandbox', 'unpublish', ...args, '--wait');
  const portRows = async (): Promise<Record<string, unknown>[]> => JSON.parse(await node.must('port', 'ls', '-j'));

  for (const command of [
    ['ip', 'addr', 'add', `${SECOND}/24`, 'dev', 'u0'],
    ['iptables', '-P', 'FORWARD', 'DROP'],
    ['sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=1', 'net.ipv4.conf.default.rp_filter=1'],
  ])
    await node.exec(...command);
  await node.start();
  await node.must('network', 'create', 'app', '--subnet', '10.20.0.0/24', '--vni', '4097');
  await node.connect('app', { c1: '10.20.0.11', c2: '10.20.0.12' });
  const outside = trafficIn('x', `/run/netns/${lab.client}`);
  const onNode = trafficIn('n', netns);
  const c1 = trafficIn('c1', node.pin('c1'));
  const c2 = trafficIn('c2', node.pin('c2'));
  for (const port of [80, 81, 82]) await c1.serve(port);
  await c2.serve(80);
  const gateway = '172.31.0.1';

  t.test('a port from everywhere, with the address of callers from outside', async (t) => {
    t.equal(await publish('c1', '8080:80'), '8080:80/tcp');
    t.equal(await publish('c1', '8080:80/udp'), '8080:80/udp');
    for (const proto of ['tcp', 'udp'] as const) {
      t.same(await outside.ask(proto, node.vtep, 8080, 2), { [`c1 ${CLIENT}`]: 2 }, `${proto} from outside`);
      t.same(await outside.ask(proto, SECOND, 8080, 1), { [`c1 ${CLIENT}`]: 1 }, `${proto} to another address`);
      t.same(await onNode.ask(proto, node.vtep, 8080, 1), { [`c1 ${node.vtep}`]: 1 }, `${proto} from the node`);
      t.same(await onNode.ask(proto, '127.0.0.1', 8080, 1), { [`c1 ${gateway}`]: 1 }, `${proto} to 127.0.0.1`);
      t.same(await c2.ask(proto, node.vtep, 8080, 1), { [`c1 ${gateway}`]: 1 }, `${proto} from another sandbox`);
      t.same(await c1.ask(proto, node.vtep, 8080, 1), { [`c1 ${gateway}`]: 1 }, `${proto} from itself`);
    }
    const rows = await portRows();
    t.match(rows, [
      { port: '8080', proto: 'tcp', sandbox: 'c1', mode: 'host', target: 80, drift: 'ok' },
      { port: '8080', proto: 'udp', sandbox: 'c1', mode: 'host', target: 80, drift: 'ok' },
    ]);
    t.notOk(
      rows.some((row) => 'listeners' in row),
      'the sockets that hold the ports are no listeners',
    );
  });

  t.test('[::1] is refused at once, and nothing waits in a socket', async (t) => {
    for (const proto of ['tcp', 'udp'] as const) {
      const script =
        proto === 'tcp'
          ? "require('net').connect(8080, '::1').on('error', (e) => console.log(e.code))"
          : "const s = require('dgram').createSocket('udp6'); s.on('error', (e) => { console.log(e.code); process.exit(); }); s.connect(8080, '::1', () => s.send('x'))";
      t.equal((await node.exec('timeout', '20', process.execPath, '-e', script)).stdout.trim(), 'ECONNREFUSED', proto);
    }
    const sockets = (await node.exec('ss', '-Huan', 'sport', '=', '8080')).stdout.trim();
    t.match(sockets, /^\S+\s+0\s+0\s+\*:8080\s/, 'the queue of the UDP socket is empty');
  });

  t.test('nobody else binds what is published', async (t) => {
    t.equal(await bind('tcp', '0.0.0.0', 8080), 'EADDRINUSE');
    t.equal(await bind('tcp', '127.0.0.1', 8080), 'EADDRINUSE');
    t.equal(await bind('tcp', '::', 8080), 'EADDRINUSE');
    t.equal(await bind('udp4', '0.0.0.0', 8080), 'EADDRINUSE');
    t.equal(await bind('udp6', '::1', 8080), 'EADDRINUSE');
    t.equal(await bind('tcp', '0.0.0.0', 8081), 'bound', 'the next is free');
  });

  t.test('sandboxes are not opened to the outside', async (t) => {
    const via = ['route', 'add', '172.31.0.0/16', 'via', node.vtep];
    const router = trafficIn('r', `/run/netns/${lab.router}`);
    execFileSync('ip', ['-n', lab.router, ...via]);
    t.same(await router.ask('tcp', '172.31.0.2', 80, 1), { ETIMEDOUT: 1 });
    t.same(await router.ask('tcp', '172.31.0.2', 8080, 1), { ETIMEDOUT: 1 });
    const [between] = Object.keys(await c2.ask('tcp', '172.31.0.2', 80, 1));
    t.match(between, /^(ETIMEDOUT|EHOSTUNREACH)$/, 'nor to each other by the gateway bridge');
    // A container cannot speak to the node's loopback, which route_localnet would let it.
    await onNode.serve(7777);
    await node.execIn('c2', 'ip', 'route', 'del', 'local', '127.0.0.0/8', 'table', 'local');
    await node.execIn('c2', 'sysctl', '-qw', 'net.ipv4.conf.gw0.route_localnet=1');
    await node.execIn('c2', 'ip', 'addr', 'del', '127.0.0.1/8', 'dev', 'lo');
    await node.execIn('c2', 'ip', 'route', 'add', '127.0.0.0/8', 'via', gateway, 'dev', 'gw0', 'src', '172.31.0.3');
    const seen = node.exec(
      'timeout',
      '5',
      'tcpdump',
      '-c1',
      '-nni',
      'any',
      'src',
      '172.31.0.3',
      'and',
      'dst',
      '127.0.0.1',
    );
    await new Promise((resolve) => setTimeout(resolve, 1000));
    t.same(await c2.ask('tcp', '127.0.0.1', 7777, 1), { ETIMEDOUT: 1 });
    t.equal((await seen).code, 0, 'the packet did come to the node');
    await node.execIn('c2', 'ip', 'route', 'del', '127.0.0.0/8', 'via', gateway);
    await node.execIn('c2', 'ip', 'addr', 'add', '127.0.0.1/8', 'dev', 'lo');
  });

  t.test('one address, and another sandbox on the other', async (t) => {
    await publish('c1', `${SECOND}:8090:80`);
    t.same(await outside.ask('tcp', SECOND, 8090, 1), { [`c1 ${CLIENT}`]: 1 });
    t.same(await outside.ask('tcp', node.vtep, 8090, 1), { ECONNREFUSED: 1 }, 'other addresses are closed');
    t.same(await onNode.ask('tcp', '127.0.0.1', 8090, 1), { ECONNREFUSED: 1 });
    await publish('c2', `${node.vtep}:8090:80`);
    t.same(await outside.ask('tcp', node.vtep, 8090, 1), { [`c2 ${CLIENT}`]: 1 });
    t.same(await outside.ask('tcp', SECOND, 8090, 1), { [`c1 ${CLIENT}`]: 1 });
    await publish('c2', '127.0.0.1:8091:80');
    t.same(await onNode.ask('tcp', '127.0.0.1', 8091, 1), { [`c2 ${gateway}`]: 1 });
    t.same(await outside.ask('tcp', node.vtep, 8091, 1), { ECONNREFUSED: 1 }, 'loopback only');
    await unpublish('c1', `${SECOND}:8090`);
    await unpublish('c2', '8090', '8091');
  });

  t.test('a range leads to targets one by one', async (t) => {
    await publish('c1', '9000-9002:80', '9000-9002:80/udp');
    for (const proto of ['tcp', 'udp'] as const) {
      for (const i of [0, 1, 2])
        t.same(await outside.ask(proto, node.vtep, 9000 + i, 1), { [`c1 ${CLIENT}`]: 1 }, `${proto} ${i}`);
    }
    const flows = (await node.exec('conntrack', '-L', '-p', 'tcp', '--orig-port-dst', '9001')).stdout;
    t.match(flows, /dport=9001 .*src=172\.31\.0\.\d+ .*sport=81 /, '9001 leads to 81');
    t.same(await outside.ask('tcp', node.vtep, 9003, 1), { ECONNREFUSED: 1 });
    await publish('c1', '80-82:80');
    t.same(
      await outside.ask('tcp', node.vtep, 82, 1),
      { [`c1 ${CLIENT}`]: 1 },
      'a range that leads to the same numbers',
    );
    await unpublish('c1', '9000', '9000/udp', '80');
  });

  t.test('sources that are not allowed hear nothing', async (t) => {
    await publish('c1', '8100:80,allow=192.168.70.0/24,allow=127.0.0.0/8', '8100:80/udp,allow=192.168.70.0/24');
    t.same(await outside.ask('tcp', node.vtep, 8100, 1), { [`c1 ${CLIENT}`]: 1 });
    t.same(await outside.ask('udp', node.vtep, 8100, 1), { [`c1 ${CLIENT}`]: 1 });
    t.same(await onNode.ask('tcp', '127.0.0.1', 8100, 1), { [`c1 ${gateway}`]: 1 });
    t.same(await c2.ask('tcp', node.vtep, 8100, 1), { ETIMEDOUT: 1 });
    t.same(await c2.ask('udp', node.vtep, 8100, 1), { ETIMEDOUT: 1 });
    await unpublish('c1', '8100', '8100/udp');
  });

  t.test('a number of the node’s choice: past what is taken, kept over a restart', async (t) => {
    const taken = await listen('127.0.0.1', 32768);
    t.equal(await publish('c1', '80'), '32769:80/tcp');
    t.same(await outside.ask('tcp', node.vtep, 32769, 1), { [`c1 ${CLIENT}`]: 1 });
    taken.kill('SIGKILL');
    await node.restart();
    t.match(node.log(), /adopted \d+ objects, 0 changes/);
    t.same(await outside.ask('tcp', node.vtep, 32769, 1), { [`c1 ${CLIENT}`]: 1 });
    t.equal(await bind('tcp', '0.0.0.0', 32769), 'EADDRINUSE', 'held again');
    t.equal(await publish('c1', '80'), '32769:80/tcp', 'asked again it is the same');
    const { ports } = JSON.parse(await node.must('sandbox', 'inspect', 'c1'));
    t.match(ports.at(-1), { published: 0, target: 80 });
    await unpublish('c1', '32769');
    t.equal(await bind('tcp', '0.0.0.0', 32769), 'bound');
  });

  t.test('a port that somebody has is refused, naming him; one taken while no agent ran is told', async (t) => {
    const server = await listen('127.0.0.1', 8200);
    const refused = await node.weft('sandbox', 'publish', 'c1', '8200:80');
    t.equal(refused.code, 1);
    t.match(
      refused.stderr,
      `WEFT_CONFLICT: port 8200/tcp is taken on this node: node (pid ${server.pid}) listens on 127.0.0.1`,
    );
    t.notOk(
      (await portRows()).some((row) => row.port === '8200'),
      'nothing was made',
    );
    await publish('c1', `${SECOND}:8200:80`);
    server.kill('SIGKILL');
    await unpublish('c1', '8200');
    await publish('c1', '8200:80');
    await node.stop();
    const thief = await listen('0.0.0.0', 8200);
    await node.start();
    const status = async () => JSON.parse(await node.must('sandbox', 'inspect', 'c1')).status;
    await until('the thief is told', async () => (await status()).phase === 'degraded');
    t.match((await status()).reason, `node (pid ${thief.pid}) listens on 0.0.0.0`);
    t.same(await outside.ask('tcp', node.vtep, 8200, 1), { [`c1 ${CLIENT}`]: 1 }, 'the port leads on');
    thief.kill('SIGKILL');
    await until('the port is held again', async () => (await status()).phase === 'ready', 20_000);
    await unpublish('c1', '8200');
  });

  t.test('a sandbox whose default route leads by a bridge network is reached there', async (t) => {
    await node.must('network', 'create', 'lan', '--driver', 'bridge', '--subnet', '10.40.0.0/24');
    await node.connect('lan', { d1: '10.40.0.11', d2: '10.40.0.12' });
    const d1 = trafficIn('d1', node.pin('d1'));
    const d2 = trafficIn('d2', node.pin('d2'));
    await d1.serve(80);
    await publish('d1', '8400:80', '8400:80/udp');
    for (const proto of ['tcp', 'udp'] as const) {
      t.same(await outside.ask(proto, node.vtep, 8400, 1), { [`d1 ${CLIENT}`]: 1 }, `${proto} from outside`);
      t.same(await onNode.ask(proto, '127.0.0.1', 8400, 1), { 'd1 10.40.0.1': 1 }, `${proto} to 127.0.0.1`);
      t.same(await d2.ask(proto, node.vtep, 8400, 1), { 'd1 10.40.0.1': 1 }, `${proto} from a neighbour`);
      t.same(await d1.ask(proto, node.vtep, 8400, 1), { 'd1 10.40.0.1': 1 }, `${proto} from itself`);
      t.same(Object.values(await c2.ask(proto, node.vtep, 8400, 1)), [1], `${proto} from another network`);
    }
    t.match(Object.keys(await c2.ask('tcp', node.vtep, 8400, 1)), [/^d1 /]);
    t.match(
      (await portRows()).find((row) => row.port === '8400'),
      { sandbox: 'd1', via: '10.40.0.11', drift: 'ok' },
    );
    await unpublish('d1', '8400', '8400/udp');
  });

  t.test('a service publishes on the node of its backend', async (t) => {
    const service = ['service', 'create', 'web', '--network', 'app', '--vip', '10.20.0.200'];
    await node.must(...service, '--publish', '8300:80,mode=host', '--publish', '81,mode=host');
    const row = async (target: number) => (await portRows()).find((r) => r.service === 'web' && r.target === target);
    t.match(await row(80), { drift: 'ok', reason: 'no backend of it is on this node' });
    t.same(await outside.ask('tcp', node.vtep, 8300, 1), { ECONNREFUSED: 1 });
    await node.must('connect', 'c1', 'app', '--ip', '10.20.0.11', '--service', 'web', '--wait');
    t.same(await outside.ask('tcp', node.vtep, 8300, 1), { [`c1 ${CLIENT}`]: 1 });
    const chosen = Number((await row(81))?.port);
    t.ok(chosen >= 32768);
    t.same(await outside.ask('tcp', node.vtep, chosen, 1), { [`c1 ${CLIENT}`]: 1 });
    const second = await node.weft('connect', 'c2', 'app', '--ip', '10.20.0.12', '--service', 'web');
    t.match(second.stderr, /leads to sandbox "c1" on this node and cannot lead to "c2" too/);
    await node.must('service', 'rm', 'web', '--wait');
    t.same(await outside.ask('tcp', node.vtep, 8300, 1), { ECONNREFUSED: 1 });
  });

  t.test('what is flushed comes back; what is unpublished is refused; nothing is left', async (t) => {
    await node.exec('iptables', '-t', 'nat', '-F');
    const answers = async () =>
      Object.keys(await outside.ask('tcp', node.vtep, 8080, 1, PATIENCE_MS))[0] === `c1 ${CLIENT}`;
    await until('the port answers again', answers, 10_000);
    await node.must('sandbox', 'unpublish', 'c1', '8080', '8080/udp', '--wait');
    t.same(await outside.ask('tcp', node.vtep, 8080, 1), { ECONNREFUSED: 1 });
    const saved = (await node.exec('iptables-save')).stdout;
    t.notMatch(saved, /WEFT-PORTS|WEFT-INPUT/);
    const gone = await node.weft('sandbox', 'unpublish', 'c1', '8080');
    t.match(gone.stderr, /WEFT_NOT_FOUND: there is no port "8080\/tcp" of sandbox "c1"/);
    await node.must('down');
    t.notMatch((await node.exec('iptables-save')).stdout, /WEFT/);
  });
}
