import t from 'tap';
import { patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { CLIENT, PortsLab, SECOND } from '../support/ports-lab.js';

/*
 * Ports of a node that lead to its sandboxes (mode=host): whose they are. Held, chosen, refused, and those of services.
 */

if (needs(t, ['root', 'vxlan', 'nft-bridge', 'iptables-nat', 'ip'])) {
  t.setTimeout(patient(110_000));
  const world = await PortsLab.up();
  t.teardown(() => world.down());
  const { node, outside } = world;
  await world.sandbox('c1', 80, 81);

  t.test('nobody else binds what is published', async (t) => {
    await world.publish('c1', '8080:80', '8080:80/udp');
    t.equal(await world.bind('tcp', '0.0.0.0', 8080), 'EADDRINUSE');
    t.equal(await world.bind('tcp', '127.0.0.1', 8080), 'EADDRINUSE');
    t.equal(await world.bind('tcp', '::', 8080), 'EADDRINUSE');
    t.equal(await world.bind('udp4', '0.0.0.0', 8080), 'EADDRINUSE');
    t.equal(await world.bind('udp6', '::1', 8080), 'EADDRINUSE');
    t.equal(await world.bind('tcp', '0.0.0.0', 8081), 'bound', 'the next is free');
  });

  t.test('a number of the node’s choice: past what is taken, kept over a restart', async (t) => {
    const taken = await world.listen('127.0.0.1', 32768);
    t.equal(await world.publish('c1', '80'), '32769:80/tcp');
    t.same(await outside.ask('tcp', node.vtep, 32769, 1), { [`c1 ${CLIENT}`]: 1 });
    taken.kill('SIGKILL');
    await node.restart();
    t.match(node.log(), /adopted \d+ objects, 0 changes/);
    t.same(await outside.ask('tcp', node.vtep, 32769, 1), { [`c1 ${CLIENT}`]: 1 });
    t.equal(await world.bind('tcp', '0.0.0.0', 32769), 'EADDRINUSE', 'held again');
    t.equal(await world.publish('c1', '80'), '32769:80/tcp', 'asked again it is the same');
    const { ports } = JSON.parse(await node.must('sandbox', 'inspect', 'c1'));
    t.match(ports.at(-1), { published: 0, target: 80 });
    await world.unpublish('c1', '32769');
    t.equal(await world.bind('tcp', '0.0.0.0', 32769), 'bound');
  });

  t.test('a port that somebody has is refused, naming him; one taken while no agent ran is told', async (t) => {
    const server = await world.listen('127.0.0.1', 8200);
    const refused = await node.weft('sandbox', 'publish', 'c1', '8200:80');
    t.equal(refused.code, 1);
    t.match(
      refused.stderr,
      `WEFT_CONFLICT: port 8200/tcp is taken on this node: node (pid ${server.pid}) listens on 127.0.0.1`,
    );
    t.notOk(
      (await world.rows()).some((row) => row.port === '8200'),
      'nothing was made',
    );
    await world.publish('c1', `${SECOND}:8200:80`);
    server.kill('SIGKILL');
    await world.unpublish('c1', '8200');
    await world.publish('c1', '8200:80');
    await node.stop();
    const thief = await world.listen('0.0.0.0', 8200);
    await node.start();
    const status = async () => JSON.parse(await node.must('sandbox', 'inspect', 'c1')).status;
    await until('the thief is told', async () => (await status()).phase === 'degraded');
    t.match((await status()).reason, `node (pid ${thief.pid}) listens on 0.0.0.0`);
    t.same(await outside.ask('tcp', node.vtep, 8200, 1), { [`c1 ${CLIENT}`]: 1 }, 'the port leads on');
    thief.kill('SIGKILL');
    await until('the port is held again', async () => (await status()).phase === 'ready', 20_000);
    await world.unpublish('c1', '8200');
  });

  t.test(
    'a port of the mesh: refused with its holder; where gossip brings it the service says who has it',
    async (t) => {
      await node.must('network', 'create', 'ingress', '--ingress', '--subnet', '10.0.0.0/24', '--vni', '4096');
      await node.must('node', 'add', 'n1', '--vtep', node.vtep, '--address', 'ingress=10.0.0.101', '--wait');
      const server = await world.listen('127.0.0.1', 8500);
      const who = `port 8500/tcp is taken on this node: node (pid ${server.pid}) listens on 127.0.0.1`;
      const create = ['service', 'create', 'mesh', '--network', 'app', '--vip', '10.20.0.210'];
      t.match((await node.weft(...create, '--publish', '8500:80')).stderr, `WEFT_CONFLICT: ${who}`);
      const publish = (...numbers: number[]) => numbers.map((published) => ({ published, target: 80 }));
      const gossip = async (key: string, vip: string, ports: object[]) => {
        const value = { networks: ['app'], vips: { app: [vip] }, publish: ports };
        const row = { table: 'services', op: 'set', node: 'n2', ltime: 5, key, value };
        await node.api.post('/v1/gossip', `${JSON.stringify(row)}\n`);
      };
      const status = async (name: string) => JSON.parse(await node.must('service', 'inspect', name)).status;
      await gossip('mesh', '10.20.0.210', publish(8500, 8501));
      await until('the holder is told', async () => (await status('mesh')).reason === who);
      await node.must('connect', 'c1', 'ingress', '--ip', '10.0.0.11', '--service', 'mesh', '--wait');
      for (const port of [8500, 8501])
        t.same(await outside.ask('tcp', node.vtep, port, 1), { [`c1 ${CLIENT}`]: 1 }, `callers of ${port} are served`);
      t.equal(await world.bind('tcp', '0.0.0.0', 8501), 'EADDRINUSE');

      await gossip('zoo', '10.20.0.211', publish(8501, 8502));
      const other = 'port 8501/tcp is published by service "mesh"';
      await until('the other service is told', async () => (await status('zoo')).reason === other);
      t.same(await outside.ask('tcp', node.vtep, 8501, 1), { [`c1 ${CLIENT}`]: 1 }, 'who had it has it');
      const rows = (await world.rows()).filter((row) => row.service === 'zoo');
      t.match(rows, [
        { port: '8501', drift: 'missing', reason: other },
        { port: '8502', drift: 'ok' },
      ]);
      server.kill('SIGKILL');
      await until('the port is held again', async () => (await status('mesh')).phase === 'ready', 20_000);
    },
  );

  t.test('a service publishes on the node of its backend', async (t) => {
    const service = ['service', 'create', 'web', '--network', 'app', '--vip', '10.20.0.200'];
    await node.must(...service, '--publish', '8300:80,mode=host', '--publish', '81,mode=host');
    const row = async (target: number) => (await world.rows()).find((r) => r.service === 'web' && r.target === target);
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
}
