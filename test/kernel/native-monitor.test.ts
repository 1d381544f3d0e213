import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { loadNative, type MonitorRecord } from '../../src/kernel/real/native.js';
import {
  attribute,
  errnoOf,
  message,
  messages,
  NETLINK_ROUTE,
  NLM_F_ACK,
  NLM_F_REQUEST,
  neighbour,
  neighbours,
  RTM_NEWNEIGH,
  RTM_NEWNSID,
  RTNLGRP_LINK,
  RTNLGRP_NEIGH,
  thrownBy,
  u32,
  until,
  World,
} from '../support/native-world.js';
import { needs } from '../support/needs.js';

const loader = fileURLToPath(new URL('../../src/kernel/real/native.js', import.meta.url));

/** A node of its own that runs `body` around `native`, an unconnected monitor `m` on links of its namespace. */
function program(body: string) {
  const script = `import { loadNative } from ${JSON.stringify(loader)}; const native = loadNative();
    const add = (m) => native.monitorAdd(m, -1, 0, [1]); ${body}`;
  const args = ['--net', process.execPath, '--input-type=module', '-e', script];
  return spawnSync('unshare', args, { encoding: 'utf8', timeout: 20_000 });
}

if (needs(t, ['root', 'bridge', 'ip'])) {
  const native = loadNative();
  const world = new World(native);
  t.teardown(() => world.end());

  t.test('notifications, with our own left out', async (t) => {
    const { fd, ifindex } = await world.bridged('monitor');
    const socket = world.rtnetlink(fd);
    const other = world.rtnetlink(fd);
    const seen: MonitorRecord[] = [];
    const monitor = native.monitorStart((records) => seen.push(...records), {});
    const id = native.monitorAdd(monitor, fd, NETLINK_ROUTE, [RTNLGRP_LINK, RTNLGRP_NEIGH]);
    native.monitorIgnore(monitor, [native.nlPortId(socket)]);
    native.nlTransactSync(socket, neighbour(1, NLM_F_ACK, ifindex, 1), 1000);
    native.nlTransactSync(other, neighbour(1, NLM_F_ACK, ifindex, 2), 1000);
    t.ok(await until(() => seen.length > 0));
    await sleep(50);
    const got = seen.flatMap((record) => messages(record.bytes ?? Buffer.alloc(0)));
    t.strictSame(
      got.map((each) => [each.type, each.pid]),
      [[RTM_NEWNEIGH, native.nlPortId(other)]],
    );
    t.ok(seen.every((record) => record.id === id && record.nsid === -1));
    native.monitorIgnore(monitor, []);
    native.nlTransactSync(socket, neighbour(2, NLM_F_ACK, ifindex, 3), 1000);
    t.ok(await until(() => seen.length > 1), 'the set was replaced');
    native.monitorRemove(monitor, id);
    t.match(
      thrownBy(() => native.monitorRemove(monitor, id)),
      { code: 'ENOENT' },
    );
    const before = seen.length;
    native.nlTransactSync(socket, neighbour(3, NLM_F_ACK, ifindex, 4), 1000);
    await sleep(100);
    t.equal(seen.length, before);
    native.monitorStop(monitor);
    native.monitorStop(monitor);
    t.match(
      thrownBy(() => native.monitorAdd(monitor, fd, NETLINK_ROUTE, [1])),
      { code: 'EBADF' },
    );
    t.match(
      thrownBy(() => native.monitorStart(() => undefined, { maxPendingBytes: 0 })),
      { code: 'EINVAL' },
    );
    for (const each of [socket, other]) native.nlClose(each);
  });

  t.test('another namespace is heard through its nsid', async (t) => {
    const { fd: listening } = await world.bridged('nsid-here');
    const { fd: heard, ifindex } = await world.bridged('nsid-there');
    const here = world.rtnetlink(listening);
    const there = world.rtnetlink(heard);
    const assign = Buffer.concat([Buffer.alloc(4), attribute(1, u32(4711)), attribute(3, u32(heard))]);
    t.strictSame(
      messages(native.nlTransactSync(here, message(RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK, 1, assign), 1000)).map(
        errnoOf,
      ),
      [0],
    );
    const seen: MonitorRecord[] = [];
    const monitor = native.monitorStart((records) => seen.push(...records), {});
    native.monitorAdd(monitor, listening, NETLINK_ROUTE, [RTNLGRP_NEIGH], true);
    native.nlTransactSync(there, neighbour(1, NLM_F_ACK, ifindex, 1), 1000);
    native.nlTransactSync(here, neighbour(2, NLM_F_ACK, ifindex, 1), 1000);
    t.ok(await until(() => seen.length === 2));
    t.strictSame(
      seen.map((record) => [record.nsid, messages(record.bytes ?? Buffer.alloc(0))[0]?.type]),
      [
        [4711, RTM_NEWNEIGH],
        [-1, RTM_NEWNEIGH],
      ],
    );
    native.monitorStop(monitor);
    for (const each of [here, there]) native.nlClose(each);
  });

  t.test('a burst that the socket cannot hold is reported as lost', async (t) => {
    const { fd, ifindex } = await world.bridged('burst');
    const socket = world.rtnetlink(fd);
    const seen: MonitorRecord[] = [];
    const monitor = native.monitorStart((records) => seen.push(...records), { rcvbufBytes: 4096 });
    const id = native.monitorAdd(monitor, fd, NETLINK_ROUTE, [RTNLGRP_NEIGH]);
    await native.nlTransact(
      socket,
      neighbours(5000, () => ifindex),
      5000,
    );
    t.ok(await until(() => seen.some((record) => record.lost && record.id === id)));
    await sleep(50);
    const before = seen.length;
    native.nlTransactSync(socket, neighbour(9000, NLM_F_ACK, ifindex, 9000), 1000);
    t.ok(await until(() => seen.length > before), 'and it goes on');
    native.monitorStop(monitor);
    native.nlClose(socket);
  });

  t.test('a burst that fits arrives whole, in few callbacks', async (t) => {
    const { fd, ifindex } = await world.bridged('whole');
    const socket = world.rtnetlink(fd);
    let callbacks = 0;
    let arrived = 0;
    const monitor = native.monitorStart(
      (records) => {
        callbacks++;
        for (const record of records) arrived += messages(record.bytes ?? Buffer.alloc(0)).length;
      },
      { rcvbufBytes: 32 << 20 },
    );
    native.monitorAdd(monitor, fd, NETLINK_ROUTE, [RTNLGRP_NEIGH]);
    await native.nlTransact(
      socket,
      neighbours(5000, () => ifindex),
      5000,
    );
    t.ok(await until(() => arrived === 5000), `${arrived} of 5000`);
    t.ok(callbacks < 2500, `${callbacks} callbacks`);
    native.monitorStop(monitor);
    native.nlClose(socket);
  });

  t.test('a loop that does not keep up stops the reading', async (t) => {
    const { fd, ifindex } = await world.bridged('pressure');
    const socket = world.rtnetlink(fd);
    const sizes: number[] = [];
    let lost = 0;
    const monitor = native.monitorStart(
      (records) => {
        for (const record of records) {
          sizes.push(record.bytes?.length ?? 0);
          if (record.lost) lost++;
        }
      },
      { maxPendingBytes: 10_000, rcvbufBytes: 50_000 },
    );
    native.monitorAdd(monitor, fd, NETLINK_ROUTE, [RTNLGRP_NEIGH]);
    const sum = () => sizes.reduce((a, b) => a + b, 0);
    // One by one, so that the thread could keep up; the loop is busy meanwhile.
    for (let seq = 1; seq <= 2000; seq++) native.nlTransactSync(socket, neighbour(seq, NLM_F_ACK, ifindex, seq), 5000);
    t.equal(sum(), 0);
    t.ok(await until(() => lost > 0));
    await sleep(50);
    t.ok(sum() > 0 && sum() < 60_000, `${sum()} bytes of about 150,000`);
    const before = sum();
    native.nlTransactSync(socket, neighbour(9000, NLM_F_ACK, ifindex, 9000), 1000);
    t.ok(await until(() => sum() > before), 'and it goes on');
    native.monitorStop(monitor);
    native.nlClose(socket);
  });

  t.test('a monitor does not keep the process alive, a transaction does', (t) => {
    const idle = program('add(native.monitorStart(() => {}, {}));');
    t.match(idle, { status: 0, stderr: '' });
    const pending = program(`
      const noop = Buffer.alloc(16); noop.writeUInt32LE(16); noop.writeUInt16LE(1, 4); noop.writeUInt16LE(0x301, 6);
      native.nlTransact(native.nlOpen(-1, 0, 4096), noop, 300).catch((error) => console.log(error.code));`);
    t.match(pending, { status: 0, stdout: 'ETIMEDOUT\n', stderr: '' });
    t.end();
  });

  t.test('process.exit does not wait for transactions and programs', (t) => {
    const start = Date.now();
    const ended = program(`
      const noop = Buffer.alloc(16); noop.writeUInt32LE(16); noop.writeUInt16LE(1, 4); noop.writeUInt16LE(0x301, 6);
      native.nlTransact(native.nlOpen(-1, 0, 4096), noop, 15000).catch(() => {});
      native.exec(-1, ['true'], null, undefined, 15000).then(() => process.exit(7));`);
    t.equal(ended.status, 7);
    t.ok(Date.now() - start < 5000);
    t.end();
  });

  t.test('an exception of the callback is an uncaught exception, and the monitor goes on', (t) => {
    const thrown = program(`
      let calls = 0;
      process.on('uncaughtException', (error) => console.log(error.message));
      const m = native.monitorStart(() => { calls++; if (calls === 1) throw new Error('from the callback'); process.exit(4); }, {});
      add(m);
      const flip = (state) => native.exec(-1, ['ip', 'link', 'set', 'lo', state], null, undefined, 5000);
      await flip('up');
      await new Promise((done) => setTimeout(done, 100));
      await flip('down');
      setTimeout(() => process.exit(1), 5000);`);
    t.match(thrown, { status: 4, stdout: 'from the callback\n' });
    t.end();
  });
}
