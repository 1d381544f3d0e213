import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadNative } from '../../src/kernel/real/native.js';
import { Spaces } from '../../src/kernel/real/spaces.js';
import { Lab, outcomeOf, patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { connectAll, furnish, lastAdoption, lost, missingLines, reaches, standing } from '../support/overlay.js';
import { requestsIn, STRACE, writesIn } from '../support/strace.js';

const VXLAN_MAC_2 = '02:42:0a:14:00:0c';
const tuned = patient(60_000);

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables'])) {
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 3, agents: false });
  t.teardown(() => lab.down());
  const [n1, n2, n3] = [lab.node(1), lab.node(2), lab.node(3)];
  const before = await furnish(n1);

  t.test('three agents, one network, a container on each', { timeout: tuned }, async (t) => {
    await connectAll(lab);
    for (const node of lab.nodes) {
      t.same(
        (await node.events()).filter((event) => event.type !== 'change'),
        [],
        `${node.name} has nothing to complain about`,
      );
      t.match(await node.must('endpoint', 'ls'), /c\d:app +10\.20\.0\.1\d +02:42:0a:14:00:0. +eth0 .*ready/);
    }
  });

  t.test(
    'full frames pass between all, and larger ones are refused by the sender’s own interface',
    { timeout: tuned },
    async (t) => {
      const pairs = lab.nodes.flatMap((from) => lab.nodes.filter((to) => to !== from).map((to) => [from, to] as const));
      for (const [from, to] of pairs) {
        t.equal(
          await lost(from, `c${from.number}`, `10.20.0.1${to.number}`, 2, '-M', 'do', '-s', '1422', '-i', '0.1'),
          0,
          `${from.name} to ${to.name}`,
        );
      }
      const { stdout, stderr } = await n1.execIn('c1', 'ping', '-c1', '-W1', '-M', 'do', '-s', '1423', '10.20.0.12');
      t.match(stdout + stderr, /message too long, mtu=1450/);
      t.equal(await lost(n1, 'c1', '10.20.0.1', 1), 0, 'the gateway address answers');
    },
  );

  t.test('ARP requests stay on the node', { timeout: tuned }, async (t) => {
    await n1.execIn('c1', 'ip', 'neigh', 'flush', 'all');
    const sniffed = outcomeOf('nsenter', [
      `--net=/run/netns/${n1.ns}`,
      'timeout',
      String(patient(1500) / 1000),
      'tcpdump',
      '-nn',
      '-i',
      'u0',
      '-c1',
      'udp port 4789 and udp[28:2] = 0x0806',
    ]);
    await new Promise((resolve) => setTimeout(resolve, patient(500)));
    t.ok(await reaches(n1, 'c1', '10.20.0.13'));
    t.notOk(await reaches(n1, 'c1', '10.20.0.99'));
    t.match((await sniffed).stderr, /0 packets captured/);
  });

  t.test(
    'kill -9 of an agent under a flood loses no ping; its successor finds everything as wished',
    { timeout: tuned },
    async (t) => {
      const flood = lost(n1, 'c1', '10.20.0.12', 300, '-i', '0.01');
      await n1.kill9();
      await n2.kill9();
      await n1.start();
      await n2.start();
      t.equal(await flood, 0);
      for (const node of [n1, n2]) t.match(lastAdoption(node), /^adopted [1-9]\d* objects, 0 changes$/);
    },
  );

  t.test(
    'a restart sends not one netlink write, writes no sysctl, starts no program',
    { timeout: tuned },
    async (t) => {
      if ((await outcomeOf('strace', ['-V'])).code !== 0) return t.plan(0, 'needs strace');
      const trace = join(lab.dir, 'strace');
      await n1.kill9();
      await n1.start([], [...STRACE, '-o', trace]);
      await n1.must('plan');
      await n1.kill9();
      const text = readFileSync(trace, 'utf8');
      t.ok(requestsIn(text) > 20, 'the trace shows netlink requests');
      t.same(writesIn(text), []);
      await n1.start();
    },
  );

  t.test(
    'somebody’s changes are put back within 2 s and told, with what and where',
    { timeout: patient(90_000) },
    async (t) => {
      const fdb = ['bridge', 'fdb', 'del', VXLAN_MAC_2, 'dev', 'vxlan0'];
      const host = (await n1.execIn('net-app', 'ip', '-o', 'link')).stdout.match(/wf[0-9a-f]{11}/)?.[0] ?? '';
      const sabotage: [what: string, ns: string, command: string[], told: RegExp][] = [
        ['the tunnel', 'net-app', ['ip', 'link', 'del', 'vxlan0'], /add link vxlan0 in net-app: missing/],
        [
          'a row of the tunnel',
          'net-app',
          [...fdb, 'dst', n2.vtep, 'self'],
          /change fdb vxlan0 02:42:0a:14:00:0c in net-app: points to nowhere/,
        ],
        [
          'a row of the bridge',
          'net-app',
          [...fdb, 'master'],
          /change fdb vxlan0 02:42:0a:14:00:0c in net-app: is missing in the bridge/,
        ],
        [
          'a row’s VTEP',
          'net-app',
          ['bridge', 'fdb', 'replace', VXLAN_MAC_2, 'dev', 'vxlan0', 'dst', '192.168.79.1', 'self', 'permanent'],
          /change fdb .* points to 192\.168\.79\.1, wanted 192\.168\.72\.1/,
        ],
        [
          'a neighbour',
          'net-app',
          ['ip', 'neigh', 'del', '10.20.0.12', 'dev', 'vxlan0'],
          /add neighbour vxlan0 10\.20\.0\.12 in net-app/,
        ],
        [
          'a neighbour’s MAC',
          'net-app',
          ['ip', 'neigh', 'replace', '10.20.0.12', 'lladdr', '02:00:00:00:00:01', 'dev', 'vxlan0', 'nud', 'permanent'],
          /change neighbour .* is at 02:00:00:00:00:01/,
        ],
        [
          'the container’s address',
          'c1',
          ['ip', 'addr', 'del', '10.20.0.11/24', 'dev', 'eth0'],
          /add address eth0 10\.20\.0\.11 in c1/,
        ],
        ['the container’s interface', 'c1', ['ip', 'link', 'del', 'eth0'], /add link wf\S+ in net-app: missing/],
        ['the other end of it', 'net-app', ['ip', 'link', 'del', host], /add link wf\S+ in net-app: missing/],
        [
          'the interface’s state',
          'c1',
          ['ip', 'link', 'set', 'eth0', 'down'],
          /change link eth0 in c1: up false, wanted true/,
        ],
        [
          'the interface’s MAC',
          'c1',
          ['ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:00:02'],
          /change link eth0 in c1: mac 02:00:00:00:00:02/,
        ],
        [
          'the bridge’s MTU',
          'net-app',
          ['ip', 'link', 'set', 'br0', 'mtu', '1400'],
          /change link br0 in net-app: mtu 1400, wanted 1450/,
        ],
        [
          'a port’s bridge',
          'net-app',
          ['ip', 'link', 'set', host, 'nomaster'],
          /change link wf\S+ in net-app: master unset, wanted br0/,
        ],
        ['the bridge', 'net-app', ['ip', 'link', 'del', 'br0'], /add link br0 in net-app: missing/],
        [
          'an address too many',
          'net-app',
          ['ip', 'addr', 'add', '10.66.0.1/24', 'dev', 'br0'],
          /remove address br0 10\.66\.0\.1 in net-app: nothing wishes it/,
        ],
      ];
      for (const [what, ns, command, told] of sabotage) {
        const since = (await n1.events()).at(-1)?.revision ?? 0;
        const { code, stderr } = await n1.execIn(ns, ...command);
        t.equal(code, 0, `${what}: ${stderr}`);
        const news = async () => (await n1.events()).filter((event) => event.revision > since);
        const took = await until(
          `${what} is told`,
          async () => (await news()).some((e) => e.type === 'drift' && told.test(e.message)),
          5000,
        ).catch(async (error) => {
          throw new Error(`${error.message}; told was ${JSON.stringify(await news())}`);
        });
        t.ok(took < patient(2000), `${what}: ${took} ms`);
        await until(
          `${what} is as wished`,
          async () => (await reaches(n1, 'c1', '10.20.0.12')) && !/\n\S/.test((await n1.must('plan')).trim()),
          5000,
        );
      }
      t.match(await n1.must('status'), /phase +ready/);
    },
  );

  t.test(
    'a namespace whose pin somebody removes is made anew, with all that was in it',
    { timeout: tuned },
    async (t) => {
      const spaces = new Spaces(loadNative(), n1.runDir);
      for (const ns of ['c1', 'net-app']) {
        spaces.remove(ns);
        const told = async () =>
          (await n1.events()).filter((e) => e.type === 'drift' && e.message.startsWith(`add netns ${ns} in @node`))
            .length;
        const took = await until(
          `${ns} is made anew`,
          async () => (await told()) === 1 && (await reaches(n1, 'c1', '10.20.0.13')),
        );
        t.ok(took < patient(2000), `${ns}: ${took} ms`);
      }
      await until(
        'nothing is left to complain about',
        async () => /phase +ready/.test(await n1.must('status')),
        10_000,
      );
      t.equal((await n1.must('plan')).trim().split('\n').length, 1);
    },
  );

  t.test('foreign bridges, routes, rules and packet rules are as they were', { timeout: tuned }, async (t) => {
    t.same(missingLines(before, await standing(n1)), []);
  });

  t.test('SIGTERM ends the agent and leaves the data plane', { timeout: tuned }, async (t) => {
    t.equal(await n3.stop(), 0);
    t.equal(await lost(n3, 'c3', '10.20.0.1', 1), 0);
    await n3.start();
    t.match(lastAdoption(n3), /, 0 changes$/);
  });

  t.test('down leaves nothing of weft and everything else', { timeout: tuned }, async (t) => {
    t.match(await n1.must('down'), /^removed \d+ objects\n$/);
    t.equal(await standing(n1), before);
    t.same(readdirSync(join(n1.runDir, 'netns')), []);
    t.notMatch(readFileSync('/proc/self/mountinfo', 'utf8'), n1.runDir);
    t.match(await n1.must('network', 'ls', '-o', 'name'), /^$/);
    t.equal((await n1.exec('ss', '-lunH', 'sport = 4789')).stdout, '', 'the tunnel’s socket is closed');
    await n1.must('network', 'create', 'again', '--subnet', '10.21.0.0/24', '--vni', '7', '--wait');
    t.equal(await n1.stop(), 0);
    const cleaned = await n1.run(['--cleanup']);
    t.equal(cleaned.code, 0, cleaned.stderr);
    t.equal(await standing(n1), before, 'weftd --cleanup does the same without an agent');
  });
}
