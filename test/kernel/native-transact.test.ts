import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { loadNative } from '../../src/kernel/real/native.js';
import {
  attribute,
  dumpLinks,
  errnoOf,
  message,
  messages,
  NETLINK_ROUTE,
  NLM_F_ACK,
  NLM_F_CAPPED,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  neighbour,
  neighbours,
  newLink,
  RTM_GETLINK,
  RTM_GETNEIGH,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTNLGRP_LINK,
  thrownBy,
  u32,
  unanswered,
  until,
  World,
} from '../support/native-world.js';
import { needs } from '../support/needs.js';

const ENODEV = 19;

/** The error code of each call, '' where it succeeded. */
function codes(calls: Promise<unknown>[]): Promise<string[]> {
  const code = (error: { code?: string }) => error.code ?? '';
  return Promise.all(calls.map((call) => call.then(() => '', code)));
}

if (needs(t, ['root', 'bridge', 'vxlan', 'veth', 'ip'])) {
  const native = loadNative();
  const world = new World(native);
  t.teardown(() => world.end());

  t.test('a dump, on both paths', async (t) => {
    const { fd } = await world.bridged('dump');
    const socket = world.rtnetlink(fd);
    for (const reply of [
      native.nlTransactSync(socket, dumpLinks(7), 1000),
      await native.nlTransact(socket, dumpLinks(8), 1000),
    ]) {
      const types = messages(reply).map((each) => each.type);
      t.strictSame(types, [RTM_NEWLINK, RTM_NEWLINK, NLMSG_DONE]);
    }
    const own = native.nlPortId(socket);
    t.ok(
      messages(native.nlTransactSync(socket, dumpLinks(9), 1000)).every((each) => each.seq === 9 && each.pid === own),
    );
    t.ok(own > 0x3fffffff && own < 0x80000000 && own !== native.nlPortId(world.rtnetlink(fd)), 'no pid');
    native.nlClose(socket);
  });

  t.test('a request for one object ends with its acknowledgement', async (t) => {
    const { fd, ifindex } = await world.bridged('one');
    const socket = world.rtnetlink(fd);
    const body = Buffer.alloc(16);
    body.writeInt32LE(ifindex, 4);
    const get = message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK, 1, body);
    const types = messages(native.nlTransactSync(socket, get, 1000)).map((each) => each.type);
    t.strictSame(types, [RTM_NEWLINK, NLMSG_ERROR]);
    native.nlClose(socket);
  });

  t.test("the kernel's own words reach the caller", async (t) => {
    const socket = world.rtnetlink(world.netns('extack'));
    const add = newLink(1, 'vx0', 'vxlan', attribute(1, u32(1 << 24)));
    const [refusal] = messages(await native.nlTransact(socket, add, 1000));
    t.equal(refusal && errnoOf(refusal), 34, 'ERANGE');
    t.match(String(refusal?.body), /VXLAN ID must be lower than 16777216/);
    t.equal(refusal && refusal.flags & NLM_F_CAPPED, NLM_F_CAPPED, 'the request is not echoed');
    native.nlClose(socket);
  });

  t.test('strict checking of requests is on', async (t) => {
    const socket = world.rtnetlink(world.netns('strict'));
    const body = Buffer.alloc(12);
    body.writeUInt8(1, 11); // ndm_type, which a dump request must leave 0
    const [refusal] = messages(
      native.nlTransactSync(socket, message(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, 1, body), 1000),
    );
    t.equal(refusal && errnoOf(refusal), 22);
    native.nlClose(socket);
  });

  t.test('a batch of 1000 where one fails: the others are applied, the failure is named', async (t) => {
    const { fd, ifindex } = await world.bridged('batch');
    const socket = world.rtnetlink(fd);
    const failing = (i: number) => (i === 617 ? 99 : ifindex);
    for (const first of [1, 5001]) {
      const reply = await native.nlTransact(socket, neighbours(1000, failing, first), 5000);
      const answers = messages(reply).map((each) => [each.type, each.seq, errnoOf(each)]);
      t.strictSame(answers, [
        [NLMSG_ERROR, first + 617, ENODEV],
        [NLMSG_ERROR, first + 999, 0],
      ]);
    }
    const rows = messages(
      native.nlTransactSync(socket, message(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, 9000, Buffer.alloc(12)), 5000),
    );
    t.equal(rows.filter((each) => each.type === RTM_NEWNEIGH && each.body.readUInt16LE(8) === 0x80).length, 999);
    native.nlClose(socket);
  });

  t.test('a batch whose last answer cannot come ends with the failure of an earlier message', async (t) => {
    const { fd } = await world.bridged('cut');
    const socket = world.rtnetlink(fd);
    const start = Date.now();
    const reply = native.nlTransactSync(socket, Buffer.concat([neighbour(1, NLM_F_ACK, 99, 1), unanswered(2)]), 5000);
    t.strictSame(messages(reply).map(errnoOf), [ENODEV]);
    t.ok(Date.now() - start < 2000);
    native.nlClose(socket);
  });

  t.test('a failure after the last acknowledgement is not missed', async (t) => {
    const { fd, ifindex } = await world.bridged('trailing');
    const socket = world.rtnetlink(fd);
    const sent = Buffer.concat([
      neighbour(1, NLM_F_ACK, ifindex, 1),
      neighbour(2, 0, 99, 2),
      neighbour(3, 0, ifindex, 3),
    ]);
    const answers = messages(await native.nlTransact(socket, sent, 1000)).map((each) => [each.seq, errnoOf(each)]);
    t.strictSame(answers, [
      [1, 0],
      [2, ENODEV],
    ]);
    native.nlClose(socket);
  });

  t.test('replies of an older batch are dropped', async (t) => {
    const { fd, ifindex } = await world.bridged('older');
    const socket = world.rtnetlink(fd);
    // The dump goes on as it is read, after the acknowledgement that ends the batch: its end is left over.
    native.nlTransactSync(socket, Buffer.concat([dumpLinks(1), neighbour(2, NLM_F_ACK, ifindex, 1)]), 1000);
    t.strictSame(
      messages(native.nlTransactSync(socket, neighbour(3, NLM_F_ACK, ifindex, 2), 1000)).map((each) => each.seq),
      [3],
    );
    native.nlClose(socket);
  });

  t.test('500 calls at once on one socket are answered in order, each with its own reply', async (t) => {
    const { fd, ifindex } = await world.bridged('many');
    const socket = world.rtnetlink(fd);
    const order: number[] = [];
    const calls = Array.from({ length: 500 }, (_, i) => {
      const sent = i % 7 === 0 ? dumpLinks(i + 1) : neighbour(i + 1, NLM_F_ACK, i % 5 === 0 ? 99 : ifindex, i + 1);
      const reply = native.nlTransact(socket, sent, 5000).then((bytes) => {
        order.push(i);
        return messages(bytes);
      });
      sent.fill(0xff); // the batch was copied
      return reply;
    });
    const sync = messages(native.nlTransactSync(socket, dumpLinks(1000), 5000));
    t.ok(sync.length > 2 && sync.every((each) => each.seq === 1000), 'a synchronous call among them');
    const replies = await Promise.all(calls);
    t.ok(replies.every((reply, i) => reply.length > 0 && reply.every((each) => each.seq === i + 1)));
    t.ok(replies.every((reply, i) => i % 7 === 0 || reply.map(errnoOf)[0] === (i % 5 === 0 ? ENODEV : 0)));
    t.strictSame(
      order,
      Array.from({ length: 500 }, (_, i) => i),
    );
    native.nlClose(socket);
  });

  t.test('a waiting socket does not hold up others', async (t) => {
    const waiting = Array.from({ length: 3 }, () => world.rtnetlink(-1));
    const held = codes(waiting.map((socket) => native.nlTransact(socket, unanswered(1), 2000)));
    const other = world.rtnetlink(-1);
    const start = Date.now();
    await native.nlTransact(other, dumpLinks(1), 1000);
    t.ok(Date.now() - start < 1000);
    for (const socket of [...waiting, other]) native.nlClose(socket);
    t.strictSame(await held, Array(3).fill('ECANCELED'));
  });

  t.test('time-outs leave a socket that works', async (t) => {
    const socket = world.rtnetlink(-1);
    const start = Date.now();
    t.match(
      thrownBy(() => native.nlTransactSync(socket, unanswered(1), 100)),
      { code: 'ETIMEDOUT', errno: 110 },
    );
    await t.rejects(native.nlTransact(socket, unanswered(2), 100), { code: 'ETIMEDOUT', message: /^nlTransact: / });
    t.ok(Date.now() - start >= 195);
    t.ok(messages(native.nlTransactSync(socket, dumpLinks(3), 1000)).every((each) => each.seq === 3));
    const held = native.nlTransact(socket, unanswered(4), 500);
    await sleep(50); // under way
    t.match(
      thrownBy(() => native.nlTransactSync(socket, dumpLinks(5), 100)),
      { code: 'ETIMEDOUT' },
      'the socket is taken',
    );
    t.ok(native.nlTransactSync(socket, dumpLinks(6), 5000).length > 0, 'waits for the one under way');
    await t.rejects(held, { code: 'ETIMEDOUT' });
    native.nlClose(socket);
  });

  t.test('lost replies reject with ENOBUFS, and the next call gets its own reply', async (t) => {
    const { fd, ifindex } = await world.bridged('enobufs');
    const socket = world.rtnetlink(fd, 1 << 20);
    const small = native.nlOpen(fd, NETLINK_ROUTE, 4096);
    const sent = Buffer.concat(Array.from({ length: 30 }, (_, i) => neighbour(i + 1, NLM_F_ACK, ifindex, i + 1)));
    await t.rejects(native.nlTransact(small, sent, 1000), { code: 'ENOBUFS', errno: 105 });
    t.strictSame(
      messages(await native.nlTransact(small, neighbour(100, NLM_F_ACK, ifindex, 1), 1000)).map((each) => each.seq),
      [100],
    );
    await t.rejects(
      native.nlTransact(
        small,
        neighbours(1000, () => ifindex, 200),
        1000,
      ),
      { code: 'EMSGSIZE' },
    );
    native.nlClose(small);
    native.nlClose(socket);
  });

  t.test('a dump that was broken off does not make the next one fail', async (t) => {
    const { fd, ifindex } = await world.bridged('broken-off');
    const socket = world.rtnetlink(fd);
    await native.nlTransact(
      socket,
      neighbours(3000, () => ifindex),
      5000,
    );
    native.nlClose(socket);
    const dump = (seq: number) => message(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, seq, Buffer.alloc(12));
    const small = native.nlOpen(fd, NETLINK_ROUTE, 4096);
    const overflowing = Buffer.concat([
      dump(1),
      ...Array.from({ length: 30 }, (_, i) => neighbour(i + 2, NLM_F_ACK, ifindex, i + 1)),
    ]);
    await t.rejects(native.nlTransact(small, overflowing, 1000), { code: 'ENOBUFS' });
    const rows = messages(await native.nlTransact(small, dump(100), 5000));
    t.equal(rows.filter((each) => each.type === RTM_NEWNEIGH && each.body.readUInt16LE(8) === 0x80).length, 3000);
    t.ok(rows.every((each) => each.seq === 100));
    native.nlClose(small);
  });

  t.test('closing', async (t) => {
    const { fd } = await world.bridged('closing');
    const witness = world.netns('closing-witness');
    await world.must(witness, `ip link add v0 type veth peer name v0 netns /proc/${process.pid}/fd/${fd}`);
    const socket = world.rtnetlink(fd);
    const monitor = native.monitorStart(() => undefined, {});
    const source = native.monitorAdd(monitor, fd, NETLINK_ROUTE, [RTNLGRP_LINK]);
    const calls = codes([1, 2, 3].map((seq) => native.nlTransact(socket, unanswered(seq), 60_000)));
    await sleep(50);
    native.nlClose(socket);
    native.nlClose(socket);
    t.strictSame(await calls, Array(3).fill('ECANCELED'), 'the one under way and those queued');
    t.match(
      thrownBy(() => native.nlTransact(socket, dumpLinks(1), 1000)),
      { code: 'EBADF' },
    );
    native.monitorRemove(monitor, source);
    world.close(fd);
    native.netnsDelete(`${world.dir}/closing`);
    t.ok(await until(async () => (await world.run(witness, 'ip link show v0')).code !== 0), 'holds no namespace alive');
    native.monitorStop(monitor);
  });

  t.test('what cannot be used is refused before anything is sent', (t) => {
    const socket = world.rtnetlink(-1);
    const truncated = dumpLinks(1).subarray(0, 20);
    const short = dumpLinks(1);
    short.writeUInt32LE(8, 0);
    const descending = Buffer.concat([dumpLinks(2), dumpLinks(1)]);
    for (const bytes of [truncated, short, descending, Buffer.alloc(0), Buffer.alloc(3), neighbour(1, 0, 2, 1)]) {
      t.match(
        thrownBy(() => native.nlTransactSync(socket, bytes, 1000)),
        { code: 'EINVAL' },
      );
      t.match(
        thrownBy(() => native.nlTransact(socket, bytes, 1000)),
        { code: 'EINVAL' },
      );
    }
    for (const timeout of [0, -1, 1.5, Number.NaN, 2 ** 31]) {
      t.match(
        thrownBy(() => native.nlTransactSync(socket, dumpLinks(1), timeout)),
        { code: 'EINVAL' },
      );
    }
    t.match(
      thrownBy(() => Reflect.apply(native.nlPortId, native, [{}])),
      { code: 'EINVAL' },
    );
    t.match(
      thrownBy(() => Reflect.apply(native.monitorStop, native, [socket])),
      { code: 'EINVAL' },
      'a socket is no monitor',
    );
    t.match(
      thrownBy(() => native.nlOpen(9999, 0, 4096)),
      { code: 'EBADF' },
    );
    t.match(
      thrownBy(() => native.nlOpen(-1, 31, 4096)),
      { code: 'EPROTONOSUPPORT' },
    );
    t.match(
      thrownBy(() => native.nlOpen(-1, 0, 0)),
      { code: 'EINVAL' },
    );
    native.nlClose(socket);
    t.end();
  });
}
