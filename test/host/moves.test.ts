import t from 'tap';
import { announcement } from '../../src/codec/announcement.js';
import { loadNative } from '../../src/kernel/real/native.js';
import { Lab, type LabNode, patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { reaches } from '../support/overlay.js';

const tuned = patient(60_000);
const IPS = ['10.20.0.50', 'fd20::50'];
const MAC = '02:42:0a:14:00:32';
const OTHER_MAC = '02:00:00:00:00:77';

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables'])) {
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 3 });
  t.teardown(() => lab.down());
  const [n1, n2, n3] = [lab.node(1), lab.node(2), lab.node(3)];
  for (const node of lab.nodes) {
    const subnets = ['--subnet', '10.20.0.0/24', '--subnet', 'fd20::/64'];
    await node.must('network', 'create', 'app', ...subnets, '--vni', '4097');
    await node.must('node', 'add', node.name, '--vtep', node.vtep);
    await node.must('sandbox', 'create', `c${node.number}`);
    const ips = ['--ip', `10.20.0.1${node.number}`, '--ip', `fd20::1${node.number}`];
    await node.must('connect', `c${node.number}`, 'app', ...ips, '--wait');
  }

  let clock = 1000;
  const post = (node: LabNode, ...rows: object[]) =>
    node.api.post(
      `/v1/gossip?wait=applied&timeoutMs=${patient(10_000)}`,
      rows.map((r) => JSON.stringify(r)).join('\n'),
    );
  const gone = (from: LabNode, ltime = ++clock) => ({
    ...{ table: 'peers', op: 'delete', key: `${from.name}/m:app`, node: from.name, ltime },
  });
  /** What a node would spread of the endpoint that it has now. */
  const here = async (node: LabNode) => {
    const rows = (await node.ownRows()).split('\n').filter((line) => line.includes(`"${node.name}/m:app"`));
    return { ...JSON.parse(rows.at(-1) as string), ltime: ++clock };
  };
  const attach = async (node: LabNode, ...options: string[]) => {
    await node.must('sandbox', 'create', 'm');
    await node.must('connect', 'm', 'app', ...IPS.flatMap((ip) => ['--ip', ip]), ...options, '--wait');
  };
  const detach = async (node: LabNode) => {
    await node.must('disconnect', 'm', 'app', '--wait');
    await node.must('sandbox', 'rm', 'm', '--wait');
  };
  const fdb = async (node: LabNode) =>
    (await node.execIn('net-app', 'bridge', 'fdb', 'show')).stdout.split('\n').filter((l) => l.startsWith(MAC));
  const cached = async (ip: string) => (await n1.execIn('c1', 'ip', 'neigh', 'show', ip)).stdout;
  const all = async (node: LabNode) => {
    for (const ip of IPS) if (!(await reaches(node, `c${node.number}`, ip))) return false;
    return true;
  };
  /** Pings at 10 ms while something happens, and tells how long nobody answered. */
  const during = async (t: { comment(text: string): void; ok(value: unknown): void }, what: () => Promise<void>) => {
    const pings = IPS.map((ip) => n1.execIn('c1', 'ping', '-i', '0.01', '-w', String(patient(4000) / 1000), '-D', ip));
    await what();
    for (const [i, ip] of IPS.entries()) {
      const times = [...((await pings[i])?.stdout ?? '').matchAll(/^\[(\d+\.\d+)\].*bytes from/gm)].map((m) =>
        Number(m[1]),
      );
      const gaps = times.slice(1).map((time, n) => time - (times[n] as number));
      t.comment(`${ip}: longest silence ${Math.round(1000 * Math.max(...gaps))} ms`);
    }
    t.ok(await all(n1));
  };

  await attach(n2);
  await lab.exchangeGossip();

  t.test('to another node with the same MAC: one row is changed', { timeout: tuned }, async (t) => {
    t.ok(await all(n1));
    await during(t, async () => {
      await attach(n3);
      await post(n1, await here(n3));
      await post(n1, gone(n2));
      await detach(n2);
      await post(n2, await here(n3));
      await post(n3, gone(n2));
    });
    const rows = (await fdb(n1)).filter((row) => row.includes('dst'));
    t.equal(rows.length, 1);
    t.match(rows[0], new RegExp(`dst ${n3.vtep} .*self`));
    t.ok(await all(n2));
  });

  t.test('word of the old place that comes late changes nothing', { timeout: tuned }, async (t) => {
    const stale = { ...(await here(n3)), ltime: 1 };
    await post(n1, gone(n3, 2), stale, { ...stale, value: { ...stale.value, vtep: '192.168.79.1' } });
    t.match((await fdb(n1)).join(), new RegExp(`dst ${n3.vtep} .*self`));
    t.ok(await all(n1));
  });

  t.test('to another node with another MAC: containers hear of it', { timeout: tuned }, async (t) => {
    await during(t, async () => {
      await detach(n3);
      // The rows of a deleted endpoint go first, as when its node tells before the new one does.
      await post(n1, gone(n3));
      await post(n2, gone(n3));
      await attach(n2, '--mac', OTHER_MAC);
      await post(n1, await here(n2));
      await post(n3, await here(n2));
    });
    for (const ip of IPS) t.match(await cached(ip), OTHER_MAC);
  });

  t.test('onto the node of who speaks to it, with another MAC', { timeout: tuned }, async (t) => {
    await during(t, async () => {
      await attach(n1);
      await post(n1, gone(n2));
      await detach(n2);
      await post(n2, await here(n1));
      await post(n3, await here(n1));
    });
    for (const ip of IPS) t.match(await cached(ip), MAC);
    t.match((await fdb(n1)).join('\n'), /dev wf\S+ .*master br0/);
    t.notMatch((await fdb(n1)).join('\n'), /vxlan/);
    t.equal((await n1.execIn('net-app', 'ip', 'neigh', 'show', 'nud', 'permanent', IPS[0] as string)).stdout, '');
    for (const node of [n2, n3]) t.ok(await all(node));
  });

  t.test('away again: its old neighbours learn the new MAC', { timeout: tuned }, async (t) => {
    await during(t, async () => {
      await detach(n1);
      await attach(n2, '--mac', OTHER_MAC);
      await post(n1, await here(n2));
      await post(n3, await here(n2));
    });
    for (const ip of IPS)
      t.match(await cached(ip), OTHER_MAC, (await n1.execIn('net-app', 'ip', '-6', 'neigh')).stdout);
    await detach(n2);
  });

  t.test('who sends with the MAC of another captures nothing', { timeout: tuned }, async (t) => {
    await n1.must('sandbox', 'create', 'thief');
    await n1.must('connect', 'thief', 'app', '--ip', '10.20.0.66', '--wait');
    const native = loadNative();
    const ns = native.netnsOpen(n1.pin('thief'));
    const packets = native.packetOpen(ns);
    t.teardown(() => {
      for (const fd of [packets, ns]) native.closeFd(fd);
    });
    for (const mac of ['02:42:0a:14:00:0b', '02:42:0a:14:00:0c'])
      native.packetSend(packets, 'eth0', [announcement('10.20.0.99', mac)]);
    t.ok(await reaches(n2, 'c2', '10.20.0.11'), 'of a container here');
    t.ok(await reaches(n1, 'c1', '10.20.0.12'), 'of one elsewhere');
    t.ok(await reaches(n1, 'thief', '10.20.0.11'), 'itself it is as well off as before');
  });

  t.test(
    'a node that returns with another underlay address is followed by its own row',
    { timeout: tuned },
    async (t) => {
      await n2.kill9();
      // The first address of a subnet takes the others along.
      await n2.exec('ip', 'addr', 'del', '192.168.72.1/24', 'dev', 'u0');
      await n2.exec('ip', 'addr', 'add', '192.168.72.9/24', 'dev', 'u0');
      await n2.exec('ip', 'route', 'add', 'default', 'via', '192.168.72.254');
      await n2.start(['--advertise', '192.168.72.9']);
      const rows = (await n2.ownRows()).split('\n').filter(Boolean);
      await post(n1, ...rows.map((line) => JSON.parse(line)).filter(({ table }) => table === 'nodes'));
      t.match(
        (await n1.execIn('net-app', 'bridge', 'fdb', 'show')).stdout,
        /02:42:0a:14:00:0c .* dst 192\.168\.72\.9 .*self/,
      );
      t.ok(await reaches(n1, 'c1', '10.20.0.12'));
      t.ok(await reaches(n2, 'c2', 'fd20::11'));
      await post(n1, ...rows.map((line) => JSON.parse(line)));
      t.ok(await reaches(n1, 'c1', 'fd20::12'));
    },
  );

  t.test('nothing to complain about', { timeout: tuned }, async (t) => {
    for (const node of lab.nodes) {
      await until('ready', async () => /phase +ready/.test(await node.must('status')));
      const told = (await node.events()).filter(({ type }) => type === 'drift' || type === 'trouble');
      t.same(
        told.map(({ message }) => message),
        [],
      );
    }
  });
}
