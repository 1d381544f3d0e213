import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { ResolverClient } from '../../src/dns/client.js';
import { RCODE, RCODE_MASK } from '../../src/dns/constants.js';
import type { Applied } from '../../src/dns/protocol.js';
import { needs } from '../support/needs.js';
import { Asker, dig, ResolverWorld, resolverPath, run, view } from '../support/resolver-world.js';

if (needs(t, ['root', 'ip', 'dig', 'veth'])) {
  const world = new ResolverWorld();
  let client = new ResolverClient(world.clientOptions);
  t.teardown(async () => {
    client.close();
    await world.dispose();
  });
  await world.namespace('node');
  const c1 = await world.namespace('c1');
  await world.namespace('c2');
  let ports: Applied['sandboxes'];
  const udpOf = (name: string) => ports[name]?.udp ?? 0;

  const missing = world.path('missing');

  await client.connect();
  ports = (await client.sendView(view(world, 1))).sandboxes;

  t.test('patches follow one another, anything else asks for the whole view', async (t) => {
    await client.sendView(view(world, 10));
    const front = { internal: false, names: { web: { a: ['10.0.0.9'] } }, ptr: {} };
    t.match(await client.sendPatch({ revision: 11, networks: { front } }), { op: 'applied', revision: 11 });
    t.same((await dig(c1, udpOf('c1'), 'web')).answers, ['10.0.0.9']);
    t.same(await client.sendPatch({ revision: 11, networks: { front: null } }), { op: 'resync', revision: 11 });
    t.same(await client.sendPatch({ revision: 13 }), { op: 'resync', revision: 11 });
    await t.rejects(client.sendPatch({ revision: 12, networks: { front: null } }), { code: 'WEFT_INVALID_ARGUMENT' });
    await t.rejects(client.sendView(view(world, 12, { upstreams: ['nonsense'] })), { code: 'WEFT_INVALID_ADDRESS' });
    t.same((await dig(c1, udpOf('c1'), 'web')).answers, ['10.0.0.9'], 'what was refused changed nothing');
    const applied = await client.sendView(view(world, 12));
    t.same(applied.sandboxes, ports, 'ports stay');
  });

  t.test('no answer is of the view before, once the next is said to be in force; every one is counted', async (t) => {
    const asker = new Asker(c1, udpOf('c1'));
    t.teardown(() => asker.close());
    await client.sendView(view(world, 1));
    const before = (await client.status()).counters;
    t.equal((await asker.ask('nothing')).flags & RCODE_MASK, RCODE.NXDOMAIN);
    let asked = 1;
    for (let i = 1; i <= 100; i++) {
      const web = i % 20 ? { a: [`10.0.1.${i}`] } : null;
      const patch = { revision: i + 1, names: { front: { names: { web } } } };
      // What is asked meanwhile is answered as before or as after.
      const meanwhile = asker.ask('web');
      t.match(await client.sendPatch(patch), { op: 'applied' });
      await meanwhile;
      for (const name of ['web', 'WEB.front', 'wEb']) {
        const { answers } = await asker.ask(name);
        t.same(
          answers.map(({ data }) => ('address' in data ? data.address : '')),
          i % 20 ? [`10.0.1.${i}`] : [],
        );
      }
      asked += 4;
    }
    t.equal((await asker.ask('nothing')).flags & RCODE_MASK, RCODE.NXDOMAIN, 'kept through all of them');
    const { counters } = await client.status();
    const [was, is] = [before, counters].map(({ answered, nodata, nxdomain }) => answered + nodata + nxdomain);
    t.equal((is ?? 0) - (was ?? 0), asked + 1);
    t.equal(counters.udp - before.udp, asked + 1);
    await client.sendView(view(world, 1));
  });

  t.test('a lost agent costs no answer, and the next one finds the same ports', async (t) => {
    client.close();
    t.equal((await dig(c1, udpOf('c1'), 'web')).answers.length, 2);
    client = new ResolverClient(world.clientOptions);
    t.same(await client.connect(), { started: false });
    t.same((await client.sendView(view(world, 1))).sandboxes, ports);
  });

  t.test('a namespace that is missing fails its sandbox alone, until it is there', async (t) => {
    const late = { late: { netns: missing, networks: ['front'] } };
    const applied = await client.sendView(view(world, 2, {}, late));
    t.match(applied.errors.late, /missing/);
    t.same(Object.keys(applied.sandboxes).sort(), ['c1', 'c2']);
    await world.namespace('missing');
    const again = await client.sendPatch({ revision: 3 });
    if (again.op !== 'applied') throw new Error(again.op);
    t.same(again.errors, {});
    t.equal((await dig(missing, again.sandboxes.late?.udp ?? 0, 'web')).answers.length, 2);
    world.remove(missing);
    await world.namespace('missing');
    const reborn = await client.sendPatch({ revision: 4, sandboxes: late });
    if (reborn.op !== 'applied') throw new Error(reborn.op);
    t.not(reborn.sandboxes.late?.netns, again.sandboxes.late?.netns);
    t.equal((await dig(missing, reborn.sandboxes.late?.udp ?? 0, 'web')).answers.length, 2);
    t.same([reborn.sandboxes.c1, reborn.sandboxes.c2], [ports.c1, ports.c2]);
    const gone = await client.sendPatch({ revision: 5, sandboxes: { late: null } });
    t.match(gone, { op: 'applied', errors: {} });
    t.equal((await dig(missing, reborn.sandboxes.late?.udp ?? 0, 'web')).status, 'none', 'nobody listens');
    t.equal((await dig(c1, udpOf('c1'), 'web')).answers.length, 2);
  });

  t.test('lo that is down is told in words, and no obstacle once it is up', async (t) => {
    const down = await world.namespace('down', 'down');
    const ip = (...args: string[]) => run('nsenter', [`--net=${down}`, 'ip', ...args]);
    // Without any address the kernel has no local table yet and lets every address be bound.
    await ip('link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1');
    await ip('address', 'add', '10.9.0.1/24', 'dev', 'v0');
    await ip('link', 'set', 'v0', 'up');
    const applied = await client.sendView(view(world, 6, {}, { down: { netns: down, networks: ['front'] } }));
    t.match(applied.errors.down, /127\.0\.0\.11.*\(bring lo up in the namespace\)/);
    await ip('link', 'set', 'lo', 'up');
    const again = await client.sendPatch({ revision: 7 });
    if (again.op !== 'applied') throw new Error(again.op);
    t.equal((await dig(down, again.sandboxes.down?.udp ?? 0, 'web')).answers.length, 2);
    await client.sendView(view(world, 7));
  });

  t.test('nor is lo that comes up after the socket was bound, where there was no address at all', async (t) => {
    const fresh = await world.namespace('fresh', 'down');
    const named = { fresh: { netns: fresh, networks: ['front'] } };
    const applied = await client.sendView(view(world, 8, {}, named));
    t.match(applied.errors.fresh, /127\.0\.0\.11.*\(bring lo up in the namespace\)/);
    await run('nsenter', [`--net=${fresh}`, 'ip', 'link', 'set', 'lo', 'up']);
    const again = await client.sendPatch({ revision: 9 });
    if (again.op !== 'applied') throw new Error(again.op);
    t.equal((await dig(fresh, again.sandboxes.fresh?.udp ?? 0, 'web')).answers.length, 2);
    await client.sendView(view(world, 7));
  });

  t.test('a second resolver on the same run directory ends with a clear message', async (t) => {
    const second = await run(process.execPath, [resolverPath, '--run-dir', world.runDir]).catch((error) => error);
    t.match(second, { code: 1, stderr: /WEFT_IN_USE another resolver listens on/ });
    t.equal((await dig(c1, udpOf('c1'), 'web')).answers.length, 2);
    t.same((await client.status()).revision, 7);
  });

  t.test('usage errors', async (t) => {
    for (const args of [[], ['--run-dir'], ['--nonsense'], ['--run-dir', world.runDir, '--log-level', 'loud']]) {
      t.match(await run(process.execPath, [resolverPath, ...args]).catch((error) => error), {
        code: 2,
        stderr: /^WEFT_INVALID_ARGUMENT/,
      });
    }
    const away = await run(process.execPath, [resolverPath, '--run-dir', world.path('nowhere')]).catch(
      (error) => error,
    );
    t.match(away, { code: 1, stderr: /^WEFT_UNAVAILABLE cannot listen/ });
  });

  t.test('a killed resolver is noticed and replaced', async (t) => {
    const { pid } = await client.status();
    const lost = once(client, 'disconnect');
    process.kill(pid, 'SIGKILL');
    await lost;
    await t.rejects(client.status(), { code: 'WEFT_UNAVAILABLE' });
    t.same(await client.connect(), { started: true }, 'over the socket file that the killed one left');
    ports = (await client.sendView(view(world, 1))).sandboxes;
    t.equal((await dig(c1, udpOf('c1'), 'web')).answers.length, 2);
  });

  t.test('two that start together: one serves, both clients reach it', async (t) => {
    const pid = (await client.status()).pid;
    const lost = once(client, 'disconnect');
    process.kill(pid, 'SIGKILL');
    await lost;
    const other = new ResolverClient(world.clientOptions);
    await Promise.all([client.connect(), other.connect()]);
    t.equal((await client.status()).pid, (await other.status()).pid);
    other.close();
    // The loser may take its time to start; it must not find the place empty once the next test has ended the winner.
    const log = () => readFileSync(world.logFile, 'utf8');
    for (let i = 0; i < 500 && !log().includes('WEFT_IN_USE'); i++) await sleep(10);
    t.match(log(), /WEFT_IN_USE another resolver listens/);
  });

  t.test('SIGTERM ends it and leaves no file', async (t) => {
    const lost = once(client, 'disconnect');
    process.kill((await client.status()).pid, 'SIGTERM');
    await lost;
    for (let i = 0; i < 100 && existsSync(join(world.runDir, 'resolver.pid')); i++) await sleep(10);
    t.notOk(existsSync(join(world.runDir, 'resolver.sock')));
    t.notOk(existsSync(join(world.runDir, 'resolver.pid')));
  });

  t.test('where it cannot be started the agent is told', async (t) => {
    const broken = new ResolverClient({ ...world.clientOptions, command: [world.path('no-such-program')] });
    await t.rejects(broken.connect(), { code: 'WEFT_UNAVAILABLE', message: /ENOENT/ });
  });
}
