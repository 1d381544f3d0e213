import test from 'ava';
import fc from 'fast-check';
import { Writer } from '../../src/base/bytes.js';
import {
  ack,
  endOf,
  errnoName,
  isDumpInterrupted,
  type Message,
  message,
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP_INTR,
  NLM_F_MULTI,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  parseMessages,
  rowsIn,
} from '../../src/codec/netlink.js';
import { netlinkError } from '../../src/codec/netlink-error.js';
import { RTM_GETRULE, writeRuleDump } from '../../src/codec/rtnl/rule.js';
import { exchange } from '../support/netlink-golden.js';

function answer(type: number, flags: number, body: string): Message {
  return { type, flags, seq: 1, pid: 1, body: Buffer.from(body, 'hex') };
}

/** i32 −17, then the header of a refused request of 24 bytes. */
const REFUSED = 'efffffff' + '18000000' + '10000500' + '01000000' + '00000000';

test('a message is header, body and padding', (t) => {
  const w = new Writer(4);
  message(w, { type: 16, flags: NLM_F_REQUEST | NLM_F_ACK, seq: 0x01020304 }, (w, n) => w.u8(n), 0xaa);
  t.is(w.done().toString('hex'), `11000000${'1000'}${'0500'}${'04030201'}${'00000000'}aa000000`);
});

test('a batch is read back message by message', (t) => {
  const one = fc.record({
    type: fc.nat(0xffff),
    flags: fc.nat(0xffff),
    seq: fc.nat(0xffffffff),
    body: fc.uint8Array(),
  });
  fc.assert(
    fc.property(fc.array(one), (messages) => {
      const w = new Writer();
      for (const m of messages) message(w, m, (w, body) => w.raw(body), m.body);
      const read = [...parseMessages(w.done())].map(({ body, ...m }) => ({ ...m, body: Uint8Array.from(body) }));
      t.deepEqual(
        read,
        messages.map((m) => ({ ...m, pid: 0 })),
      );
    }),
  );
});

test('a refused value leaves the batch as it was', (t) => {
  const w = new Writer();
  message(w, { type: RTM_GETRULE, flags: NLM_F_REQUEST, seq: 1 }, writeRuleDump, { family: 2 });
  const before = w.done().toString('hex');
  const refused = () => message(w, { type: 32, flags: NLM_F_REQUEST, seq: 2 }, writeRuleDump, { family: 300 });
  t.throws(refused, { code: 'WEFT_INVALID_ARGUMENT' });
  t.is(w.done().toString('hex'), before);
});

test('lengths that do not fit are refused with their place', (t) => {
  const parse = (hex: string) => () => [...parseMessages(Buffer.from(hex, 'hex'))];
  const empty = '10000000' + '03000000' + '00000000' + '00000000';
  const tooShort = '0f000000' + '03000000' + '00000000' + '00000000';
  t.throws(parse(`${empty}${tooShort}`), {
    code: 'WEFT_INTERNAL',
    message: 'netlink: a message at offset 16 claims 15 bytes of 16',
  });
  t.throws(parse('11000000' + '03000000' + '00000000' + '00000000'), {
    message: 'netlink: a message at offset 0 claims 17 bytes of 16',
  });
  t.throws(parse(`${empty}00`), { message: 'netlink: 1 stray bytes at offset 16' });
});

test('acknowledgements', (t) => {
  t.deepEqual(ack(answer(NLMSG_ERROR, NLM_F_CAPPED, `00000000${REFUSED.slice(8)}`)), { errno: 0 });
  t.deepEqual(ack(answer(NLMSG_ERROR, NLM_F_CAPPED, REFUSED)), { errno: 17 });
  // Not capped: the 8 bytes after the header of the request come back too.
  t.deepEqual(ack(answer(NLMSG_ERROR, 0, `${REFUSED}0000000000000000`)), { errno: 17 });
});

test('the extended acknowledgement, after a capped and after a repeated request', (t) => {
  const extended =
    '07000100' + '6e6f0000' + '08000200' + '14000000' + '08000500' + '03000000' + '08000600' + '20000000';
  const expected = { errno: 17, text: 'no', offset: 20, missType: 3, missNest: 32 };
  t.deepEqual(ack(answer(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, REFUSED + extended)), expected);
  t.deepEqual(ack(answer(NLMSG_ERROR, NLM_F_ACK_TLVS, `${REFUSED}ffffffffffffffff${extended}`)), expected);
  // Without the flag the rest is not ours to read.
  t.deepEqual(ack(answer(NLMSG_ERROR, NLM_F_CAPPED, REFUSED + extended)), { errno: 17 });
});

