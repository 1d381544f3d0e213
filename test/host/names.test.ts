import dgram from 'node:dgram';
import { once } from 'node:events';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { patient, until } from '../support/lab.js';
import {
  adoption,
  answers,
  ask,
  dig,
  dnsRules,
  load,
  NAMES_NEED,
  namesLab,
  phaseOf,
  resolverPid,
  rewritten,
  socketIn,
  webServer,
} from '../support/names-lab.js';
import { needs } from '../support/needs.js';
import { nameServer, reply } from '../support/resolver-world.js';

if (needs(t, NAMES_NEED)) {
  const limited = { timeout: patient(60_000) };
  const { n1, n2, servers, resolvConf, ownEtc, start, put } = await namesLab(t);

  t.test('dig: services, tasks, aliases, endpoints, addresses; what exists is never denied', limited, async (t) => {
    const backends = ['10.20.0.21', '10.20.0.22', '10.20.0.23'];
    const asked = await dig(
      n1,
      'c1',
      ['web'],
      ['tasks.web'],
      ['www'],
      ['WEB.APP.'],
      ['b3'],
      ['third'],
      ['second', '+tcp'],
      ['web', 'AAAA'],
      ['web', 'MX'],
      ['-x', '10.20.0.200'],
      ['-x', '10.20.0.23'],
    );
    t.same(asked, [
      ['NOERROR', ['10.20.0.200']],
      ['NOERROR', backends],
      ['NOERROR', ['10.20.0.200']],
      ['NOERROR', ['10.20.0.200']],
      ['NOERROR', ['10.20.0.23']],
      ['NOERROR', ['10.20.0.23']],
      ['NOERROR', ['10.20.0.22']],
      ['NOERROR', []],
      ['NOERROR', []],
      ['NOERROR', ['web.app.']],
      ['NOERROR', ['b3.app.']],
    ]);
    t.same(await ask(n2, 'b3', 'tasks.web'), backends, 'the other node says the same');
    t.same(await ask(n2, 'b3', 'c1'), ['10.20.0.11']);
  });

  t.test('SRV: what a proxy needs to find the backends of both nodes', limited, async (t) => {
    const web = { networks: ['app'], vips: { app: ['10.20.0.200'] }, aliases: ['www'], labels: { tier: 'front' } };
    await put(n1, 'services/web', { ...web, ports: [{ port: 80, target: 8080, name: 'http' }] });
    const targets = [21, 22, 23].map((n) => `0 1 8080 10-20-0-${n}.tasks.web.app.`);
    const asked = await dig(
      n1,
      'c1',
      ['_http._tcp.web', 'SRV'],
      ['_80._tcp.www', 'SRV', '+tcp'],
      ['_81._udp.web', 'SRV'],
      ['10-20-0-23.tasks.web.app.'],
      ['WEB', 'TXT'],
      ['nothing.app'],
      ['nothing'],
    );
    t.same(asked, [
      ['NOERROR', targets],
      ['NOERROR', targets.map((target) => target.replace('.web', '.www'))],
      ['NOERROR', targets.map((target) => target.replace('8080', '81'))],
      ['NOERROR', ['10.20.0.23']],
      ['NOERROR', ['"tier=front"']],
      ['NXDOMAIN', []],
      ['NXDOMAIN', []],
    ]);
  });

  t.test('programs in a sandbox: getent, and curl by name reaches every backend', limited, async (t) => {
    for (const [node, name] of [
      [n1, 'b1'],
      [n1, 'b2'],
      [n2, 'b3'],
    ] as const)
      servers.push(await webServer(node, name));
    t.match(await n1.must('sandbox', 'exec', 'c1', '--', 'getent', 'hosts', 'web'), /^10\.20\.0\.200\s+web\n$/);
    t.match(await n1.must('sandbox', 'exec', 'c1', '--', 'getent', 'hosts', 'c1'), /^10\.20\.0\.11\s+c1\n$/);
    const urls = Array.from({ length: 6 }, () => 'http://web:8080/');
    const said = await n1.must('sandbox', 'exec', 'c1', '--', 'curl', '-sS', '--max-time', '8', ...urls);
    t.same(said.trim().split('\n').sort(), ['b1', 'b1', 'b2', 'b2', 'b3', 'b3']);
  });

  t.test('the rest goes to the node’s name servers, as its resolv.conf says now', limited, async (t) => {
    const first = await nameServer(`/run/netns/${n1.ns}`, '127.0.0.51', (query) => [reply(query, '192.0.2.7')]);
    t.same(await ask(n1, 'c1', 'example.com'), ['192.0.2.7']);
    t.same(await dig(n1, 'c1', ['example.org', '+tcp']), [['NOERROR', ['192.0.2.7']]]);
    t.ok(first.asked.udp > 0 && first.asked.tcp > 0);
    const second = await nameServer(`/run/netns/${n1.ns}`, '127.0.0.52', (query) => [reply(query, '192.0.2.8')]);
    servers.push(second);
    await first.close();
    const began = Date.now();
    t.same(await ask(n1, 'c1', 'example.net'), ['SERVFAIL'], 'nobody listens there any more');
    t.ok(Date.now() - began < patient(500), 'which is said at once');
    t.same(await ask(n1, 'c1', 'example.com'), ['192.0.2.7'], 'what was said is true for a while');
    writeFileSync(`${resolvConf}.new`, 'nameserver 127.0.0.52\n');
    renameSync(`${resolvConf}.new`, resolvConf);
    await until('the new name server is asked', async () => (await ask(n1, 'c1', 'example.com'))[0] === '192.0.2.8');
    await put(n1, 'sandboxes/own', { dns: ['127.0.0.55'] });
    await put(n1, 'endpoints/own:app', { addresses: ['10.20.0.12'] });
    t.same(await ask(n1, 'own', 'example.com'), ['SERVFAIL'], 'a sandbox with --dns asks its own');
    t.same(await ask(n1, 'own', 'web'), ['10.20.0.200']);
  });

  t.test('a name server in a sandbox is asked from inside; domains have servers of their own', limited, async (t) => {
    const inner = await nameServer(n1.pin('b1'), '10.20.0.21', (query) => [reply(query, '192.0.2.21')], 5353);
    const rule = await nameServer(`/run/netns/${n1.ns}`, '127.0.0.57', (query) => [reply(query, '192.0.2.57')]);
    servers.push(inner, rule);
    await put(n1, 'sandboxes/own', { dnsSplit: { example: ['10.20.0.21#5353'], 'corp.example': ['127.0.0.57'] } });
    t.same(await ask(n1, 'own', 'inner.example'), ['192.0.2.21']);
    t.same(await dig(n1, 'own', ['inner2.example', '+tcp']), [['NOERROR', ['192.0.2.21']]]);
    t.ok(inner.asked.udp > 0 && inner.asked.tcp > 0);
    t.same(await ask(n1, 'own', 'a.corp.example'), ['192.0.2.57']);
    t.same(await ask(n1, 'own', 'web'), ['10.20.0.200']);
  });

  t.test('a sandbox knows its networks only, and an internal one has no way out', limited, async (t) => {
    await put(n1, 'networks/inside', { subnets: ['10.21.0.0/24'], vni: 4098, internal: true });
    await put(n1, 'sandboxes/i1', { hostname: 'Inner' });
    await put(n1, 'endpoints/i1:inside', { addresses: ['10.21.0.11'] });
    t.same(await ask(n1, 'i1', 'inner'), ['10.21.0.11']);
    t.same(await ask(n1, 'i1', 'web'), ['NXDOMAIN']);
    t.same(await ask(n1, 'i1', 'example.com'), ['NXDOMAIN']);
    const { code, stderr } = await n1.weft('dns', 'query', 'web', '--sandbox', 'i1');
    t.equal(code, 1);
    t.match(stderr, /^weft: WEFT_NOT_FOUND: web A: NXDOMAIN/);
    await put(n1, 'endpoints/i1:app', { addresses: ['10.20.0.13'] });
    t.same(await ask(n1, 'i1', 'web'), ['10.20.0.200'], 'from the moment it is connected');
    t.match(readFileSync(join(n1.runDir, 'sandboxes/i1/hosts'), 'utf8'), /^10\.20\.0\.13\tInner i1$/m);
    await n1.must('disconnect', 'i1', 'app', '--wait');
    t.same(await ask(n1, 'i1', 'web'), ['NXDOMAIN']);
    t.notMatch(readFileSync(join(n1.runDir, 'sandboxes/i1/hosts'), 'utf8'), /10\.20\.0\.13/);
  });

  t.test('a name is answered as soon as its change is applied, and is gone as soon', limited, async (t) => {
    const answered = async (name: string) => {
      const path = `/v1/inspect/dns?sandbox=c1&name=${name}`;
      return (await n1.api.get<{ records: { value: string }[] }>(path)).records.map(({ value }) => value);
    };
    const b2 = { addresses: ['10.20.0.22'], service: 'web' };
    for (let i = 1; i <= 20; i++) {
      await put(n1, 'endpoints/b2:app', { ...b2, aliases: ['second', `alias${i}`] });
      t.same(await answered(`alias${i}`), ['10.20.0.22']);
      t.notOk((await answered(`alias${i - 1}`)).includes('10.20.0.22'));
    }
  });

  t.test('port 53 is the container’s own to bind', limited, async (t) => {
    const udp = dgram.createSocket('udp4');
    udp.bind({ fd: socketIn(n1, 'c1', 'udp', 53) });
    const tcp = net.createServer((socket) => socket.destroy()).listen({ fd: socketIn(n1, 'c1', 'tcp', 53) });
    t.teardown(() => {
      udp.close();
      tcp.close();
    });
    await once(tcp, 'listening');
    t.same(await dig(n1, 'c1', ['web'], ['web', '+tcp']), [
      ['NOERROR', ['10.20.0.200']],
      ['NOERROR', ['10.20.0.200']],
    ]);
  });

  t.test('backends that drain, and those of dead nodes, leave at once', limited, async (t) => {
    await put(n1, 'endpoints/b2:app', {
      addresses: ['10.20.0.22'],
      service: 'web',
      aliases: ['second'],
      state: 'draining',
    });
    t.same(await ask(n1, 'c1', 'tasks.web'), ['10.20.0.21', '10.20.0.23']);
    t.same(await ask(n1, 'c1', 'second'), ['10.20.0.22'], 'its own names stay');
    await put(n1, 'nodes/n2', { vtep: n2.vtep, alive: false });
    t.same(await ask(n1, 'c1', 'tasks.web'), ['10.20.0.21']);
    await put(n1, 'nodes/n2', { vtep: n2.vtep });
    await put(n1, 'endpoints/b2:app', { addresses: ['10.20.0.22'], service: 'web', aliases: ['second'] });
    t.equal((await ask(n1, 'c1', 'tasks.web')).length, 3);
  });

  t.test('dns ls: every name with its network, marked where the resolver has another view', limited, async (t) => {
    const table = await n1.must('dns', 'ls');
    t.match(table, /^web +app +A +10\.20\.0\.200 +ok$/m);
    t.match(table, /^tasks\.web +app +A +10\.20\.0\.21,10\.20\.0\.22,10\.20\.0\.23 +ok$/m);
    t.match(table, /^b3\.app +app +PTR +10\.20\.0\.23 +ok$/m);
    const names = (await n1.must('dns', 'ls', '-o', 'name', '--network', 'inside')).trim().split('\n');
    t.same(names, ['i1', 'inner', 'i1.inside']);
    const other = { op: 'view', view: { revision: 5, upstreams: [], sandboxes: {}, networks: {} } };
    const stranger = net.connect(join(n1.runDir, 'resolver.sock'));
    stranger.write(`${JSON.stringify(other)}\n`);
    await once(stranger, 'data');
    stranger.destroy();
    const rows = JSON.parse(await n1.must('dns', 'ls', '-j')) as { drift: string; reason: string }[];
    t.same([...new Set(rows.map((row) => row.drift))], ['differs']);
    t.match(rows[0]?.reason, /the resolver has view 5, not \d+/);
    await put(n1, 'sandboxes/c9', {});
    await until('the next change brings the whole view', () => answers(n1, 'c1', patient(300)));
    t.match(await n1.must('dns', 'query', '10.20.0.200', 'ptr', '--sandbox', 'c1'), /in-addr\.arpa +5 +PTR +web\.app/);
    t.equal((await n1.weft('dns', 'query', 'web')).code, 2, 'which sandbox?');
    t.match((await n1.weft('dns', 'query', 'web', 'FOO', '--sandbox', 'c1')).stderr, /"FOO" is no record type/);
    t.match((await n1.weft('dns', 'query', 'web', '--sandbox', 'none')).stderr, /^weft: WEFT_NOT_FOUND: /);
  });

  t.test('a sandbox’s files go with it', limited, async (t) => {
    const files = join(n1.runDir, 'sandboxes', 'c9');
    t.equal(readFileSync(join(files, 'resolv.conf'), 'utf8'), 'nameserver 127.0.0.11\noptions ndots:0\n');
    await n1.must('sandbox', 'rm', 'c9', '--wait');
    t.notOk(existsSync(files));
  });

  t.test('kill -9 of the agent loses no query, and its restart changes nothing', limited, async (t) => {
    const before = await dnsRules(n1, 'c1');
    t.equal(before.length, rewritten ? 7 : 8, before.join('\n'));
    const queries = load(n1, 'c1');
    await n1.kill9();
    t.same(await dig(n1, 'c1', ['tasks.web']), [['NOERROR', ['10.20.0.21', '10.20.0.22', '10.20.0.23']]]);
    await start(n1);
    const { answered, lost } = await queries.end();
    t.equal(lost, 0, `of ${answered + lost}`);
    t.ok(answered > 20, `${answered} answered`);
    t.match(adoption(n1), /^adopted \d+ objects, 0 changes$/);
    t.same(await dnsRules(n1, 'c1'), before);
    t.match(await n1.must('status'), /phase +ready/);
  });

  t.test('a resolver that answers late: its rules stay meanwhile, and the sandbox says so', limited, async (t) => {
    const before = await dnsRules(n1, 'c1');
    const pid = resolverPid(n1);
    process.kill(pid, 'SIGSTOP');
    try {
      await n1.kill9();
      await start(n1);
      t.match(adoption(n1), /, 0 changes$/);
      t.same(await dnsRules(n1, 'c1'), before);
      t.match(await phaseOf(n1, 'c1'), { phase: 'degraded', reason: /its resolver does not run/ });
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await until('the sandbox is well', async () => (await phaseOf(n1, 'c1')).phase === 'ready');
    t.same(await dnsRules(n1, 'c1'), before);
    t.match(await n1.must('status'), /operations 0,/);
  });

  t.test('SIGTERM of the agent leaves the resolver', limited, async (t) => {
    const pid = resolverPid(n1);
    t.equal(await n1.stop(), 0);
    t.same(await dig(n1, 'c1', ['web']), [['NOERROR', ['10.20.0.200']]]);
    await n1.start(['--dns-ttl', '0', '--dns-split', 'lan=127.0.0.57', '--dns-split', 'b.lan=127.0.0.52'], ownEtc);
    t.equal(resolverPid(n1), pid);
    t.same([await ask(n1, 'c1', 'a.lan'), await ask(n1, 'c1', 'b.lan')], [['192.0.2.57'], ['192.0.2.8']]);
    t.match(adoption(n1), /, 0 changes$/);
    t.match(
      await n1.must('dns', 'query', 'web', '--sandbox', 'c1'),
      /web +0 +A +10\.20\.0\.200/,
      'as its agent says now',
    );
  });
}
