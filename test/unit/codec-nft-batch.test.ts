import test from 'ava';
import { codeOf } from '../../src/base/errors.js';
import {
  type Message,
  NLM_F_ACK,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  parseMessages,
} from '../../src/codec/netlink.js';
import { NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END } from '../../src/codec/nfnl.js';
import { batch, refusals } from '../../src/codec/nft/batch.js';
import { delChain, newChain } from '../../src/codec/nft/chain.js';
import { NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM, nftType } from '../../src/codec/nft/change.js';
import { delElements, type Element, newElements, readElements } from '../../src/codec/nft/element.js';
import { getGeneration, isTorn, readGeneration } from '../../src/codec/nft/generation.js';
import { newRule } from '../../src/codec/nft/rule.js';
import { newTable } from '../../src/codec/nft/table.js';
import { attributes, only, sent } from '../support/nft-message.js';

const T = { family: 'bridge', table: 'weft', flags: 0 } as const;
const C = { family: 'bridge', table: 'weft', chain: 'a' } as const;
const S = { family: 'bridge', table: 'weft', set: 'be' } as const;

test('a batch is begin, changes, end; the last change alone is acknowledged', (t) => {
  const { bytes } = batch([newTable(T), newChain(C), delChain(C)], { seq: 10 });
  const all = [...parseMessages(bytes)];
  t.deepEqual(
    all.map((m) => [m.type, m.seq, (m.flags & NLM_F_ACK) !== 0]),
    [
      [NFNL_MSG_BATCH_BEGIN, 10, false],
      [0xa00, 11, false],
      [0xa03, 12, false],
      [0xa05, 13, true],
      [NFNL_MSG_BATCH_END, 13, false],
    ],
  );
  // nfgenmsg of both ends: family unspec, version 0, resource id NFNL_SUBSYS_NFTABLES in network order.
  t.is(Buffer.from(all[0]?.body ?? []).toString('hex'), '0000000a');
  t.is(Buffer.from(all[4]?.body ?? []).toString('hex'), '0000000a');
});

test('a batch is bound to a generation', (t) => {
  const [begin] = parseMessages(batch([newTable(T)], { seq: 1, generation: 0x01020304 }).bytes);
  t.is(Buffer.from(begin?.body ?? []).toString('hex'), '0000000a' + '0800010001020304');
});

test('an empty batch and what does not fit are refused before anything is sent', (t) => {
  const invalid = (make: () => unknown) => t.is(codeOf(t.throws(make)), 'WEFT_INVALID_ARGUMENT');
  invalid(() => batch([], { seq: 1 }));
  invalid(() => batch([newTable({ ...T, comment: 'x'.repeat(255) })], { seq: 1 }));
  invalid(() => batch([newTable({ ...T, comment: 'a\0b' })], { seq: 1 }));
  invalid(() => batch([newTable({ ...T, comment: 'x'.repeat(250), userdata: '0102'.repeat(4) })], { seq: 1 }));
  invalid(() => batch([newRule({ ...C, exprs: [{ expr: 'cmp', sreg: 1, op: 'eq', data: 'A0' }] })], { seq: 1 }));
  invalid(() => batch([newRule({ ...C, exprs: [{ expr: 'cmp', sreg: 1, op: 'eq', data: '' }] })], { seq: 1 }));
  invalid(() => batch([newRule({ ...C, exprs: [{ expr: 'cmp', sreg: -1, op: 'eq', data: '00' }] })], { seq: 1 }));
  const base = { type: 'filter', hook: 'egress', priority: 0, policy: 'accept' } as const;
  invalid(() => batch([newChain({ ...C, base })], { seq: 1 }));
  invalid(() => batch([newChain({ ...C, base: { ...base, hook: 'input', priority: 0.5 } })], { seq: 1 }));
  invalid(() => newElements(S, [{ key: '00'.repeat(65) }]));
  invalid(() => newElements(S, [{ key: '00', timeout: -1 }]));
});

