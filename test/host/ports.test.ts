import { execFileSync } from 'node:child_process';
import t from 'tap';
import { patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { CLIENT, GATEWAY, PortsLab, SECOND } from '../support/ports-lab.js';
import { PATIENCE_MS } from '../support/traffic-port.js';

/*
 * Ports of a node that lead to its sandboxes (mode=host): who reaches them, from where, and as whom.
 */

if (needs(t, ['root', 'vxlan', 'nft-bridge', 'iptables-nat', 'ip'])) {
  t.setTimeout(patient(110_000));
  const world = await PortsLab.up();
  t.teardown(() => world.down());
  const { lab, node, outside, onNode } = world;
  const c1 = await world.sandbox('c1', 80, 81, 82);
  const c2 = await world.sandbox('c2', 80);

  t.test('a port from everywhere, with the address of callers from outside', async (t) => {
    t.equal(await world.publish('c1', '8080:80'), '8080:80/tcp');
    t.equal(await world.publish('c1', '8080:80/udp'), '8080:80/udp');
    for (const proto of ['tcp', 'udp'] as const) {
      t.same(await outside.ask(proto, node.vtep, 8080, 2), { [`c1 ${CLIENT}`]: 2 }, `${proto} from outside`);
      t.same(await outside.ask(proto, SECOND, 8080, 1), { [`c1 ${CLIENT}`]: 1 }, `${proto} to another address`);
      t.same(await onNode.ask(proto, node.vtep, 8080, 1), { [`c1 ${node.vtep}`]: 1 }, `${proto} from the node`);
      t.same(await onNode.ask(proto, '127.0.0.1', 8080, 1), { [`c1 ${GATEWAY}`]: 1 }, `${proto} to 127.0.0.1`);
      t.same(await c2.ask(proto, node.vtep, 8080, 1), { [`c1 ${GATEWAY}`]: 1 }, `${proto} from another sandbox`);
      t.same(await c1.ask(proto, node.vtep, 8080, 1), { [`c1 ${GATEWAY}`]: 1 }, `${proto} from itself`);
    }
    const rows = await world.rows();
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

  t.test('sandboxes are not opened to the outside', async (t) => {
    const via = ['route', 'add', '172.31.0.0/16', 'via', node.vtep];
    const router = world.trafficIn('r', `/run/netns/${lab.router}`);
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
    await node.execIn('c2', 'ip', 'route', 'add', '127.0.0.0/8', 'via', GATEWAY, 'dev', 'gw0', 'src', '172.31.0.3');
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
    await node.execIn('c2', 'ip', 'route', 'del', '127.0.0.0/8', 'via', GATEWAY);
    await node.execIn('c2', 'ip', 'addr', 'add', '127.0.0.1/8', 'dev', 'lo');
  });

  t.test('one address, and another sandbox on the other', async (t) => {
    await world.publish('c1', `${SECOND}:8090:80`);
    t.same(await outside.ask('tcp', SECOND, 8090, 1), { [`c1 ${CLIENT}`]: 1 });
    t.same(await outside.ask('tcp', node.vtep, 8090, 1), { ECONNREFUSED: 1 }, 'other addresses are closed');
    t.same(await onNode.ask('tcp', '127.0.0.1', 8090, 1), { ECONNREFUSED: 1 });
    await world.publish('c2', `${node.vtep}:8090:80`);
    t.same(await outside.ask('tcp', node.vtep, 8090, 1), { [`c2 ${CLIENT}`]: 1 });
    t.same(await outside.ask('tcp', SECOND, 8090, 1), { [`c1 ${CLIENT}`]: 1 });
    await world.publish('c2', '127.0.0.1:8091:80');
    t.same(await onNode.ask('tcp', '127.0.0.1', 8091, 1), { [`c2 ${GATEWAY}`]: 1 });
    t.same(await outside.ask('tcp', node.vtep, 8091, 1), { ECONNREFUSED: 1 }, 'loopback only');
    await world.unpublish('c1', `${SECOND}:8090`);
    await world.unpublish('c2', '8090', '8091');
  });

  t.test('a range leads to targets one by one', async (t) => {
    await world.publish('c1', '9000-9002:80', '9000-9002:80/udp');
    for (const proto of ['tcp', 'udp'] as const) {
      for (const i of [0, 1, 2])
        t.same(await outside.ask(proto, node.vtep, 9000 + i, 1), { [`c1 ${CLIENT}`]: 1 }, `${proto} ${i}`);
    }
    const flows = (await node.exec('conntrack', '-L', '-p', 'tcp', '--orig-port-dst', '9001')).stdout;
    t.match(flows, /dport=9001 .*src=172\.31\.0\.\d+ .*sport=81 /, '9001 leads to 81');
    t.same(await outside.ask('tcp', node.vtep, 9003, 1), { ECONNREFUSED: 1 });
    await world.publish('c1', '80-82:80');
    t.same(
      await outside.ask('tcp', node.vtep, 82, 1),
      { [`c1 ${CLIENT}`]: 1 },
      'a range that leads to the same numbers',
    );
    await world.unpublish('c1', '9000', '9000/udp', '80');
  });

  t.test('among many ports each is found by chains of ranges', async (t) => {
    const before = await node.api.get<{ ports: object[] }>('/v1/sandboxes/c1');
    const many = Array.from({ length: 50 }, (_, i) => ({ published: 7000 + 7 * i, target: 80 }));
    const ports = (['tcp', 'udp'] as const).flatMap((proto) => many.map((port) => ({ ...port, proto })));
    const put = (all: object[]) =>
      node.api.put(`/v1/sandboxes/c1?wait=applied&timeoutMs=${patient(20_000)}`, { ports: all });
    await put([...before.ports, ...ports]);
    const saved = (await node.exec('iptables-save')).stdout;
    for (const chain of ['WEFT-PORTS', 'WEFT-INPUT']) {
      t.match(saved, new RegExp(`^-A ${chain} .*--dport 7168:7423 -j ${chain}-udp-7168x256$`, 'm'));
    }
    for (const proto of ['tcp', 'udp'] as const) {
      for (const port of [7000, 7343]) t.same(await outside.ask(proto, node.vtep, port, 1), { [`c1 ${CLIENT}`]: 1 });
      t.same(await outside.ask(proto, node.vtep, 7001, 1), { ECONNREFUSED: 1 }, `${proto}: one between`);
    }
    t.same((await node.api.get<{ operations: object[] }>('/v1/plan')).operations, [], 'read back as they were written');
    const drifts = async () => [...new Set((await world.rows()).map(({ drift }) => drift))];
    t.same(await drifts(), ['ok']);
    await put(before.ports);
    t.notMatch((await node.exec('iptables-save')).stdout, /WEFT-(PORTS|INPUT)-/, 'chains that are empty go');
  });

  t.test('a flow of datagrams follows its port to the task that replaces the first', async (t) => {
    await world.publish('c1', '8300:80/udp');
    for (const [name, host] of [
      ['outside', node.vtep],
      ['loopback', '127.0.0.1'],
    ] as const)
      await (name === 'outside' ? outside : onNode).open(name, 'udp', host, 8300);
    const said = async () => [await outside.say('outside'), await onNode.say('loopback')];
    t.same(await said(), [`c1 ${CLIENT}`, `c1 ${GATEWAY}`]);
    await world.unpublish('c1', '8300/udp');
    await world.publish('c2', '8300:80/udp');
    t.same(await said(), [`c2 ${CLIENT}`, `c2 ${GATEWAY}`], 'with its next packet');
    const flows = (await node.exec('conntrack', '-L', '-p', 'udp', '--orig-port-dst', '8300')).stdout;
    t.notMatch(flows, 'src=172.31.0.2 ', 'nothing leads to the first');
    await world.unpublish('c2', '8300/udp');
  });

  t.test('sources that are not allowed hear nothing', async (t) => {
    await world.publish('c1', '8100:80,allow=192.168.70.0/24,allow=127.0.0.0/8', '8100:80/udp,allow=192.168.70.0/24');
    t.same(await outside.ask('tcp', node.vtep, 8100, 1), { [`c1 ${CLIENT}`]: 1 });
    t.same(await outside.ask('udp', node.vtep, 8100, 1), { [`c1 ${CLIENT}`]: 1 });
    t.same(await onNode.ask('tcp', '127.0.0.1', 8100, 1), { [`c1 ${GATEWAY}`]: 1 });
    t.same(await c2.ask('tcp', node.vtep, 8100, 1), { ETIMEDOUT: 1 });
    t.same(await c2.ask('udp', node.vtep, 8100, 1), { ETIMEDOUT: 1 });
    await world.unpublish('c1', '8100', '8100/udp');
  });

  t.test('a sandbox whose default route leads by a bridge network is reached there', async (t) => {
    await node.must('network', 'create', 'lan', '--driver', 'bridge', '--subnet', '10.40.0.0/24');
    await node.connect('lan', { d1: '10.40.0.11', d2: '10.40.0.12' });
    const d1 = await world.sandbox('d1', 80);
    const d2 = await world.sandbox('d2');
    await world.publish('d1', '8400:80', '8400:80/udp');
    for (const proto of ['tcp', 'udp'] as const) {
      t.same(await outside.ask(proto, node.vtep, 8400, 1), { [`d1 ${CLIENT}`]: 1 }, `${proto} from outside`);
      t.same(await onNode.ask(proto, '127.0.0.1', 8400, 1), { 'd1 10.40.0.1': 1 }, `${proto} to 127.0.0.1`);
      t.same(await d2.ask(proto, node.vtep, 8400, 1), { 'd1 10.40.0.1': 1 }, `${proto} from a neighbour`);
      t.same(await d1.ask(proto, node.vtep, 8400, 1), { 'd1 10.40.0.1': 1 }, `${proto} from itself`);
      t.same(Object.values(await c2.ask(proto, node.vtep, 8400, 1)), [1], `${proto} from another network`);
    }
    t.match(Object.keys(await c2.ask('tcp', node.vtep, 8400, 1)), [/^d1 /]);
    t.match(
      (await world.rows()).find((row) => row.port === '8400'),
      { sandbox: 'd1', via: '10.40.0.11', drift: 'ok' },
    );
    await world.unpublish('d1', '8400', '8400/udp');
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