test('the end of a dump', (t) => {
  t.deepEqual(ack(answer(NLMSG_DONE, NLM_F_MULTI, '00000000')), { errno: 0 });
  t.deepEqual(ack(answer(NLMSG_DONE, NLM_F_MULTI, '')), { errno: 0 });
  const refused = 'eaffffff' + '07000100' + '6e6f0000';
  t.deepEqual(ack(answer(NLMSG_DONE, NLM_F_MULTI | NLM_F_ACK_TLVS, refused)), { errno: 22, text: 'no' });
});

test('other messages are no acknowledgement', (t) => {
  t.throws(() => ack(answer(16, 0, '00000000')), { code: 'WEFT_INTERNAL' });
});

test('an interrupted dump shows in any of its messages', (t) => {
  t.true(isDumpInterrupted(answer(16, NLM_F_MULTI | NLM_F_DUMP_INTR, '')));
  const { answers } = exchange('rule', 'ip rule show');
  t.false(answers.some(isDumpInterrupted));
});

test('how a dump came out is told by its headers, its rows are the rest', (t) => {
  const dump = (...parts: [type: number, flags: number, body: string][]) => {
    const w = new Writer();
    for (const [type, flags, body] of parts)
      message(w, { type, flags, seq: 7 }, (to, bytes) => to.raw(bytes), Buffer.from(body, 'hex'));
    return w.done();
  };
  const row = [28, NLM_F_MULTI, 'aabbcc'] as const;
  const whole = dump([...row], [28, NLM_F_MULTI, ''], [NLMSG_DONE, NLM_F_MULTI, '00000000']);
  t.deepEqual(endOf(whole), { disturbed: false, answer: { errno: 0 } });
  t.deepEqual(
    [...rowsIn(whole)].map(({ type, body }) => [type, Buffer.from(body).toString('hex')]),
    [
      [28, 'aabbcc'],
      [28, ''],
    ],
  );
  for (const disturbed of [
    dump([...row], [28, NLM_F_MULTI | NLM_F_DUMP_INTR, ''], [NLMSG_DONE, NLM_F_MULTI, '00000000']),
    dump([...row], [NLMSG_DONE, NLM_F_MULTI | NLM_F_DUMP_INTR, '00000000']),
  ])
    t.true(endOf(disturbed).disturbed);
  t.deepEqual(endOf(dump([NLMSG_DONE, NLM_F_MULTI, 'eaffffff'])), { disturbed: false, answer: { errno: 22 } });
  t.deepEqual(endOf(dump([...row])), { disturbed: false });
  const torn = whole.subarray(0, 18);
  t.throws(() => endOf(torn), {
    code: 'WEFT_INTERNAL',
    message: 'netlink: a message at offset 0 claims 19 bytes of 18',
  });
  t.throws(() => [...rowsIn(torn)], { code: 'WEFT_INTERNAL' });
});

test('errno names', (t) => {
  const names = { 1: 'EPERM', 2: 'ENOENT', 3: 'ESRCH', 11: 'EAGAIN', 17: 'EEXIST', 19: 'ENODEV', 22: 'EINVAL' };
  for (const [n, name] of Object.entries(names)) t.is(errnoName(Number(n)), name);
  t.is(errnoName(35), 'EDEADLK');
  t.is(errnoName(95), 'EOPNOTSUPP');
  t.is(errnoName(105), 'ENOBUFS');
  t.is(errnoName(524), 'ENOTSUPP');
  t.is(errnoName(4711), 'errno 4711');
});

test('an error without extended text', (t) => {
  const attempt = { operation: 'replace', kind: 'route', key: '10.0.0.0/8', namespace: 'root' };
  const error = netlinkError(attempt, { errno: 101 });
  t.is(error.message, 'cannot replace route 10.0.0.0/8 in root: ENETUNREACH');
  t.deepEqual(error.details, { ...attempt, errno: 'ENETUNREACH' });
  t.is(error.status, 500);
});