/** An acknowledgement as the kernel sends it: errno, then the header of the request. */
function ackOf(seq: number, type: number, errno: number): Buffer {
  const m = Buffer.alloc(36);
  m.writeUInt32LE(36, 0);
  m.writeUInt16LE(NLMSG_ERROR, 4);
  m.writeUInt16LE(0x100, 6);
  m.writeUInt32LE(seq, 8);
  m.writeInt32LE(-errno, 16);
  m.writeUInt32LE(20, 20);
  m.writeUInt16LE(type, 24);
  m.writeUInt32LE(seq, 28);
  return m;
}

test('refusals name their change, or the transaction', (t) => {
  const sentBatch = batch([newTable(T), newChain(C), delChain(C)], { seq: 0xfffffffe });
  const [, add, del] = sentBatch.changes;
  const read = (...acks: Buffer[]) => refusals(Buffer.concat(acks), sentBatch);
  t.deepEqual(read(ackOf(1, 0xa05, 0)), []);
  t.deepEqual(read(ackOf(0, 0xa03, 17), ackOf(1, 0xa05, 0)), [{ ack: { errno: 17 }, change: add }]);
  t.deepEqual(read(ackOf(1, 0xa05, 2)), [{ ack: { errno: 2 }, change: del }]);
  t.deepEqual(read(ackOf(0xfffffffe, NFNL_MSG_BATCH_BEGIN, 85)), [{ ack: { errno: 85 } }]);
});

test('elements are cut where the attribute that holds them is full', (t) => {
  const elements = Array.from(
    { length: 5000 },
    (_, i): Element => ({
      key: i.toString(16).padStart(8, '0'),
      data: '024200000001',
      ...(i % 7 === 0 ? { comment: 'c'.repeat(i % 50) } : {}),
    }),
  );
  const changes = newElements(S, elements);
  const lists = changes.map((c) => readElements(sent(c)).elements);
  t.deepEqual(lists.flat(), elements);
  // Header, table and set names, and one attribute of at most 65535 bytes that is nearly full.
  const sizes = changes.map((c) => attributes(sent(c)).length / 2 - 12 - 8);
  t.true(
    sizes.slice(0, -1).every((n) => n > 65400 && n <= 65535),
    sizes.join(),
  );
  t.is(changes[0]?.label, `add ${lists[0]?.length} elements to bridge weft be`);
  t.true(changes.every((c) => sent(c).type === nftType(NFT_MSG_NEWSETELEM)));
  t.deepEqual(newElements(S, []), []);
});

test('deleting an element names its key only', (t) => {
  const [change] = delElements(S, [{ key: '0a000001', data: '024200000001', timeout: 5, comment: 'x' }]);
  t.is(sent(change).type, nftType(NFT_MSG_DELSETELEM));
  t.deepEqual(readElements(sent(change)).elements, [{ key: '0a000001' }]);
});

function dumped(resource: number, flags = 0): Message {
  return { type: 0xa0c, flags, seq: 1, pid: 0, body: Buffer.from([7, 0, resource >> 8, resource & 255]) };
}

test('a dump is torn where its messages are of several generations', (t) => {
  const done: Message = { type: NLMSG_DONE, flags: 2, seq: 1, pid: 0, body: Buffer.alloc(4) };
  t.false(isTorn([dumped(5), dumped(5), done], 5));
  t.false(isTorn([dumped(5), done], 0x70005), 'only 16 bits are carried');
  t.false(isTorn([done], 5));
  t.true(isTorn([dumped(5), dumped(6), done], 5));
  t.true(isTorn([dumped(6), done], 5));
  t.true(isTorn([dumped(5, NLM_F_DUMP_INTR), done], 5));
});

test('the generation is asked for with an acknowledgement and read', (t) => {
  const request = only(getGeneration(9));
  t.deepEqual([request.type, request.seq, request.flags], [0xa10, 9, 5]);
  const body = Buffer.from('00000007' + '0800010000000007' + '0800020000001be3' + '080003006e667400', 'hex');
  t.deepEqual(readGeneration({ type: 0xa0f, flags: 0, seq: 9, pid: 0, body }), { id: 7, pid: 0x1be3, program: 'nft' });
});
