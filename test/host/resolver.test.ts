import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ResolverClient } from '../../src/dns/client.js';
import { decodeMessage } from '../../src/dns/codec.js';
import { FLAG, RCODE, TYPE } from '../../src/dns/constants.js';
import { Frames, framed } from '../../src/dns/frames.js';
import type { Applied } from '../../src/dns/protocol.js';
import { needs } from '../support/needs.js';
import { dig, nameServer, native, question, ResolverWorld, reply, run, view } from '../support/resolver-world.js';

if (needs(t, ['root', 'ip', 'dig'])) {
  const world = new ResolverWorld();
  const client = new ResolverClient(world.clientOptions);
  t.teardown(async () => {
    client.close();
    await world.dispose();
  });
  const node = await world.namespace('node');
  const c1 = await world.namespace('c1');
  const c2 = await world.namespace('c2');
  let ports: Applied['sandboxes'];
  const udpOf = (name: string) => ports[name]?.udp ?? 0;
  const tcpOf = (name: string) => ports[name]?.tcp ?? 0;

  t.test('the first connection starts a resolver that answers from the view', async (t) => {
    t.same(await client.connect(), { started: true });
    t.equal(statSync(join(world.runDir, 'resolver.sock')).mode & 0o777, 0o600);
    const applied = await client.sendView(view(world, 1));
    t.equal(applied.revision, 1);
    t.same(applied.errors, {});
    ports = applied.sandboxes;
    const { dev, ino } = statSync(c1);
    t.equal(ports.c1?.netns, `${dev}:${ino}`);
    const status = await client.status();
    t.equal(status.pid, Number(readFileSync(join(world.runDir, 'resolver.pid'), 'utf8')));
  });

  t.test('addresses, NODATA and reverse names by UDP and TCP', async (t) => {
    for (const how of ['+notcp', '+tcp']) {
      const port = how === '+tcp' ? tcpOf('c1') : udpOf('c1');
      const a = await dig(c1, port, how, 'wEb', 'A');
      t.equal(a.status, 'NOERROR');
      t.same(a.answers.sort(), ['10.0.0.2', '10.0.0.3']);
      t.match(a.all, /^wEb\./m, 'the case of the question');
      t.same((await dig(c1, port, how, 'web.front.', 'A')).answers.length, 2);
      const nodata = await dig(c1, port, how, 'web', 'AAAA');
      t.same([nodata.status, nodata.answers], ['NOERROR', []]);
      t.same((await dig(c1, port, how, '-x', '10.0.0.2')).answers, ['web.1.front.']);
    }
    t.same((await dig(c2, udpOf('c2'), 'db', 'AAAA')).answers, ['fd00::2']);
  });

  t.test('dig finds nothing to warn about', async (t) => {
    const { all } = await dig(c1, udpOf('c1'), 'web');
    t.notMatch(all, /WARNING|malformed|mismatch/i);
  });

  t.test('a long answer is truncated by UDP and whole by TCP', async (t) => {
    const cut = await dig(c1, udpOf('c1'), '+ignore', '+noedns', 'big');
    t.ok(cut.flags.includes('tc'));
    t.equal(cut.answers.length, Math.floor((512 - 12 - 9) / 16));
    const more = await dig(c1, udpOf('c1'), '+ignore', '+bufsize=4096', 'big');
    t.ok(more.answers.length > 240 && more.answers.length < 300, `${more.answers.length}`);
    const whole = await dig(c1, tcpOf('c1'), '+tcp', 'big');
    t.equal(whole.answers.length, 300);
    t.notOk(whole.flags.includes('tc'));
  });

  t.test('pipelined queries on a connection whose client has closed its side', async (t) => {
    const fd = native.netnsOpen(c1);
    // An address of its own to connect from is what puts the socket into the namespace.
    const born = native.socketOpen(fd, { type: 'udp', family: 4, address: '127.0.0.1', port: 0 });
    native.closeFd(fd);
    const socket = dgram.createSocket('udp4');
    socket.bind({ fd: born.fd });
    const ids = [1, 2, 3].map((id) => question(id, 'web'));
    const received: number[] = [];
    socket.on('message', (bytes) => received.push(decodeMessage(bytes).id));
    for (const bytes of ids) socket.send(bytes, udpOf('c1'), '127.0.0.11');
    while (received.length < 3) await once(socket, 'message');
    t.same(received.sort(), [1, 2, 3]);
    socket.close();
    const script = `
    const s = require('node:net').connect(${tcpOf('c1')}, '127.0.0.11');
    s.end(Buffer.from('${Buffer.concat([framed(question(7, 'web')), framed(question(8, 'pipelined.example'))]).toString('hex')}', 'hex'));
    s.pipe(process.stdout);`;
    const { stdout } = await run('nsenter', [`--net=${c1}`, process.execPath, '-e', script], { encoding: 'buffer' });
    t.same(
      new Frames().push(stdout).map((bytes) => decodeMessage(bytes).id),
      [7, 8],
      'the forwarded one waits for its SERVFAIL',
    );
  });

  t.test('dead name servers give SERVFAIL at once', async (t) => {
    for (const args of [['+notcp'], ['+tcp']]) {
      const dead = await dig(c1, args[0] === '+tcp' ? tcpOf('c1') : udpOf('c1'), ...args, `dead${args[0]}.example`);
      t.equal(dead.status, 'SERVFAIL');
      t.ok(dead.ms < 500, `${dead.ms} ms`);
    }
  });

  t.test('without networks that lead out nothing is forwarded', async (t) => {
    const server = await nameServer(node, '127.0.0.53', (query) => [reply(query, '192.0.2.1')]);
    t.equal((await dig(c2, udpOf('c2'), 'example.org')).status, 'NXDOMAIN');
    t.equal((await dig(c2, udpOf('c2'), 'web')).status, 'NXDOMAIN');
    t.equal(server.asked.udp, 0);
    await server.close();
  });

  t.test('unknown names are forwarded, and their answers kept', async (t) => {
    const server = await nameServer(node, '127.0.0.53', (query) => [
      query.questions[0]?.name.toLowerCase() === 'many.example'
        ? reply(query, '192.0.2.*', 100)
        : reply(query, '192.0.2.1'),
    ]);
    const plain = await dig(c1, udpOf('c1'), 'Example.org');
    t.same([plain.status, plain.answers], ['NOERROR', ['192.0.2.1']]);
    t.match(plain.all, /^Example\.org\./m, 'the case of the question');
    t.notMatch(plain.all, /WARNING|malformed|mismatch/i);
    t.same(server.asked.last?.edns?.options, [], 'the cookie of dig stays here');
    t.equal((await dig(c1, udpOf('c1'), 'single')).status, 'NXDOMAIN', 'one label is ours to know');
    t.equal((await dig(c1, udpOf('c1'), 'example.net')).status, 'NOERROR');
    const asked = [server.asked.udp, 0];
    for (const [how, port] of [
      ['+notcp', udpOf('c1')],
      ['+tcp', tcpOf('c1')],
    ] as const) {
      const kept = await dig(c1, port, how, 'eXample.org');
      t.same([kept.status, kept.answers], ['NOERROR', ['192.0.2.1']]);
      t.match(kept.all, /^eXample\.org\./m);
    }
    t.same([server.asked.udp, server.asked.tcp], asked);
    const cut = await dig(c1, udpOf('c1'), '+ignore', '+noedns', 'many.example');
    t.ok(cut.flags.includes('tc') && cut.answers.length > 10);
    const { tcp } = server.asked;
    t.ok(tcp > 0, 'what the server cut is asked for by TCP');
    t.equal((await dig(c1, tcpOf('c1'), '+tcp', 'many.example')).answers.length, 100);
    t.equal(server.asked.tcp, tcp, 'once');
    t.equal((await dig(c1, tcpOf('c1'), '+tcp', 'many.example.org')).answers.length, 1);
    t.ok(server.asked.tcp > tcp, 'who asks by TCP is asked for by TCP');
    await server.close();
    t.same((await dig(c1, udpOf('c1'), 'example.net')).answers, ['192.0.2.1'], 'also when nobody answers any more');
  });

  t.test('a reply that answers something else is not taken', async (t) => {
    const server = await nameServer(node, '127.0.0.53', (query) => {
      const good = reply(query, '192.0.2.1');
      const other = [{ name: 'evil.example', type: TYPE.A, class: 1 }];
      return [
        { ...reply(query, '192.0.2.66'), id: query.id ^ 1 },
        { ...reply(query, '192.0.2.67'), questions: other },
        { ...reply(query, '192.0.2.68'), flags: 0 },
        good,
      ];
    });
    t.same((await dig(c1, udpOf('c1'), 'forged.example')).answers, ['192.0.2.1']);
    await server.close();
  });

  t.test('a reply without its question is none, whatever it says', async (t) => {
    const server = await nameServer(node, '127.0.0.53', (query) => [
      { ...reply(query, '', 0, RCODE.NXDOMAIN), questions: [] },
    ]);
    t.equal((await dig(c1, udpOf('c1'), 'bare.example')).status, 'SERVFAIL');
    t.ok(server.asked.udp > 0);
    await server.close();
  });

  t.test('the next server is asked: at once after a refusal or a failure, soon after silence', async (t) => {
    const failing = await nameServer(node, '127.0.0.54', (query) => [reply(query, '', 0, RCODE.SERVFAIL)]);
    const silent = await nameServer(node, '127.0.0.55', () => undefined);
    const good = await nameServer(node, '127.0.0.56', (query) => [reply(query, '192.0.2.1')]);
    const own = (...dns: string[]) => ({ sandboxes: { c1: { netns: c1, networks: ['front'], dns } } });
    await client.sendPatch({ revision: 2, ...own('127.0.0.57', '127.0.0.54', '127.0.0.56') });
    for (const [how, port] of [
      ['+notcp', udpOf('c1')],
      ['+tcp', tcpOf('c1')],
    ] as const)
      t.same((await dig(c1, port, how, `next${how}.example`)).answers, ['192.0.2.1']);
    t.ok(failing.asked.udp > 0 && failing.asked.tcp > 0);
    await client.sendPatch({ revision: 3, ...own('127.0.0.55', '127.0.0.56') });
    for (const name of ['one.example', 'two.example', 'three.example'])
      t.same((await dig(c1, udpOf('c1'), name)).answers, ['192.0.2.1']);
    t.ok(silent.asked.udp >= 2, 'and it is remembered who is silent');
    await client.sendPatch({ revision: 4, ...own('127.0.0.55', '127.0.0.55', '127.0.0.55', '127.0.0.55') });
    const never = await dig(c1, udpOf('c1'), 'never.example');
    t.equal(never.status, 'SERVFAIL');
    t.ok(never.ms > 4500, `${never.ms} ms`);
    await Promise.all([failing.close(), silent.close(), good.close()]);
  });

  t.test('a name server at a link-local address', async (t) => {
    if (!needs(t, ['veth'])) return;
    await run('nsenter', [`--net=${node}`, 'ip', 'link', 'add', 'wan', 'type', 'veth']);
    await run('nsenter', [`--net=${node}`, 'ip', 'address', 'add', 'fe80::53/64', 'dev', 'wan', 'nodad']);
    await run('nsenter', [`--net=${node}`, 'ip', 'link', 'set', 'wan', 'up']);
    // A process of its own: names of interfaces are those of the namespace that a process is in.
    const script = `
    const server = require('node:dgram').createSocket('udp6');
    server.on('message', (message, from) => {
      message.writeUInt16BE(${FLAG.QR | FLAG.RD | FLAG.RA | RCODE.NXDOMAIN}, 2);
      server.send(message, from.port, from.address);
    });
    server.bind(53, () => console.log('up'));`;
    const server = spawn('nsenter', [`--net=${node}`, process.execPath, '-e', script]);
    t.teardown(() => server.kill('SIGKILL'));
    await once(server.stdout, 'data');
    const sandboxes = { c1: { netns: c1, networks: ['front'], dns: ['fe80::53%wan'] } };
    await client.sendPatch({ revision: 5, sandboxes });
    t.equal((await dig(c1, udpOf('c1'), 'local.example')).status, 'NXDOMAIN');
  });
}
