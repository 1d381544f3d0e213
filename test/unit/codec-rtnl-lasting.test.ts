import test from 'ava';
import fc from 'fast-check';
import { Writer } from '../../src/base/bytes.js';
import { ipText } from '../../src/base/ip.js';
import { macText } from '../../src/base/mac.js';
import { AttrWriter } from '../../src/codec/attr.js';
import { message, NLM_F_MULTI, NLMSG_DONE } from '../../src/codec/netlink.js';
import { lastingBytes } from '../../src/codec/rtnl/lasting.js';
import {
  type Neighbour,
  NUD_NOARP,
  NUD_PERMANENT,
  NUD_STALE,
  RTM_NEWNEIGH,
  writeNeighbour,
} from '../../src/codec/rtnl/neigh.js';

/** Few values, so that two dumps are often the same. */
const row: fc.Arbitrary<Neighbour> = fc
  .record({
    family: fc.constantFrom(2, 10),
    ifindex: fc.constantFrom(3, 4),
    state: fc.constantFrom(NUD_PERMANENT, NUD_NOARP, NUD_STALE),
    flags: fc.constantFrom(0, 2),
    lladdr: fc.constantFrom(1, 2).map((n) => macText(new Uint8Array(6).fill(n))),
    dst: fc.constantFrom(1, 2).map((n) => ipText(new Uint8Array(4).fill(n))),
    protocol: fc.constantFrom(2, 87),
  })
  .map((n) => (n.family === 10 ? { ...n, dst: 'fd00::1' } : n));
/** What changes by itself: of each row when it was used and how often it was asked for; of the messages their numbers. */
const moment = fc.record({ used: fc.uint8Array({ minLength: 16, maxLength: 16 }), probes: fc.nat(9), seq: fc.nat(99) });

function dumpOf(rows: readonly Neighbour[], { used, probes, seq }: { used: Uint8Array; probes: number; seq: number }) {
  const w = new Writer();
  for (const one of rows) {
    message(
      w,
      { type: RTM_NEWNEIGH, flags: NLM_F_MULTI, seq },
      (to, n) => {
        writeNeighbour(to, n);
        new AttrWriter(to).u32(4, probes).bytes(3, used);
      },
      one,
    );
  }
  message(w, { type: NLMSG_DONE, flags: NLM_F_MULTI, seq }, (to, errno) => to.i32(errno), 0);
  return w.done();
}

const lasts = (_flags: number, state: number): boolean => state !== NUD_STALE;
const textOf = (dump: Uint8Array): string => Buffer.from(lastingBytes(dump, lasts) as Uint8Array).toString('hex');

test('the lasting bytes of two dumps are the same just when their lasting rows are, in this order', (t) => {
  const rows = fc.array(row, { maxLength: 3 });
  fc.assert(
    fc.property(rows, fc.option(rows, { nil: undefined }), moment, moment, (some, others, then, now) => {
      const again = others ?? structuredClone(some);
      const lasting = (list: readonly Neighbour[]) =>
        JSON.stringify(list.filter(({ flags, state }) => lasts(flags, state)));
      t.is(textOf(dumpOf(some, then)) === textOf(dumpOf(again, now)), lasting(some) === lasting(again));
    }),
  );
});

test('what is laid out otherwise has none', (t) => {
  const [one] = fc.sample(row, { numRuns: 1, seed: 1 }) as [Neighbour];
  const whole = dumpOf([one], { used: new Uint8Array(16), probes: 0, seq: 1 });
  for (const spoil of [
    // The length of the message: not a multiple of 4, beyond the end, less than its header, less than a row's.
    (bytes: Buffer) => bytes.writeUInt32LE(bytes.readUInt32LE(0) - 1, 0),
    (bytes: Buffer) => bytes.writeUInt32LE(4096, 0),
    (bytes: Buffer) => bytes.writeUInt32LE(8, 0),
    (bytes: Buffer) => bytes.writeUInt32LE(20, 0),
    // The length of its first attribute.
    (bytes: Buffer) => bytes.writeUInt16LE(2, 28),
    (bytes: Buffer) => bytes.writeUInt16LE(4096, 28),
  ]) {
    const bytes = Buffer.from(whole);
    spoil(bytes);
    t.is(
      lastingBytes(bytes, () => true),
      undefined,
      bytes.toString('hex'),
    );
  }
  t.is(lastingBytes(Buffer.from([1, 2, 3]), lasts), undefined);
});
