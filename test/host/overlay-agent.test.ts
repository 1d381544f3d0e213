import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadNative } from '../../src/kernel/real/native.js';
import { Spaces } from '../../src/kernel/real/spaces.js';
import { Lab, outcomeOf, patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { connectAll, lastAdoption, lost, reaches, standing } from '../support/overlay.js';

const tuned = patient(60_000);

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables'])) {
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 3, agents: false });
  t.teardown(() => lab.down());
  const [n1, n2, n3] = [lab.node(1), lab.node(2), lab.node(3)];
  await connectAll(lab);

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
}
