import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { outcomeOf, patient, until } from '../support/lab.js';
import {
  answers,
  ask,
  dig,
  dnsRules,
  NAMES_NEED,
  namesLab,
  phaseOf,
  resolverPid,
  rewritten,
  runs,
  Stub,
  webServer,
} from '../support/names-lab.js';
import { needs } from '../support/needs.js';

// Resolvers and namespaces that end, and what becomes of names then.
if (needs(t, NAMES_NEED)) {
  const limited = { timeout: patient(60_000) };
  const { n1, n2, servers, ownEtc, start, put, endpoint } = await namesLab(t);
  servers.push(await webServer(n1, 'b1'));

  t.test('kill -9 of the resolver heals', limited, async (t) => {
    const before = await dnsRules(n1, 'c1');
    const pid = resolverPid(n1);
    const stub = new Stub(n1, 'c1');
    t.teardown(() => stub.close());
    t.ok(await stub.answered());
    process.kill(pid, 'SIGKILL');
    // A query that it had taken when it died is nobody's to answer: each look is a new one, and a short one.
    const took = await until('names are answered again', () => answers(n1, 'c1', patient(300)));
    t.ok(await stub.answered(), 'a client that keeps its port too');
    // 0.3 s on a quiet machine; Node's start alone takes a second on a busy one.
    t.ok(took < patient(2000), `${took} ms`);
    t.not(resolverPid(n1), pid);
    t.same(await dnsRules(n1, 'c1'), before, 'it listens where the other did: tracked flows go on');
    await until('every sandbox is well', async () => /phase +ready/.test(await n1.must('status')));
    t.ok((await n1.events()).some((event) => event.type === 'trouble' && /resolver has ended/.test(event.message)));
    t.same(await dig(n1, 'b2', ['web'], ['web', '+tcp']), [
      ['NOERROR', ['10.20.0.200']],
      ['NOERROR', ['10.20.0.200']],
    ]);
  });

  t.test('who asks while nothing answers is refused at once', limited, async (t) => {
    await n1.kill9();
    process.kill(resolverPid(n1), 'SIGKILL');
    for (const how of ['+notcp', '+tcp']) {
      const { stdout } = await n1.execIn('c1', 'dig', '@127.0.0.11', how, '+tries=1', '+time=8', 'web');
      t.match(stdout, /127\.0\.0\.11#53.*: connection refused/, how);
    }
    await start(n1);
    t.ok(await answers(n1, 'c1', patient(2000)));
  });

  t.test('a resolver of another version, which does not know what it is told, makes room', limited, async (t) => {
    await n1.kill9();
    process.kill(resolverPid(n1), 'SIGKILL');
    const socket = join(n1.runDir, 'resolver.sock');
    rmSync(socket, { force: true });
    const error = { code: 'WEFT_INVALID_ARGUMENT', message: 'view: "ttl" is not known' };
    const other = spawn(process.execPath, [
      '-e',
      `const status = { op: 'status', pid: process.pid, revision: 1, sandboxes: {}, errors: {}, counters: {}, inFlight: 0 };
      const refused = ${JSON.stringify({ op: 'error', error })};
      require('node:net').createServer((agent) => require('node:readline').createInterface({ input: agent }).on('line', (line) =>
        agent.write(JSON.stringify(JSON.parse(line).op === 'status' ? status : refused) + '\\n'))).listen(process.argv[1], () => console.log('listening'));`,
      socket,
    ]);
    t.teardown(() => other.kill('SIGKILL'));
    const ended = once(other, 'exit');
    await once(other.stdout, 'data');
    await start(n1);
    await until('names are answered', () => answers(n1, 'c1', patient(300)));
    t.same(await ended, [null, 'SIGTERM']);
    t.not(resolverPid(n1), other.pid);
  });

  t.test('rules to the resolver that somebody takes away are put back', limited, async (t) => {
    const before = await dnsRules(n1, 'c1');
    const flush = rewritten ? 'nft flush ruleset' : 'iptables -t nat -F';
    t.equal((await n1.execIn('c1', ...flush.split(' '))).code, 0);
    await until('they are back', async () => (await dnsRules(n1, 'c1')).join() === before.join());
    t.ok(await answers(n1, 'c1', patient(2000)));
  });

  t.test('a sandbox that serves nobody has no connection tracking', limited, async (t) => {
    if (!needs(t, ['nft-inet', 'conntrack'])) return;
    t.same(await dig(n1, 'c1', ['web'], ['web', '+tcp']), [
      ['NOERROR', ['10.20.0.200']],
      ['NOERROR', ['10.20.0.200']],
    ]);
    t.equal((await n1.execIn('c1', 'curl', '-s', 'http://10.20.0.21:8080/')).code, 0);
    t.equal((await n1.execIn('c1', 'conntrack', '-L')).stdout, '');
    const served = (await n1.execIn('b1', 'conntrack', '-L')).stdout;
    t.match(served, 'dst=10.20.0.21', 'one that serves has');
    t.notMatch(served, / dport=53 /, 'and keeps the resolver out of it');
  });

  t.test('a namespace that is given back is as it was', limited, async (t) => {
    const container = spawn('unshare', ['--net', 'sleep', '600'], { stdio: 'ignore' });
    t.teardown(() => container.kill('SIGKILL'));
    const own = readlinkSync('/proc/self/ns/net');
    await until('it is there', () => readlinkSync(`/proc/${container.pid}/ns/net`) !== own);
    await n1.must('sandbox', 'create', 'lent', '--pid', String(container.pid));
    const look = async () => {
      const command = rewritten ? ['nft', 'list', 'ruleset'] : ['iptables-save', '-t', 'nat'];
      return (await outcomeOf('nsenter', [`--net=/proc/${container.pid}/ns/net`, ...command])).stdout;
    };
    await until('rules lead to the resolver', async () => (await look()).includes('127.0.0.11'));
    await n1.must('sandbox', 'rm', 'lent', '--wait');
    t.notMatch(await look(), /127\.0\.0\.11|weft|WEFT/);
  });

  t.test('a namespace that was handed over: names in it, and no hold on it when it is gone', limited, async (t) => {
    const container = spawn('unshare', ['--net', 'sleep', '600'], { stdio: 'ignore' });
    t.teardown(() => container.kill('SIGKILL'));
    const pid = container.pid as number;
    // Until then it is the test's own namespace, which must not become a sandbox.
    const own = readlinkSync('/proc/self/ns/net');
    await until('the container has its namespace', () => readlinkSync(`/proc/${pid}/ns/net`) !== own);
    await n1.must('sandbox', 'create', 'proc', '--pid', String(pid));
    await n1.must('connect', 'proc', 'app', '--ip', '10.20.0.31', '--wait');
    await until('it is ready', async () => (await phaseOf(n1, 'proc')).phase === 'ready');
    t.same(await ask(n1, 'proc', 'web'), ['10.20.0.200']);
    const legs = async () => (await n1.execIn('net-app', 'ip', '-o', 'link')).stdout.match(/wf[0-9a-f]{11}/g)?.length;
    const before = (await legs()) ?? 0;
    container.kill('SIGKILL');
    await until('the kernel frees the namespace', async () => (await legs()) === before - 1);
    await until('the sandbox says so', async () => (await phaseOf(n1, 'proc')).phase === 'degraded');
    await n1.must('disconnect', 'proc', 'app', '--wait');
    await n1.must('sandbox', 'rm', 'proc', '--wait');
    await until('all is well', async () => /phase +ready/.test(await n1.must('status')));
  });

  t.test('a process that gets the number of one that was handed over is not touched', limited, async (t) => {
    const container = spawn('unshare', ['--net', 'sleep', '600'], { stdio: 'ignore' });
    t.teardown(() => container.kill('SIGKILL'));
    const pid = container.pid as number;
    const own = readlinkSync('/proc/self/ns/net');
    const hasItsOwn = () => existsSync(`/proc/${pid}`) && readlinkSync(`/proc/${pid}/ns/net`) !== own;
    await until('the container has its namespace', hasItsOwn);
    await n1.must('sandbox', 'create', 'reused', '--pid', String(pid));
    await until('it is ready', async () => (await phaseOf(n1, 'reused')).phase === 'ready');
    container.kill('SIGKILL');
    await until('the sandbox says that it is gone', async () => (await phaseOf(n1, 'reused')).phase === 'degraded');

    // The next process gets the number after this one, unless another is made in between.
    const again = `echo ${pid - 1} >/proc/sys/kernel/ns_last_pid; unshare --net sleep 600 >&- 2>&- & echo $!`;
    await until('another process has the number', async () => {
      const made = Number((await outcomeOf('sh', ['-c', again])).stdout);
      if (made === pid) t.teardown(() => process.kill(made, 'SIGKILL'));
      else process.kill(made, 'SIGKILL');
      return made === pid;
    });
    await until('it has its namespace', hasItsOwn);
    await n1.api.post('/v1/reconcile');
    t.equal((await phaseOf(n1, 'reused')).phase, 'degraded');
    const inside = [`--net=/proc/${pid}/ns/net`];
    t.match((await outcomeOf('nsenter', [...inside, 'ip', '-br', 'link'])).stdout, /^lo +DOWN/);
    t.equal((await outcomeOf('nsenter', [...inside, 'nft', 'list', 'ruleset'])).stdout, '');
    await t.rejects(n1.api.put('/v1/sandboxes/reused', { pid }), {
      code: 'WEFT_INVALID_NETNS',
      message: /another process/,
    });
    await n1.must('sandbox', 'rm', 'reused', '--wait');
  });

  t.test('down ends the resolver and removes the files; so does --cleanup without an agent', limited, async (t) => {
    const pid = resolverPid(n1);
    await n1.must('down');
    t.notOk(runs(pid));
    for (const name of ['resolver.pid', 'resolver.sock', 'resolver.log', 'sandboxes'])
      t.notOk(existsSync(join(n1.runDir, name)), name);
    const second = resolverPid(n2);
    await n2.kill9();
    t.ok(runs(second));
    const { code, stderr } = await n2.run(['--cleanup'], ownEtc);
    t.equal(code, 0, stderr);
    t.notOk(runs(second));
    t.notOk(existsSync(join(n2.runDir, 'sandboxes')));
  });

  t.test('the next sandbox brings a resolver again', limited, async (t) => {
    await put(n1, 'networks/app', { subnets: ['10.20.0.0/24'], vni: 4097 });
    await endpoint(n1, 'c1', '10.20.0.11');
    t.same(await ask(n1, 'c1', 'c1'), ['10.20.0.11']);
  });
}
