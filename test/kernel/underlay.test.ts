import t from 'tap';
import { Lab, patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { connectAll, lastAdoption, lost, reaches } from '../support/overlay.js';

const tuned = patient(60_000);

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables'])) {
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 2, agents: false });
  t.teardown(() => lab.down());
  const [n1, n2] = [lab.node(1), lab.node(2)];
  /** The table by which n1 sends what is VXLAN. */
  const table = async (...route: string[]) => n1.exec('ip', 'route', 'replace', ...route, 'table', '100');
  await n1.exec('ip', 'rule', 'add', ...'from 192.168.71.1 ipproto udp dport 4789 lookup 100 priority 900'.split(' '));
  await table(...'default via 192.168.71.254 dev u0 mtu 1400'.split(' '));
  await connectAll(lab);

  const mtus = async () => {
    const found = new Set<string>();
    for (const ns of ['net-app', 'c1']) {
      for (const [, name, mtu] of (await n1.execIn(ns, 'ip', '-o', 'link')).stdout.matchAll(/: (\S+): .* mtu (\d+)/g)) {
        if (name !== 'lo' && !name?.startsWith('gw0')) found.add(mtu as string);
      }
    }
    return [...found].join(' ');
  };
  const becomes = (mtu: number) =>
    until(`all have an MTU of ${mtu}`, async () => (await mtus()) === String(mtu), 10_000);
  const biggest = (mtu: number) => ['-M', 'do', '-s', String(mtu - 28), '-i', '0.1'];

  t.test(
    'the MTU comes from the route to the peers, in the table that the rules choose',
    { timeout: tuned },
    async (t) => {
      await becomes(1350);
      t.equal(await lost(n1, 'c1', '10.20.0.12', 2, ...biggest(1350)), 0);
      const { stdout, stderr } = await n1.execIn('c1', 'ping', '-c1', '-W1', ...biggest(1351), '10.20.0.12');
      t.match(stdout + stderr, /message too long, mtu=1350/);
    },
  );

  t.test('a restart changes nothing', { timeout: tuned }, async (t) => {
    await n1.restart();
    t.match(lastAdoption(n1), /, 0 changes$/);
    t.equal(await mtus(), '1350');
  });

  t.test('what the node’s owner changes later is followed: route, interface, rule', { timeout: tuned }, async (t) => {
    await table('default', 'via', '192.168.71.254', 'dev', 'u0', 'mtu', '1300');
    await becomes(1250);
    t.equal(await lost(n1, 'c1', '10.20.0.12', 2, ...biggest(1250)), 0);
    await n1.exec('ip', 'link', 'set', 'u0', 'mtu', '1280');
    await becomes(1230);
    await n1.exec('ip', 'link', 'set', 'u0', 'mtu', '1500');
    await becomes(1250);
    await n1.exec('ip', 'rule', 'del', 'priority', '900');
    await becomes(1450);
    t.ok(await reaches(n1, 'c1', '10.20.0.12'));
  });

  t.test('--mtu of a network wins', { timeout: tuned }, async (t) => {
    await n1.must('network', 'create', 'small', '--subnet', '10.21.0.0/24', '--vni', '4098', '--mtu', '1200', '--wait');
    const { stdout } = await n1.execIn('net-small', 'ip', '-o', 'link', 'show', 'br0');
    t.match(stdout, / mtu 1200 /);
    t.equal(await mtus(), '1450');
  });

  t.test('no trouble, and n2, whose routes are plain, was left alone', { timeout: tuned }, async (t) => {
    for (const node of lab.nodes) {
      t.same(
        (await node.events()).filter(({ type }) => type !== 'change').map(({ message }) => message),
        [],
      );
    }
    t.match((await n2.execIn('net-app', 'ip', '-o', 'link', 'show', 'br0')).stdout, / mtu 1450 /);
  });
}
