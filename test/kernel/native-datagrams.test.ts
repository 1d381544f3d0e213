import { spawnSync } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { join } from 'node:path';
import t from 'tap';
import { loadNative } from '../../src/kernel/real/native.js';
import { thrownBy, until, World } from '../support/native-world.js';
import { needs } from '../support/needs.js';

const SERVER = '127.0.0.11';
/** Two bytes of its own, ten that are fixed, then a text of which the first `fold` letters may have either case. */
const asking = (own: number, text: string) => {
  const bytes = Buffer.alloc(12, '=');
  bytes.writeUInt16BE(own);
  return Buffer.concat([bytes, Buffer.from(text)]);
};
const textOf = (message: Buffer) => `${message.readUInt16BE(0)} ${message.subarray(12)}`;
/** Terms of an answer whose first `fold` bytes of text are the question's. */
const terms = (fold: number, more: { kind?: number; ms?: number; turns?: number[]; tags?: number[]; at?: number[] } = {}) =>
  Int32Array.of(more.kind ?? 0, 12 + fold, more.ms ?? 0, ...(more.turns ?? [0, 0, 0]), (more.tags ?? []).length, ...(more.tags ?? []), ...(more.at ?? [])); // biome-ignore format: one number after the other

if (needs(t, ['root', 'ip'])) {
  const native = loadNative();
  const world = new World(native);
  const netns = world.netns('datagrams');
  await world.must(netns, 'ip link set lo up');
  const open = () => native.socketOpen(netns, { type: 'udp', family: 4, address: SERVER, port: 0 });
  const client = dgram.createSocket('udp4');
  client.bind({ fd: open().fd });

  /** A thread with one socket; what it hands over is echoed with '?' behind it, and noted. */
  const serving = (ownBytes = 1 << 20, allBytes = 1 << 20) => {
    const seen: string[] = [];
    const batches: number[] = [];
    const thread = native.datagramsStart(
      (batch) => {
        batches.push(batch.length);
        for (let at = 0; at < batch.length; ) {
          const message = batch.subarray(at + 16, at + 16 + batch.readUInt32LE(at + 12));
          seen.push(textOf(message));
          const [address, port] = [batch.readUInt32LE(at + 4), batch.readUInt16LE(at + 8)];
          native.datagramsSend(
            thread,
            batch.readUInt32LE(at),
            address,
            port,
            Buffer.concat([message, Buffer.from('?')]),
          );
          at += 16 + message.length;
        }
      },
      ownBytes,
      allBytes,
    );
    const { fd, port } = open();
    const id = native.datagramsAdd(thread, fd);
    const ask = async (own: number, text: string, to = port) => {
      client.send(asking(own, text), to, SERVER);
      const [reply] = (await once(client, 'message')) as [Buffer];
      return textOf(reply);
    };
    const keep = (
      asked: string,
      answer: string,
      of: Int32Array,
      stamp = native.datagramsForget(thread, undefined, new Uint32Array()),
    ) => native.datagramsKeep(thread, id, stamp, asking(0, asked), asking(0, answer), of);
    return { thread, id, port, seen, batches, ask, keep };
  };

  t.teardown(async () => {
    client.close();
    await world.end();
  });

  t.test('what is kept is answered by the thread, in the case of who asks; the rest is handed over', async (t) => {
    const { thread, id, seen, ask, keep } = serving();
    keep('Name-A', 'name-AANSWER', terms(5, { kind: 3 }));
    t.equal(await ask(7, 'nAmE-A'), '7 nAmE-AANSWER');
    t.equal(await ask(0xffff, 'NAME-A'), '65535 NAME-AANSWER');
    t.same(seen, []);
    t.equal(await ask(8, 'nAmE-a'), '8 nAmE-a?', 'behind the name every bit counts');
    t.equal(await ask(9, 'name-AA'), '9 name-AA?', 'and the length');
    t.equal(await ask(10, 'na\x0de-A'), '10 na\x0de-A?', 'bytes that are no letters have no case');
    t.match(native.datagramsCounts(thread, id), { hits: [0, 0, 0, 2], refused: 0 });
    keep('Name-A', 'name-ANEW', terms(5));
    t.equal(await ask(11, 'name-A'), '11 name-ANEW', 'the last one counts');
    native.datagramsStop(thread);
  });

  t.test('equal parts take turns', async (t) => {
    const { thread, ask, keep } = serving();
    keep('n', 'n<aabbcc>', terms(1, { turns: [14, 2, 3] }));
    const answers = [];
    for (let i = 0; i < 4; i++) answers.push(await ask(i, 'N'));
    t.same(answers, ['0 N<bbccaa>', '1 N<ccaabb>', '2 N<aabbcc>', '3 N<bbccaa>']);
    native.datagramsStop(thread);
  });

  t.test('messages of a stream are answered up to one that is not known or not whole', async (t) => {
    const { thread, id, keep } = serving();
    keep('a', 'a!', terms(1, { kind: 1 }));
    keep('b', 'bb!', terms(1));
    const framed = (message: Buffer) => Buffer.concat([Buffer.of(message.length >> 8, message.length), message]);
    const frames = (...texts: string[]) => Buffer.concat(texts.map((text, i) => framed(asking(i, text))));
    const stream = (bytes: Buffer) => native.datagramsStream(thread, id, bytes);
    t.same(stream(frames('A', 'b', 'c', 'a')), { answers: frames('A!', 'bb!'), taken: frames('a', 'b').length });
    const whole = frames('a', 'b');
    for (let cut = 0; cut < whole.length; cut++) {
      const first = cut < whole.length / 2 ? 0 : whole.length / 2;
      t.equal(stream(whole.subarray(0, cut)).taken, first, `${cut} bytes`);
    }
    t.equal(stream(Buffer.alloc(70)).taken, 0, 'empty messages are not known');
    const { hits, streamHits } = native.datagramsCounts(thread, id);
    t.same([hits[0], hits[1], streamHits[0], streamHits[1]], [0, 0, 1, 1 + whole.length / 2]);
    native.datagramsStop(thread);
  });

  t.test('what is forgotten is not answered any more, nor what was looked up before and kept late', async (t) => {
    const { thread, id, ask, keep } = serving();
    const old = native.datagramsForget(thread);
    for (const [name, tags] of [
      ['a', [1, 5]],
      ['b', [5]],
      ['c', [2]],
    ] as const)
      keep(name, `${name}!`, terms(1, { tags: [...tags] }));
    const all = async () =>
      [await ask(1, 'a'), await ask(1, 'b'), await ask(1, 'c')].map((text) => text.at(-1)).join('');
    t.equal(await all(), '!!!');
    native.datagramsForget(thread, undefined, Uint32Array.of(1, 77));
    t.equal(await all(), '?!!');
    keep('a', 'a!', terms(1, { tags: [1] }), old);
    keep('b', 'b!', terms(1, { tags: [3] }), old);
    t.equal(await all(), '?!!', 'late: one that changed since, one that did not');
    native.datagramsForget(thread, undefined, Uint32Array.of(3));
    t.equal(await all(), '??!');
    native.datagramsForget(thread, id);
    keep('c', 'c!', terms(1), old);
    t.equal(await all(), '???');
    keep('c', 'c!', terms(1));
    native.datagramsForget(thread);
    t.equal(await all(), '???');
    native.datagramsStop(thread);
  });

  t.test('seconds count down, and what has expired is gone', async (t) => {
    const { thread, ask, keep } = serving();
    // 0x30303232 seconds and a mark; a second later it is one less.
    keep('n', 'n0022', terms(1, { at: [13], ms: 0x7fffffff }));
    t.ok(await until(async () => (await ask(1, 'n')) === '1 n0021', 20_000));
    keep('m', 'm!', terms(1, { ms: 300 }));
    t.ok(await until(async () => (await ask(1, 'm')) === '1 m?', 20_000));
    native.datagramsStop(thread);
  });

  t.test('memory is bounded, of a socket and of all, and old entries give way', async (t) => {
    const { thread, id, port, ask, keep } = serving(64 * 1024, 100 * 1024);
    const other = native.datagramsAdd(thread, open().fd);
    const bytes = (of: number) => native.datagramsCounts(thread, of).bytes;
    for (let i = 0; i < 2000; i++) keep(`name ${i}`, `name ${i}!`, terms(0));
    t.ok(bytes(id) <= 64 * 1024 && bytes(id) > 32 * 1024, `${bytes(id)}`);
    t.equal(await ask(1, 'name 1999', port), '1 name 1999!');
    const stamp = native.datagramsForget(thread, undefined, new Uint32Array());
    for (let i = 0; i < 2000; i++) {
      native.datagramsKeep(thread, other, stamp, asking(0, `${i}`), asking(0, `${i}`), terms(0));
    }
    t.ok(bytes(id) + bytes(other) <= 100 * 1024, `${bytes(id)} ${bytes(other)}`);
    t.ok(bytes(id) > 32 * 1024, 'who holds less keeps its own');
    native.datagramsStop(thread);
  });

  t.test('the thread answers while the loop is busy, and what it cannot answer comes in one batch', async (t) => {
    const { thread, seen, batches, port, keep } = serving();
    keep('known', 'known!', terms(5));
    const script = `
      const socket = require('node:dgram').createSocket('udp4');
      const asking = (text) => Buffer.concat([Buffer.from('01'), Buffer.alloc(10, '='), Buffer.from(text)]);
      for (let i = 0; i < 20; i++) socket.send(asking('unknown'), ${port}, '${SERVER}');
      socket.send(asking('KNOWN'), ${port}, '${SERVER}');
      socket.on('message', (reply) => { process.stdout.write(reply.subarray(12)); socket.close(); });`;
    const args = [`--net=${join(world.dir, 'datagrams')}`, process.execPath, '-e', script];
    const { stdout } = spawnSync('nsenter', args, { encoding: 'utf8', timeout: 20_000 });
    t.equal(stdout, 'KNOWN!');
    t.same(seen, [], 'nothing ran here meanwhile');
    t.ok(await until(() => seen.length === 20));
    t.equal(batches.length, 1);
    native.datagramsStop(thread);
  });

  t.test('a socket of which too much waits is left alone until the loop is back, and loses nothing', async (t) => {
    const { thread, seen, port } = serving();
    const script = `
      const socket = require('node:dgram').createSocket('udp4');
      const big = Buffer.alloc(8000, 'x');
      let left = 80;
      const next = () => left-- > 0 ? socket.send(big, ${port}, '${SERVER}', next) : socket.close();
      next();`;
    const args = [`--net=${join(world.dir, 'datagrams')}`, process.execPath, '-e', script];
    spawnSync('nsenter', args, { timeout: 20_000 });
    t.ok(await until(() => seen.length === 80), `${seen.length}`);
    native.datagramsStop(thread);
  });

  t.test('wrong use is refused, and does no harm', async (t) => {
    const { thread, id, ask } = serving();
    const [a, b] = [asking(0, 'name'), asking(0, 'name!')];
    const keep =
      (of: Int32Array, asked = a, answer = b) =>
      () =>
        native.datagramsKeep(thread, id, 0, asked, answer, of);
    for (const wrong of [
      keep(terms(5)),
      keep(terms(-1)),
      keep(terms(1, { kind: 16 })),
      keep(terms(1, { turns: [13, 2, 3] })),
      keep(terms(1, { tags: [1, 2, 3, 4, 5, 6, 7] })),
      keep(terms(1, { at: [14] })),
      keep(terms(1), a.subarray(0, 11)),
      keep(terms(1), a, Buffer.alloc(4097)),
      keep(terms(0).subarray(0, 6)),
    ]) {
      t.match(thrownBy(wrong), { code: 'EINVAL' });
    }
    t.match(
      thrownBy(() => native.datagramsRemove(thread, id + 1)),
      { code: 'ENOENT' },
    );
    t.match(
      thrownBy(() => native.datagramsSend(thread, id, 0, 0, Buffer.alloc(65_508))),
      { code: 'EMSGSIZE' },
    );
    t.equal(await ask(3, 'name'), '3 name?');
    native.datagramsRemove(thread, id);
    native.datagramsSend(thread, id, 0x0b00007f, 53, b);
    native.datagramsStop(thread);
    native.datagramsStop(thread);
    t.match(
      thrownBy(() => native.datagramsCounts(thread, id)),
      { code: 'EBADF' },
    );
  });

  t.test('an environment may end with a thread at work', (t) => {
    const loader = new URL('../../src/kernel/real/native.js', import.meta.url);
    const script = `import { loadNative } from ${JSON.stringify(loader)}; const native = loadNative();
      const thread = native.datagramsStart(() => {}, 1, 1);
      native.datagramsAdd(thread, native.socketOpen(-1, { type: 'udp', family: 4, address: '127.0.0.1' }).fd);
      console.log('ends');`;
    const args = [
      '--net',
      'sh',
      '-c',
      'ip link set lo up; exec "$@"',
      'sh',
      process.execPath,
      '--input-type=module',
      '-e',
      script,
    ];
    const { stdout, status } = spawnSync('unshare', args, { encoding: 'utf8', timeout: 20_000 });
    t.same([stdout, status], ['ends\n', 0]);
    t.end();
  });
}
