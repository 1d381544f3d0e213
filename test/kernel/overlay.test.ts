import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadNative } from '../../src/kernel/real/native.js';
import { Spaces } from '../../src/kernel/real/spaces.js';
import { Lab, type LabNode, outcomeOf, patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { requestsIn, STRACE, writesIn } from '../support/strace.js';

const VXLAN_MAC_2 = '02:42:0a:14:00:0c';

/** Sends echo requests, `count` of them; how many were lost. */
async function lost(node: LabNode, sandbox: string, to: string, count: number, ...options: string[]): Promise<number> {
  const { stdout, stderr } = await node.execIn(sandbox, 'ping', '-q', '-c', String(count), '-W', '2', ...options, to);
  const found = /(\d+) packets transmitted, (\d+) received/.exec(stdout);
  if (!found) throw new Error(`ping said nothing: ${stdout}${stderr}`);
  return Number(found[1]) - Number(found[2]);
}

const reaches = async (node: LabNode, sandbox: string, to: string): Promise<boolean> =>
  (await node.execIn(sandbox, 'ping', '-q', '-c1', '-W1', to)).code === 0;

/** All that stands in the node's namespace, without counters, times and indexes that come and go. */
async function standing(node: LabNode): Promise<string> {
  const parts: string[] = [];
  for (const command of [
    'ip -o link show',
    'ip -o addr show',
    'ip route show table all',
    'ip -6 route show table all',
    'ip rule show',
    'ip neigh show nud permanent',
    'bridge fdb show',
    'iptables-save',
    'ip6tables-save',
    'nft list ruleset',
  ]) {
    const { stdout } = await node.exec(...command.split(' '));
    const lines = stdout.split('\n').filter((line) => !line.startsWith('#'));
    parts.push(
      `== ${command}`,
      ...lines.map((line) => line.replace(/\[\d+:\d+\]|valid_lft.*| ?qlen \d+/g, '').trimEnd()),
    );
  }
  return parts.join('\n');
}

/** Each line of `before` that `after` lacks: what somebody took away or changed. */
function missingLines(before: string, after: string): string[] {
  const there = new Set(after.split('\n'));
  return before.split('\n').filter((line) => line !== '' && !there.has(line));
}

/** What a host may have before weft comes: a bridge with an address, routes, rules, a neighbour, an FDB row, packet rules. */
const FOREIGN = [
  'ip link add docker0 type bridge',
  'ip addr add 172.17.0.1/16 dev docker0',
  'ip link set docker0 up',
  'ip link add veth9 type veth peer name veth8',
  'ip link set veth9 master docker0',
  'ip route add 10.99.0.0/16 via 172.17.0.9 dev docker0 onlink',
  'ip route add blackhole 10.98.0.0/16 table 100',
  'ip rule add from 10.97.0.0/16 lookup 100 priority 900',
  'ip neigh add 172.17.0.9 lladdr 02:00:00:00:00:09 dev docker0 nud permanent',
  'bridge fdb add 02:00:00:00:00:0a dev veth9 master static',
  'iptables -A INPUT -s 10.96.0.0/16 -j ACCEPT',
  'iptables -A FORWARD -s 10.96.0.0/16 -j ACCEPT',
  'iptables -N MINE',
  'iptables -A FORWARD -j MINE',
  'iptables -t mangle -A PREROUTING -s 10.96.0.0/16 -j MARK --set-mark 7',
  // The program makes a whole table with its built-in chains at the first rule, and never removes one.
  'iptables -t nat -A POSTROUTING -s 10.96.0.0/16 -j ACCEPT',
  'iptables -t raw -A PREROUTING -s 10.96.0.0/16 -j ACCEPT',
];

const lastAdoption = (node: LabNode): string =>
  (
    node
      .log()
      .split('\n')
      .filter((line) => line.includes('"adopted"'))
      .at(-1) ?? ''
  ).replace(/.*"msg":"(.*)".*/, '$1');

const tuned = patient(60_000);

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables'])) {
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 3, agents: false });
  t.teardown(() => lab.down());
  const [n1, n2, n3] = [lab.node(1), lab.node(2), lab.node(3)];
  for (const command of FOREIGN) {
    const { code, stderr } = await n1.exec(...command.split(' '));
    if (code !== 0) throw new Error(`${command}: ${stderr}`);
  }
  // Carriers come up and duplicate address detection ends.
  await until('the node is settled', async () => !/u0.*NO-CARRIER|tentative/.test(await standing(n1)), 10_000);
  const before = await standing(n1);

  t.test('three agents, one network, a container on each', { timeout: tuned }, async (t) => {
    await Promise.all(lab.nodes.map((node) => node.start()));
    for (const node of lab.nodes) {
      await node.must('network', 'create', 'app', '--subnet', '10.20.0.0/24', '--vni', '4097');
      await node.must('sandbox', 'create', `c${node.number}`);
      t.equal(
        await node.must('connect', `c${node.number}`, 'app', '--ip', `10.20.0.1${node.number}`, '--wait'),
        `10.20.0.1${node.number}\n`,
      );
    }
    await lab.exchangeGossip();
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
      'udp[46:2] = 0x0806',
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
          /add fdb vxlan0 02:42:0a:14:00:0c self in net-app/,
        ],
        ['a row of the bridge', 'net-app', [...fdb, 'master'], /add fdb vxlan0 02:42:0a:14:00:0c master in net-app/],
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

  t.test('a namespace that is handed over is used, not owned: by path', { timeout: tuned }, async (t) => {
    const ns = `${n1.ns}x`;
    const inside = (...command: string[]) => outcomeOf('ip', ['netns', 'exec', ns, ...command]);
    t.equal((await outcomeOf('ip', ['netns', 'add', ns])).code, 0);
    t.teardown(() => outcomeOf('ip', ['netns', 'del', ns]));
    await inside('ip', 'link', 'add', 'own0', 'type', 'bridge');
    await inside('ip', 'addr', 'add', '10.77.0.1/24', 'dev', 'own0');
    await n1.must('sandbox', 'create', 'ext', '--netns', `/run/netns/${ns}`);
    await n1.must('connect', 'ext', 'app', '--ip', '10.20.0.21', '--wait');
    t.equal((await inside('ping', '-q', '-c1', '-W2', '10.20.0.11')).code, 0);
    await n1.must('disconnect', 'ext', 'app', '--wait');
    await n1.must('sandbox', 'rm', 'ext', '--wait');
    const { stdout } = await inside('ip', '-br', 'addr');
    t.match(stdout, /own0.*10\.77\.0\.1\/24/);
    t.notMatch(stdout, /eth0|gw0/);
    t.equal((await inside('ip', 'route')).stdout.includes('default'), false, 'no route of ours stays');
  });

  t.test('a namespace that is handed over by pid, and is gone with its process', { timeout: tuned }, async (t) => {
    const container = spawn('unshare', ['--net', 'sleep', '600'], { stdio: 'ignore' });
    t.teardown(() => container.kill('SIGKILL'));
    const pid = container.pid as number;
    await until(
      'the container has its namespace',
      async () => (await n1.weft('sandbox', 'create', 'proc', '--pid', String(pid))).code === 0,
    );
    await n1.must('connect', 'proc', 'app', '--ip', '10.20.0.22', '--wait');
    t.equal((await outcomeOf('nsenter', ['-t', String(pid), '-n', 'ping', '-q', '-c1', '-W2', '10.20.0.11'])).code, 0);
    const ports = async () => (await n1.execIn('net-app', 'ip', '-o', 'link')).stdout.match(/wf[0-9a-f]{11}/g)?.length;
    t.equal(await ports(), 2);
    container.kill('SIGKILL');
    t.ok(
      (await until('the kernel frees the namespace', async () => (await ports()) === 1)) < patient(2000),
      'no descriptor of the agent keeps it',
    );
    await until('the endpoint says so', async () => /proc:app.*degraded/.test(await n1.must('endpoint', 'ls')));
    t.ok(await reaches(n1, 'c1', '10.20.0.12'), 'the others go on');
    await n1.must('disconnect', 'proc', 'app', '--wait');
    await n1.must('sandbox', 'rm', 'proc', '--wait');
    await until('all is well', async () => /phase +ready/.test(await n1.must('status')));
  });

  t.test('what is no network namespace is refused before anything changes', { timeout: tuned }, async (t) => {
    const [wish, kernel] = [await n1.must('export'), await standing(n1)];
    for (const [option, value] of [
      ['--netns', '/etc/passwd'],
      ['--netns', '/nonexistent'],
      ['--netns', `/proc/${process.pid}/ns/mnt`],
      ['--netns', `/run/netns/${n1.ns}`],
      ['--pid', '4194304'],
    ] as const) {
      const { code, stderr } = await n1.weft('sandbox', 'create', 'bad', option, value);
      t.equal(code, 1);
      t.match(stderr, /^weft: WEFT_INVALID_NETNS: /, `${option} ${value}`);
      t.equal(stderr.trim().split('\n').length, 1);
    }
    t.equal((await n1.weft('sandbox', 'create', 'bad', '--pid', 'x')).code, 2);
    t.equal(await n1.must('export'), wish);
    t.equal(await standing(n1), kernel);
  });

  t.test('a second agent on the same socket is refused with who is there', { timeout: tuned }, async (t) => {
    const { code, stderr } = await n1.run();
    t.equal(code, 1);
    t.match(
      stderr,
      new RegExp(`^weftd: WEFT_CONFLICT: another agent answers on ${n1.socket}: node "n1", pid ${n1.pid} \\(`, 'm'),
    );
    t.match(await n1.must('status'), /phase +ready/);
  });

  t.test('an agent without the capabilities ends with 3 and says which', { timeout: tuned }, async (t) => {
    const [program, ...args] = n3.command();
    const bare = ['--bounding-set', '-net_admin,-sys_admin', '--inh-caps', '-all'];
    const at = args.indexOf(process.execPath);
    const { code, stderr } = await outcomeOf(program as string, [
      ...args.slice(0, at),
      'setpriv',
      ...bare,
      ...args.slice(at),
    ]);
    t.equal(code, 3, stderr);
    t.match(stderr, /WEFT_PRIVILEGE: the agent lacks CAP_NET_ADMIN and CAP_SYS_ADMIN/);
  });

  t.test('an address that no interface has is refused, and nothing is left of it', { timeout: tuned }, async (t) => {
    const [program, ...args] = n3.command();
    const [run, state] = [join(lab.dir, 'bad-run'), join(lab.dir, 'bad-state')];
    const swap = (word: string) => ({ [n3.vtep]: '192.0.2.1', [n3.runDir]: run, [n3.stateDir]: state })[word] ?? word;
    const { code, stderr } = await outcomeOf(program as string, args.map(swap));
    t.equal(code, 1);
    t.match(stderr, /WEFT_INVALID_ADDRESS: no interface of this node has the advertised address 192\.0\.2\.1/);
    t.same(existsSync(join(run, 'netns')) ? readdirSync(join(run, 'netns')) : [], []);
  });

  t.test('a record that a power failure tore is dropped; the agent trusts the rest', { timeout: tuned }, async (t) => {
    await n2.kill9();
    appendFileSync(join(n2.stateDir, 'state.journal'), '1234abcd {"r":99,"set":[{"table":"sandb');
    await n2.start();
    t.match(lastAdoption(n2), /, 0 changes$/);
    t.match(await n2.must('status'), /pruneGate +open/);
  });

  t.test(
    'a damaged journal: the data plane stays, the gate is shut and says so, a whole wish opens it',
    { timeout: tuned },
    async (t) => {
      const wish = join(lab.dir, 'wish.yaml');
      writeFileSync(wish, await n2.must('export'));
      await n2.kill9();
      const journal = join(n2.stateDir, 'state.journal');
      const lines = readFileSync(journal, 'utf8').split('\n');
      const at = lines.findIndex((line) => line.includes('"c2:app"'));
      lines[at] = (lines[at] as string).replace('10.20.0.12', '10.20.0.99');
      writeFileSync(journal, lines.join('\n'));
      await n2.start();
      t.equal(await lost(n1, 'c1', '10.20.0.12', 3, '-i', '0.2'), 0, 'the container of the lost record goes on');
      const status = await n2.must('status');
      t.match(status, /phase +degraded/);
      t.match(status, new RegExp(`pruneGate +shut: state.journal, line ${at + 1}: checksum mismatch`));
      t.match(status, /held +veth wf\S+: held until the wish is stated anew .* in net-app/);
      t.equal((await n2.weft('endpoint', 'inspect', 'c2:app')).code, 1, 'its record is lost');
      t.match(await n2.must('apply', '--prune', '--wait', '-f', wish), /put endpoint\/c2:app/);
      const after = await n2.must('status');
      t.match(after, /phase +ready/);
      t.match(after, /pruneGate +open/);
      t.notMatch(after, /held/);
      t.equal(await lost(n1, 'c1', '10.20.0.12', 3, '-i', '0.2'), 0);
      t.same(
        (await n2.events()).filter((event) => event.type === 'drift'),
        [],
        'no drift: the wish explains it',
      );
    },
  );

  t.test(
    'lost state: the data plane stays until the wish is stated, which removes the rest at once',
    { timeout: tuned },
    async (t) => {
      await n2.kill9();
      writeFileSync(join(n2.stateDir, 'state.journal'), '');
      const { code } = await outcomeOf('rm', ['-rf', n2.stateDir]);
      t.equal(code, 0);
      await n2.start();
      t.match(await n2.must('status'), /pruneGate +shut: the state directory is empty/);
      t.equal(await lost(n1, 'c1', '10.20.0.12', 3, '-i', '0.2'), 0);
      await n2.restart();
      t.match(
        await n2.must('status'),
        /pruneGate +shut: the state directory is empty/,
        'a restart finds no state again',
      );
      const empty = join(lab.dir, 'empty.yaml');
      writeFileSync(empty, 'sandboxes: {}\n');
      await n2.must('apply', '--prune', '--wait', '-f', empty);
      t.same(new Spaces(loadNative(), n2.runDir).pins(), []);
    },
  );

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

  t.test('SIGTERM ends the agent and leaves the data plane', { timeout: tuned }, async (t) => {
    t.equal(await n3.stop(), 0);
    t.equal(await lost(n3, 'c3', '10.20.0.1', 1), 0);
    await n3.start();
    t.match(lastAdoption(n3), /, 0 changes$/);
  });
}
