import t from 'tap';
import { Lab, type LabNode, patient, until } from '../support/lab.js';
import { execAt, sends } from '../support/local.js';
import { needs } from '../support/needs.js';
import { lastAdoption, reaches } from '../support/overlay.js';

/** Addresses of the router on a node's own link, in the subnets that networks on its interface use. */
const ROUTER = { 4: '10.41.0.254', 6: 'fd41::fe' } as const;
const SUBNETS = ['--subnet', '10.41.0.0/24', '--subnet', 'fd41::/64', '--gateway', ROUTER[4], '--gateway', ROUTER[6]];
const OUTSIDE = { 4: '192.168.70.1', 6: '2001:db8:70::1' } as const;

const ASK = ['dig', '+time=1', '+tries=1', '@127.0.0.11'];
const APPLIED = `wait=applied&timeoutMs=${patient(10_000)}`;
const endpoint = (sandbox: string, network: string) => `/v1/endpoints/${sandbox}:${network}`;

interface Pair {
  network: string;
  addresses: Record<string, { 4: string; 6: string }>;
}

/** A network with two sandboxes on it. By the socket: a program takes more than a second to start in a guest. */
async function pair(node: LabNode, driver: string, network: string, ...options: string[]): Promise<Pair> {
  await node.must('network', 'create', network, '--driver', driver, ...options, '--wait');
  const addresses: Pair['addresses'] = {};
  for (const name of [`${network}1`, `${network}2`]) {
    await node.api.put(`/v1/sandboxes/${name}`, {});
    const made = await node.api.put<{ addresses: string[] }>(`${endpoint(name, network)}?${APPLIED}`, {});
    addresses[name] = { 4: made.addresses[0] as string, 6: made.addresses[1] as string };
  }
  return { network, addresses };
}

async function drop(node: LabNode, { network, addresses }: Pair): Promise<void> {
  for (const name of Object.keys(addresses)) {
    await node.api.delete(`${endpoint(name, network)}?${APPLIED}`);
    await node.api.delete(`/v1/sandboxes/${name}`);
  }
  await node.api.delete(`/v1/networks/${network}?${APPLIED}`);
}

