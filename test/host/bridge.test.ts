import t from 'tap';
import { Lab, patient } from '../support/lab.js';
import { adverse, execAt, OUTSIDE, sends } from '../support/local.js';
import { needs } from '../support/needs.js';
import { lastAdoption, missingLines, reaches, standing } from '../support/overlay.js';

/** Each sandbox with its network. */
const SANDBOXES = { c1: 'red', c2: 'red', c3: 'blue', c4: 'inner', c5: 'inner', c6: 'mute', c7: 'mute' } as const;

if (needs(t, ['root', 'veth', 'bridge', 'ip', 'iptables', 'ip6tables', 'socat'])) {
  t.setTimeout(patient(60_000));
  const lab = await Lab.up({ nodes: 1, client: true, agents: false });
  t.teardown(() => lab.down());
  const node = lab.node(1);
  await adverse(node);
  const before = (await standing(node)).replace(/.*fe80:.*|^\d+: .*/gm, '');
  await node.start();

  // Looked at before there are other networks, and judged below: once a file has asserted something, tap takes it for done
  // as soon as it waits outside a subtest.
  const rules = async () => (await node.exec('iptables-save')).stdout;
  await node.must('network', 'create', 'brief', '--driver', 'bridge', '--subnet', '10.30.0.0/24', '--wait');
  const withBrief = await rules();
  await node.must('network', 'rm', 'brief', '--wait');
  const withoutBrief = await rules();

  await node.must(
    'network',
    'create',
    'red',
    '--driver',
    'bridge',
    '--subnet',
    '10.31.0.0/24',
    '--subnet',
    'fd31::/64',
  );
  await node.must(
    'network',
    'create',
    'blue',
    '--driver',
    'bridge',
    '--subnet',
    '10.32.0.0/24',
    '--subnet',
    'fd32::/64',
  );
  const inner = ['--internal', '--subnet', '10.33.0.0/24', '--subnet', 'fd33::/64'];
  await node.must('network', 'create', 'inner', '--driver', 'bridge', ...inner);
  const mute = ['--opt', 'icc=false', '--opt', 'name=mutebr', '--subnet', '10.34.0.0/24', '--subnet', 'fd34::/64'];
  await node.must('network', 'create', 'mute', '--driver', 'bridge', ...mute);
  for (const [name, network] of Object.entries(SANDBOXES)) {
    await node.must('sandbox', 'create', name);
    await node.must('connect', name, network, '--wait');
  }
  const addresses = new Map<string, { 4: string; 6: string }>();
  for (const [name, network] of Object.entries(SANDBOXES)) {
    const { addresses: all } = await node.api.get<{ addresses: string[] }>(`/v1/endpoints/${name}:${network}`);
    addresses.set(name, { 4: all[0] as string, 6: all[1] as string });
  }
  const of = (name: string) => addresses.get(name) as { 4: string; 6: string };

  for (const family of [4, 6] as const) {
    t.test('a network that goes as soon as it is there takes its rules along', async (t) => {
      t.match(withBrief, /WEFT-POSTROUTING -s 10\.30\.0\.0\/24/);
      t.notMatch(withoutBrief, 'WEFT-');
    });

    t.test(`IPv${family}: containers of a network reach each other and the world`, async (t) => {
      t.ok(await reaches(node, 'c1', of('c2')[family]), 'ping');
      t.equal(await sends(node, 'c1', 'c2', of('c2')[family]), 'hello', 'TCP');
      t.ok(await reaches(node, 'c1', OUTSIDE[family]), 'the world');
      t.ok(await reaches(node, 'c6', OUTSIDE[family]), 'the world from a network without icc');
    });
    t.test(`IPv${family}: networks are kept apart`, async (t) => {
      t.notOk(await reaches(node, 'c1', of('c3')[family]), 'red to blue');
      t.notOk(await reaches(node, 'c3', of('c1')[family]), 'blue to red');
      t.notOk(await reaches(node, 'c1', of('c4')[family]), 'red to internal');
      t.notOk(await reaches(node, 'c4', of('c1')[family]), 'internal to red');
    });
    t.test(`IPv${family}: an internal network has no way out`, async (t) => {
      t.ok(await reaches(node, 'c4', of('c5')[family]), 'its containers reach each other');
      t.notOk(await reaches(node, 'c4', OUTSIDE[family]), 'no world');
      const { stdout } = await node.execIn('c4', 'ip', `-${family}`, 'route', 'show', 'default');
      t.equal(stdout, '', 'no default route');
      const route = `default via ${family === 4 ? '10.33.0.1' : 'fd33::1'}`;
      await node.execIn('c4', 'ip', `-${family}`, 'route', 'add', ...route.split(' '), 'metric', '77');
      t.notOk(await reaches(node, 'c4', OUTSIDE[family]), 'nor with a default route of its own');
      await node.execIn('c4', 'ip', `-${family}`, 'route', 'del', ...route.split(' '), 'metric', '77');
    });
    t.test(`IPv${family}: without icc nobody reaches his neighbour`, async (t) => {
      t.notOk(await reaches(node, 'c6', of('c7')[family]), 'on the bridge');
      const via = family === 4 ? '10.34.0.1' : 'fd34::1';
      const host = `${of('c7')[family]}/${family === 4 ? 32 : 128}`;
      await node.execIn('c6', 'ip', `-${family}`, 'route', 'add', host, 'via', via);
      t.notOk(await reaches(node, 'c6', of('c7')[family]), 'nor by way of the gateway');
    });
  }

  t.test('nobody outside reaches a container by a route to its subnet', async (t) => {
    for (const ns of [lab.router, lab.client]) {
      const via = ns === lab.router ? node.vtep : '192.168.70.254';
      await execAt(ns, 'ip', 'route', 'add', '10.31.0.0/24', 'via', via);
    }
    t.not((await execAt(lab.client, 'ping', '-q', '-c1', '-W1', of('c1')[4])).code, 0);
  });

  t.test('names resolve on every network, internal ones too', async (t) => {
    for (const [from, to] of [
      ['c1', 'c2'],
      ['c4', 'c5'],
    ] as const) {
      const { stdout } = await node.weft('sandbox', 'exec', from, '--', 'getent', 'ahosts', to);
      t.match(stdout, of(to)[4]);
      t.match(stdout, of(to)[6]);
    }
  });

  t.test('outgoing packets get the egress address, or their own without masquerade', async (t) => {
    await node.exec('ip', 'addr', 'add', '192.168.71.99/32', 'dev', 'u0');
    const seen = async () => {
      const dump = execAt(
        lab.client,
        'timeout',
        String(patient(3000) / 1000),
        'tcpdump',
        '-nnl',
        '-c1',
        '-i',
        'u0',
        'icmp[icmptype] == icmp-echo',
      );
      await new Promise((resolve) => setTimeout(resolve, patient(700)));
      await reaches(node, 'c3', OUTSIDE[4]);
      return / IP ([\d.]+) >/.exec((await dump).stdout)?.[1];
    };
    t.equal(await seen(), node.vtep);
    const blue = ['--driver', 'bridge', '--subnet', '10.32.0.0/24', '--subnet', 'fd32::/64'];
    await node.must('network', 'create', 'blue', ...blue, '--opt', 'egress=192.168.71.99', '--wait');
    t.equal(await seen(), '192.168.71.99');
    await node.must('network', 'create', 'blue', ...blue, '--opt', 'masquerade=false', '--wait');
    t.equal(await seen(), of('c3')[4]);
  });

  t.test('a bridge of that name that is not weft’s stays as it is, and holds up only its network', async (t) => {
    await node.exec('ip', 'link', 'add', 'theirs', 'type', 'bridge');
    await node.exec('ip', 'link', 'set', 'theirs', 'up');
    const look = async () => {
      const files = ['address', 'mtu', 'ifalias', 'flags'].map((name) => `/sys/class/net/theirs/${name}`).join(' ');
      const setting = '/proc/sys/net/ipv6/conf/theirs/accept_ra';
      const script = `ip -o -4 addr show theirs; ip -6 route show dev theirs; ip -o link show master theirs; cat ${files} ${setting}`;
      // sysfs shows the namespace it was mounted in.
      return (await node.exec('unshare', '--mount', 'sh', '-ec', `mount -t sysfs sysfs /sys; ${script}`)).stdout;
    };
    const was = await look();
    const options = ['--driver', 'bridge', '--opt', 'name=theirs', '--subnet', '10.35.0.0/24', '--subnet', 'fd35::/64'];
    await node.must('network', 'create', 'held', ...options);
    await node.must('sandbox', 'create', 'c9');
    t.not((await node.weft('connect', 'c9', 'held', '--wait', '--timeout', '2')).code, 0);
    t.match(was, /1500/);
    t.equal(await look(), was);
    t.match(await node.must('network', 'inspect', 'held'), /theirs.*not weft's/);
    t.ok(await reaches(node, 'c1', of('c2')[4]), 'others go on');
    await node.exec('ip', 'link', 'del', 'theirs');
    await node.must('connect', 'c9', 'held', '--wait', '--timeout', '40');
    t.ok(await reaches(node, 'c9', OUTSIDE[4]), 'and it comes when the name is free');
  });

  t.test('a restart changes nothing, and `down` leaves nothing', async (t) => {
    await node.restart();
    t.match(lastAdoption(node), /0 changes/);
    await node.must('down');
    await node.exec('ip', 'addr', 'del', '192.168.71.99/32', 'dev', 'u0');
    const commands = ['ip -o link', 'ip -o addr', 'ip route', 'ip -6 route', 'iptables-save', 'ip6tables-save'];
    for (const command of commands) {
      const { stdout } = await node.exec(...command.split(' '));
      t.notMatch(stdout, /weft|wf[0-9a-f]{11}|mutebr|10\.3[1-5]\.|fd3[1-5]:/i, command);
    }
    t.strictSame(missingLines(before, await standing(node)), []);
  });
}
