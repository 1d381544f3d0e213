import test from 'ava';
import fc from 'fast-check';
import { Writer } from '../../src/base/bytes.js';
import type { Message } from '../../src/codec/netlink.js';
import {
  INGRESS_HANDLE,
  type Qdisc,
  RTM_NEWQDISC,
  RTM_NEWTFILTER,
  readFilter,
  readQdisc,
  TC_H_INGRESS,
  TC_H_ROOT,
  writeFilterDump,
  writeQdisc,
  writeQdiscDump,
  writeRedirect,
} from '../../src/codec/rtnl/tc.js';
import { canonical, exchange, type Nest } from '../support/netlink-golden.js';

const HEADER = 20;
/** TCA_OPTIONS > TCA_U32_ACT > 1 > TCA_ACT_OPTIONS. */
const FILTER: Nest = { 2: { 7: { 1: { 2: {} } } } };

const written = <T>(write: (w: Writer, value: T) => void, value: T): Buffer => {
  const w = new Writer();
  write(w, value);
  return w.done();
};
const recorded = (command: string): Message => exchange('tc', command).request;
const answers = (command: string, type: number): Message[] =>
  exchange('tc', command).answers.filter((message) => message.type === type);

/** Index of the device that a recorded command is about. */
const indexOf = (message: Message): number => Buffer.from(message.body).readInt32LE(4);

const SLOW = recorded('tc qdisc add dev wf1 root handle 57: tbf rate 50mbit burst 64kb limit 300000');
const FAST = recorded('tc qdisc add dev wi1 root handle 57: tbf rate 40gbit burst 1mb limit 3000000');
const MINE = recorded(
  'tc filter add dev wf1 ingress protocol all pref 87 u32 match u32 0 0 action mirred egress redirect dev wi1',
);
const [wf1, wi1] = [indexOf(SLOW), indexOf(FAST)];

const limited = (index: number, rate: number, burst: number, limit: number): Qdisc => ({
  index,
  handle: 0x570000,
  parent: TC_H_ROOT,
  kind: 'tbf',
  tbf: { rate, burst, limit },
});

test('a token bucket as tc writes it', (t) => {
  // tc rounds the time of a burst down to a microsecond: 6 bytes.
  t.deepEqual(readQdisc(SLOW.body), limited(wf1, 6_250_000, 65_531, 300_000));
  // 5 GB/s needs TCA_TBF_RATE64. (tc takes its burst for that of the highest rate that 32 bits hold.)
  t.like(readQdisc(FAST.body), { index: wi1, tbf: { rate: 5e9, limit: 3_000_000 } });
});

test('a token bucket as the kernel reports it', (t) => {
  const rows = answers('tc qdisc show', RTM_NEWQDISC).map((row) => readQdisc(row.body));
  t.deepEqual(
    rows.find((q) => q.index === wf1 && q.parent === TC_H_ROOT),
    limited(wf1, 6_250_000, 65_536, 300_000),
  );
  const fast = rows.find((q) => q.index === wi1);
  t.like(fast, { handle: 0x570000, kind: 'tbf', tbf: { rate: 5e9, limit: 3_000_000 } });
  t.true(Math.abs((fast?.tbf?.burst ?? 0) - 1_048_576) <= 320, 'a tick is 320 bytes');
  t.deepEqual(
    rows.find((q) => q.handle === INGRESS_HANDLE),
    { index: wf1, handle: INGRESS_HANDLE, parent: TC_H_INGRESS, kind: 'ingress' },
  );
  t.deepEqual(rows.find((q) => q.kind === 'pfifo')?.handle, 0x90000);
});

test('what is written is what tc writes, but for tables of times that the kernel does not want', (t) => {
  const ours = written(writeQdisc, limited(wf1, 6_250_000, 65_536, 300_000));
  t.deepEqual(ours.subarray(0, HEADER), Buffer.from(SLOW.body.subarray(0, HEADER)));
  const options = (bytes: Uint8Array) =>
    new Map(canonical(bytes.subarray(HEADER), { 2: {} }) as [number, [string, [number, string][]]][]);
  const [mine, theirs] = [options(ours).get(2), options(SLOW.body).get(2)];
  // TCA_TBF_BURST is the same; of TCA_TBF_PARMS rate and limit are.
  const part = (of: typeof mine, type: number) => of?.[1].find(([t]) => t === type)?.[1];
  t.is(part(mine, 6), part(theirs, 6));
  const numbers = (hex = '') => [hex.slice(16, 24), hex.slice(48, 56)];
  t.deepEqual(numbers(part(mine, 1)), numbers(part(theirs, 1)));
});

test('an ingress qdisc and its removal as tc writes them', (t) => {
  const ingress = { index: wf1, handle: INGRESS_HANDLE, parent: TC_H_INGRESS, kind: 'ingress' };
  const request = recorded('tc qdisc add dev wf1 ingress');
  t.deepEqual(readQdisc(request.body), ingress);
  t.deepEqual(written(writeQdisc, ingress).subarray(0, HEADER), Buffer.from(request.body.subarray(0, HEADER)));
});

test('a filter that hands everything to another device, as tc writes it, byte for byte', (t) => {
  const filter = { index: wf1, priority: 87, to: wi1 };
  t.deepEqual(readFilter(MINE.body), filter);
  const ours = written(writeRedirect, filter);
  t.deepEqual(ours.subarray(0, HEADER), Buffer.from(MINE.body.subarray(0, HEADER)));
  t.deepEqual(canonical(ours.subarray(HEADER), FILTER), canonical(MINE.body.subarray(HEADER), FILTER));
});

test('filters as the kernel reports them: tables of u32 and filters of others redirect nothing', (t) => {
  const rows = answers('tc filter show dev wf1 ingress', RTM_NEWTFILTER).map((row) => readFilter(row.body));
  t.deepEqual(
    rows.filter((f) => f.to !== undefined),
    [{ index: wf1, priority: 87, to: wi1 }],
  );
  t.true(rows.some((f) => f.priority === 90));
});

test('the removal of our filters, and dumps, ask as tc does', (t) => {
  const removal = recorded('tc filter del dev wf1 ingress protocol all pref 87 u32');
  t.deepEqual(written(writeRedirect, { index: wf1, priority: 87 }), Buffer.from(removal.body));
  const list = recorded('tc filter show dev wf1 ingress');
  t.deepEqual(written(writeFilterDump, { index: wf1 }), Buffer.from(list.body.subarray(0, HEADER)));
  t.deepEqual(written(writeQdiscDump, undefined), Buffer.alloc(HEADER));
});

test('what is written is read back, the burst within a tick', (t) => {
  const size = fc.integer({ min: 1600, max: 2 ** 31 });
  fc.assert(
    fc.property(fc.integer({ min: 1000, max: 1e11 }), size, size, (rate, burst, limit) => {
      const { tbf } = readQdisc(written(writeQdisc, limited(5, rate, burst, limit)));
      t.is(tbf?.rate, rate);
      t.is(tbf?.limit, limit);
      // The time of a burst has 32 bits of ticks: 275 s.
      const fits = burst / rate < 274;
      t.true(!fits || Math.abs((tbf?.burst ?? 0) - burst) <= (rate * 64) / 1e9 + 1);
    }),
  );
});