if (needs(t, ['root', 'veth', 'bridge', 'ip', 'iptables', 'socat', 'dig'])) {
  t.setTimeout(patient(60_000));
  const lab = await Lab.up({ nodes: 1, client: true });
  t.teardown(() => lab.down());
  const node = lab.node(1);
  await execAt(lab.router, 'ip', 'addr', 'add', `${ROUTER[4]}/24`, 'dev', 'n1');
  await execAt(lab.router, 'ip', 'addr', 'add', `${ROUTER[6]}/64`, 'dev', 'n1', 'nodad');
  // The router asks for neighbours once the link-local addresses of its legs have passed duplicate detection.
  const outside = async () => (await execAt(lab.router, 'ping', '-q', '-c1', '-W1', OUTSIDE[6])).code === 0;
  await until('the router reaches the client', outside, 15_000);

  for (const [driver, mode] of [
    ['macvlan', 'bridge'],
    ['macvlan', 'private'],
    ['macvlan', 'vepa'],
    ['ipvlan', 'l2'],
  ] as const) {
    t.test(`${driver} ${mode}: neighbours, and the world by the network's own gateway`, async (t) => {
      if (!needs(t, [driver])) return;
      const made = await pair(node, driver, 'on', '--opt', 'parent=u0', '--opt', `mode=${mode}`, ...SUBNETS);
      const other = made.addresses.on2 as { 4: string; 6: string };
      for (const family of [4, 6] as const) {
        t.equal(
          await reaches(node, 'on1', other[family]),
          mode === 'bridge' || mode === 'l2',
          `IPv${family} neighbour`,
        );
        t.ok(await reaches(node, 'on1', OUTSIDE[family]), `IPv${family} world`);
      }
      if (mode === 'bridge') t.equal(await sends(node, 'on1', 'on2', other[4]), 'hello');
      const { stdout } = await node.execIn('on1', 'ip', '-d', 'link', 'show', 'eth0');
      t.match(stdout, new RegExp(`${driver}\\s+mode ${mode}`));
      // What is applied need not have its resolver yet, whose rules would be changes of the next life.
      const named = async () => (await node.execIn('on2', ...ASK, 'on1')).code === 0;
      await until('names are answered', named, 15_000);
      await node.restart();
      t.match(lastAdoption(node), /, 0 changes$/);
      await drop(node, made);
      t.notMatch((await node.exec('ip', '-o', 'link')).stdout, /macvlan|weft-/);
    });
  }

  t.test('macvlan passthru has the parent to itself, with its MAC', async (t) => {
    if (!needs(t, ['macvlan'])) return;
    await node.exec('ip', 'link', 'add', 'pp0', 'type', 'veth', 'peer', 'name', 'pp1');
    const mac = async (...at: string[]) =>
      /ether (\S+)/.exec((await node.exec('ip', 'link', 'show', ...at)).stdout)?.[1];
    const own = await mac('pp0');
    const options = ['--driver', 'macvlan', '--opt', 'parent=pp0', '--opt', 'mode=passthru'];
    await node.must('network', 'create', 'alone', ...options, '--subnet', '10.42.0.0/24');
    await node.must('sandbox', 'create', 'p1');
    await node.must('sandbox', 'create', 'p2');
    await node.must('connect', 'p1', 'alone', '--wait');
    t.match((await node.execIn('p1', 'ip', 'link', 'show', 'eth0')).stdout, own as string);
    t.equal(await mac('pp0'), own, 'the parent keeps it');
    t.match((await node.weft('connect', 'p2', 'alone')).stderr, /WEFT_CONFLICT.*p1:alone/);
    const second = await node.weft('network', 'create', 'two', '--driver', 'macvlan', '--opt', 'parent=pp0');
    t.match(second.stderr, /WEFT_/);
    await node.must('disconnect', 'p1', 'alone', '--wait');
    await node.must('network', 'rm', 'alone', '--wait');
    t.equal(await mac('pp0'), own);
  });

  t.test('without a parent a network is a segment of its own, with no way out', async (t) => {
    if (!needs(t, ['macvlan', 'dummy'])) return;
    const made = await pair(node, 'macvlan', 'lone', '--subnet', '10.43.0.0/24', '--subnet', 'fd43::/64');
    const other = made.addresses.lone2 as { 4: string; 6: string };
    for (const family of [4, 6] as const) {
      t.ok(await reaches(node, 'lone1', other[family]), `IPv${family} neighbour`);
      t.equal((await node.execIn('lone1', 'ip', `-${family}`, 'route', 'show', 'default')).stdout, '');
    }
    t.match((await node.weft('sandbox', 'exec', 'lone1', '--', 'getent', 'hosts', 'lone2')).stdout, /lone2/);
    await drop(node, made);
    t.notMatch((await node.exec('ip', '-o', 'link')).stdout, /weft-dm/);
  });

  for (const mode of ['l3', 'l3s'] as const) {
    t.test(`ipvlan ${mode}: routes of the node, no neighbours`, async (t) => {
      if (!needs(t, ['ipvlan'])) return;
      const options = ['--opt', 'parent=u0', '--opt', `mode=${mode}`];
      const made = await pair(
        node,
        'ipvlan',
        'routed',
        ...options,
        '--subnet',
        '10.44.0.0/24',
        '--subnet',
        'fd44::/64',
      );
      await execAt(lab.router, 'ip', 'route', 'add', '10.44.0.0/24', 'via', node.vtep);
      await execAt(lab.router, 'ip', 'route', 'add', 'fd44::/64', 'via', node.ip6);
      const other = made.addresses.routed2 as { 4: string; 6: string };
      t.match((await node.execIn('routed1', 'ip', 'route')).stdout, /default dev eth0/);
      for (const family of [4, 6] as const) t.ok(await reaches(node, 'routed1', other[family]), `IPv${family}`);
      t.ok(await reaches(node, 'routed1', OUTSIDE[4]), 'the world, which has a route back');
      await drop(node, made);
    });
  }

  t.test('a VLAN parent is made, shared, and removed with the last network; a foreign one stays', async (t) => {
    if (!needs(t, ['vlan', 'macvlan'])) return;
    const leg = async (id: number, ip: string) => {
      await execAt(lab.router, 'ip', 'link', 'add', 'link', 'n1', 'name', `n1.${id}`, 'type', 'vlan', 'id', String(id));
      await execAt(lab.router, 'ip', 'addr', 'add', ip, 'dev', `n1.${id}`);
      await execAt(lab.router, 'ip', 'link', 'set', `n1.${id}`, 'up');
    };
    await leg(100, '10.45.0.254/24');
    const on = (id: number) => ['--opt', `parent=u0.${id}`];
    const first = await pair(node, 'macvlan', 'va', ...on(100), '--subnet', '10.45.0.0/24', '--gateway', '10.45.0.254');
    t.ok(await reaches(node, 'va1', '10.45.0.254'), 'by the VLAN');
    t.ok(await reaches(node, 'va1', OUTSIDE[4]), 'and out');
    const second = await pair(node, 'macvlan', 'vb', ...on(100), '--subnet', '10.46.0.0/24');
    await drop(node, first);
    t.match(
      (await node.exec('ip', '-d', 'link', 'show', 'u0.100')).stdout,
      /vlan.*id 100/,
      'the other network has it still',
    );
    await drop(node, second);
    t.not((await node.exec('ip', 'link', 'show', 'u0.100')).code, 0, 'gone with the last');
    await node.exec('ip', 'link', 'add', 'link', 'u0', 'name', 'u0.101', 'type', 'vlan', 'id', '101');
    await node.exec('ip', 'link', 'set', 'u0.101', 'up');
    const third = await pair(node, 'macvlan', 'vc', ...on(101), '--subnet', '10.47.0.0/24');
    await drop(node, third);
    const { stdout } = await node.exec('ip', '-d', 'link', 'show', 'u0.101');
    t.match(stdout, /vlan.*id 101/, 'a foreign one stays');
    t.notMatch(stdout, /alias/);
  });

  t.test('a parent that is not there is waited for', async (t) => {
    if (!needs(t, ['macvlan'])) return;
    await node.must(
      'network',
      'create',
      'late',
      '--driver',
      'macvlan',
      '--opt',
      'parent=late0',
      '--subnet',
      '10.48.0.0/24',
    );
    await node.must('sandbox', 'create', 'l1');
    t.not((await node.weft('connect', 'l1', 'late', '--wait', '--timeout', '1')).code, 0);
    t.match(await node.must('endpoint', 'inspect', 'l1:late'), /has no interface late0/);
    await node.exec('ip', 'link', 'add', 'late0', 'type', 'veth', 'peer', 'name', 'late1');
    await node.must('connect', 'l1', 'late', '--wait', '--timeout', '40');
  });
}
