import test from 'ava';
import fc from 'fast-check';
import { codeOf } from '../../src/base/errors.js';
import { ack, type Message, NLMSG_MIN_TYPE, parseMessages } from '../../src/codec/netlink.js';
import { readAddress } from '../../src/codec/rtnl/address.js';
import { readLink } from '../../src/codec/rtnl/link.js';
import { readNeighbour } from '../../src/codec/rtnl/neigh.js';
import { readNsid } from '../../src/codec/rtnl/nsid.js';
import { readRoute } from '../../src/codec/rtnl/route.js';
import { readRule } from '../../src/codec/rtnl/rule.js';
import { exchanges } from '../support/netlink-golden.js';

/*
 * Damaged kernel messages: a decoder answers with a message or a WeftError, never with another exception, and what lies
 * around the message in memory makes no difference.
 */
const READERS: Record<string, (body: Uint8Array) => unknown> = {
  link: readLink,
  address: readAddress,
  route: readRoute,
  rule: readRule,
  neigh: readNeighbour,
  fdb: readNeighbour,
  nsid: readNsid,
};

/** The result or the error as something to compare; any exception but ours is thrown on. */
function outcome(read: () => unknown): unknown {
  try {
    return { read: read() };
  } catch (error) {
    if (codeOf(error) !== 'WEFT_INTERNAL') throw error;
    return { refused: (error as Error).message };
  }
}

/** The bytes in the middle of a larger buffer full of `around`. */
function within(around: number, bytes: Uint8Array): Uint8Array {
  const buffer = new Uint8Array(bytes.length + 64).fill(around);
  buffer.set(bytes, 32);
  return buffer.subarray(32, 32 + bytes.length);
}

function bodies(file: string): Uint8Array[] {
  const messages = exchanges(file).flatMap(({ request, answers }) => [request, ...answers]);
  return messages.filter((m) => m.type >= NLMSG_MIN_TYPE).map((m) => m.body);
}

for (const [file, read] of Object.entries(READERS)) {
  test(`${file}: cut short at every byte`, (t) => {
    for (const body of bodies(file)) {
      for (let n = 0; n < body.length; n++) {
        const cut = body.subarray(0, n);
        t.deepEqual(
          outcome(() => read(within(0, cut))),
          outcome(() => read(within(0xff, cut))),
        );
      }
    }
  });

  test(`${file}: bytes changed`, (t) => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 0xff }));
    const damaged = fc
      .tuple(fc.constantFrom(...bodies(file)), fc.array(change, { minLength: 1, maxLength: 8 }))
      .map(([body, changes]) => {
        const out = Uint8Array.from(body);
        for (const [at, value] of changes) out[at % out.length] = value;
        return out;
      });
    fc.assert(
      fc.property(damaged, (body) => {
        t.deepEqual(
          outcome(() => read(within(0, body))),
          outcome(() => read(within(0xff, body))),
        );
      }),
      { numRuns: 1500 },
    );
  });
}

test('a stream of messages: any bytes end in messages or a refusal', (t) => {
  const parse = (bytes: Uint8Array) => [...parseMessages(bytes)].map((m: Message) => ({ ...m, body: m.body.length }));
  const small = fc.uint8Array({ maxLength: 80 });
  // Plausible lengths, so that more than the first header is looked at.
  const plausible = small.map((bytes) => {
    for (let at = 0; at + 4 <= bytes.length; at += 20) bytes.set([20, 0, 0, 0], at);
    return bytes;
  });
  fc.assert(
    fc.property(fc.oneof(small, plausible), (bytes) => {
      t.deepEqual(
        outcome(() => parse(within(0, bytes))),
        outcome(() => parse(within(0xff, bytes))),
      );
    }),
    { numRuns: 2000 },
  );
});

test('acknowledgements: any body ends in an answer or a refusal', (t) => {
  const message = fc.record({
    type: fc.constantFrom(2, 3),
    flags: fc.constantFrom(0, 0x100, 0x200, 0x300),
    seq: fc.constant(1),
    pid: fc.constant(1),
    body: fc.uint8Array({ maxLength: 64 }),
  });
  fc.assert(
    fc.property(message, (m) => {
      t.deepEqual(
        outcome(() => ack({ ...m, body: within(0, m.body) })),
        outcome(() => ack({ ...m, body: within(0xff, m.body) })),
      );
    }),
    { numRuns: 2000 },
  );
});
