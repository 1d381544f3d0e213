import t from 'tap';
import { Lab, patient } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { lastAdoption, reaches } from '../support/overlay.js';

if (needs(t, ['root', 'veth', 'bridge', 'ip', 'iptables'])) {
  t.setTimeout(patient(60_000));
  const lab = await Lab.up({ nodes: 1, client: true });
  t.teardown(() => lab.down());
  const node = lab.node(1);
  const bridge = (name: string, n: number, ...more: string[]) =>
    node.must(
      'network',
      'create',
      name,
      '--driver',
      'bridge',
      '--subnet',
      `10.${n}.0.0/24`,
      '--subnet',
      `fd${n}::/64`,
      ...more,
    );
  await bridge('alpha', 51);
  await bridge('beta', 52);
  await bridge('inner', 53, '--internal');
  const defaults = async (sandbox: string) => {
    const [four, six] = await Promise.all(
      ['-4', '-6'].map((family) => node.execIn(sandbox, 'ip', family, 'route', 'show', 'default')),
    );
    return `${four?.stdout}${six?.stdout}`.match(/via \S+/g)?.join(' ') ?? '';
  };

  t.test('the default route is that of the highest priority, then of the first name', async (t) => {
    await node.must('sandbox', 'create', 'c1');
    await node.must('connect', 'c1', 'inner', '--wait');
    t.equal(await defaults('c1'), '', 'an internal network gives none');
    await node.must('connect', 'c1', 'beta', '--wait');
    t.equal(await defaults('c1'), 'via 10.52.0.1 via fd52::1');
    await node.must('connect', 'c1', 'alpha', '--wait');
    t.equal(await defaults('c1'), 'via 10.51.0.1 via fd51::1', 'the first by name');
    await node.must('connect', 'c1', 'beta', '--gw-priority', '5', '--wait');
    t.equal(await defaults('c1'), 'via 10.52.0.1 via fd52::1', 'the highest');
    await node.must('disconnect', 'c1', 'beta', '--wait');
    t.equal(await defaults('c1'), 'via 10.51.0.1 via fd51::1', 'the next when that goes');
    await node.must('connect', 'c1', 'alpha', '--no-default-route', '--wait');
    t.equal(await defaults('c1'), '', 'none at all');
  });

  t.test('an overlay beside a bridge network: one of them gives the default route', async (t) => {
    await node.must(
      'network',
      'create',
      'over',
      '--subnet',
      '10.54.0.0/24',
      '--vni',
      '54',
      '--ip-range',
      '10.54.0.0/24',
    );
    await node.must('sandbox', 'create', 'c4');
    await node.must('connect', 'c4', 'over', '--wait');
    const { stdout } = await node.execIn('c4', 'ip', 'route', 'show', 'default');
    t.match(stdout, /dev gw0/);
    await node.must('connect', 'c4', 'beta', '--gw-priority', '1', '--wait');
    t.equal(await defaults('c4'), 'via 10.52.0.1 via fd52::1');
    t.ok(await reaches(node, 'c4', '192.168.70.1'));
    await node.must('connect', 'c4', 'beta', '--wait', '--gw-priority', '-1');
    t.match((await node.execIn('c4', 'ip', 'route', 'show', 'default')).stdout, /dev gw0/);
    t.ok(await reaches(node, 'c4', '192.168.70.1'));
  });

  t.test('an overlay’s packets leave with the egress address, or without translation', async (t) => {
    if (!needs(t, ['tcpdump'])) return;
    await node.exec('ip', 'addr', 'add', '192.168.71.99/32', 'dev', 'u0');
    const seen = async () => {
      const filter = 'icmp[icmptype] == icmp-echo';
      const dump = node.exec('timeout', String(patient(3)), 'tcpdump', '-nnl', '-c1', '-i', 'u0', filter);
      const asking = node.execIn('c4', 'ping', '-q', '-i', '0.3', '-c', String(patient(6)), '192.168.70.1');
      const source = / IP ([\d.]+) >/.exec((await dump).stdout)?.[1];
      await asking;
      return source;
    };
    t.equal(await seen(), node.vtep);
    const over = ['--subnet', '10.54.0.0/24', '--vni', '54', '--ip-range', '10.54.0.0/24'];
    await node.must('network', 'create', 'over', ...over, '--opt', 'egress=192.168.71.99', '--wait');
    t.equal(await seen(), '192.168.71.99');
    await node.must('network', 'create', 'over', ...over, '--opt', 'masquerade=false', '--wait');
    const { stdout } = await node.execIn('c4', 'ip', '-o', '-4', 'addr', 'show', 'gw0');
    t.equal(await seen(), /inet ([\d.]+)/.exec(stdout)?.[1]);
  });

  t.test('routes, settings, name, MAC and addresses are as stated, and repaired', async (t) => {
    await node.must('sandbox', 'create', 'c2');
    const routes = ['10.9.0.0/16,via=10.51.0.9,metric=5', '10.8.0.0/16,type=blackhole', 'fd08::/64,type=prohibit'];
    const stated = ['--ip', '10.51.0.77', '--ip', 'fd51::77', '--mac', '02:00:00:00:51:77', '--ifname', 'lan0'];
    const all = [...routes.flatMap((r) => ['--route', r]), '--sysctl', 'net.ipv4.conf.IFNAME.log_martians=1'];
    await node.must('connect', 'c2', 'alpha', ...stated, ...all, '--wait');
    const table = async () =>
      (await node.execIn('c2', 'ip', 'route')).stdout + (await node.execIn('c2', 'ip', '-6', 'route')).stdout;
    t.match(await table(), /10\.9\.0\.0\/16 via 10\.51\.0\.9 dev lan0.*metric 5/);
    t.match(await table(), /blackhole 10\.8\.0\.0\/16/);
    t.match(await table(), /prohibit fd08::\/64/);
    t.match(
      (await node.execIn('c2', 'ip', 'addr', 'show', 'lan0')).stdout,
      /02:00:00:00:51:77[\s\S]*10\.51\.0\.77[\s\S]*fd51::77/,
    );
    const { stdout } = await node.execIn('c2', 'cat', '/proc/sys/net/ipv4/conf/lan0/log_martians');
    t.equal(stdout.trim(), '1');
    await node.restart();
    t.match(lastAdoption(node), /, 0 changes$/);
    await node.execIn('c2', 'ip', 'route', 'del', 'blackhole', '10.8.0.0/16');
    await node.must('connect', 'c2', 'alpha', ...stated, ...all.slice(2), '--wait');
    t.notMatch(await table(), /10\.9\.0\.0/, 'a route that is no longer stated goes');
    t.match(await table(), /blackhole 10\.8\.0\.0\/16/, 'one that somebody took is back');
    const refused = async (...route: string[]) =>
      (await node.weft('connect', 'c2', 'alpha', ...stated, ...route)).stderr;
    t.match(await refused('--route', '10.7.0.0/16,via=10.99.0.1'), /WEFT_INVALID_ARGUMENT.*outside/);
    t.match(await refused('--route', '0.0.0.0/0,via=10.51.0.9'), /WEFT_INVALID_ARGUMENT.*default route/);
    t.match(await refused('--route', '10.51.0.0/24'), /WEFT_CONFLICT.*subnet of network "alpha"/);
    t.match(await refused('--sysctl', 'net.ipv6.conf.IFNAME.accept_ra=1'), /WEFT_INVALID_ARGUMENT/);
  });

  t.test('a sandbox that shares another has its endpoints, names and namespace', async (t) => {
    await node.must('sandbox', 'create', 'side', '--share', 'c2');
    const inside = await node.weft('sandbox', 'exec', 'side', '--', 'ip', 'addr', 'show', 'lan0');
    t.match(inside.stdout, /10\.51\.0\.77/);
    t.match((await node.weft('sandbox', 'exec', 'side', '--', 'cat', '/etc/hosts')).stdout, /10\.51\.0\.77\tc2/);
    t.match((await node.weft('connect', 'side', 'beta')).stderr, /WEFT_CONFLICT.*"c2"/);
    await node.must('disconnect', 'c2', 'alpha', '--wait');
    t.match((await node.weft('sandbox', 'rm', 'c2')).stderr, /WEFT_IN_USE.*side/);
    t.match((await node.weft('sandbox', 'create', 'more', '--share', 'side')).stderr, /WEFT_CONFLICT/);
    await node.must('sandbox', 'rm', 'side', '--wait');
    await node.must('sandbox', 'rm', 'c2', '--wait');
  });

  t.test('host and none', async (t) => {
    await node.must('network', 'create', 'nodes', '--driver', 'host');
    await node.must('network', 'create', 'nothing', '--driver', 'none');
    t.match((await node.weft('network', 'create', 'second', '--driver', 'host')).stderr, /WEFT_CONFLICT.*"nodes"/);
    await node.must('sandbox', 'create', 'agent', '--host');
    await node.must('connect', 'agent', 'nodes', '--wait');
    const link = await node.weft('sandbox', 'exec', 'agent', '--', 'ip', '-br', 'addr', 'show', 'u0');
    t.match(link.stdout, node.vtep, 'the namespace of the node');
    t.match((await node.weft('connect', 'agent', 'alpha')).stderr, /WEFT_CONFLICT/);
    t.match((await node.weft('connect', 'c1', 'nodes')).stderr, /WEFT_CONFLICT/);
    await node.must('sandbox', 'create', 'bare');
    await node.must('connect', 'bare', 'nothing', '--wait');
    t.equal((await node.execIn('bare', 'ip', '-o', 'link')).stdout.trim().split('\n').length, 1, 'only lo');
    const wish = await node.api.get<object>('/v1/export');
    await node.api.put('/v1/wish?wait=applied&timeoutMs=20000', wish);
    t.same(await node.api.get('/v1/export'), wish, 'what is exported can be stated');
    await node.restart();
    t.match(lastAdoption(node), /, 0 changes$/);
    t.match(await node.must('status'), /phase +ready/);
  });
}
