import { readdirSync, readFileSync } from 'node:fs';
import test from 'ava';
import fc from 'fast-check';
import { codeOf } from '../../src/base/errors.js';
import { type Message, parseMessages } from '../../src/codec/netlink.js';
import { readChain } from '../../src/codec/nft/chain.js';
import { readElements } from '../../src/codec/nft/element.js';
import { readGeneration } from '../../src/codec/nft/generation.js';
import { readRule } from '../../src/codec/nft/rule.js';
import { readSet } from '../../src/codec/nft/set.js';
import { readTable } from '../../src/codec/nft/table.js';

/*
 * Damaged kernel messages: a reader gives an object or a WeftError, never another exception, and what lies around the message in
 * memory makes no difference.
 */
const READERS: Record<string, (m: Message) => unknown> = {
  tables: readTable,
  chains: readChain,
  rules: readRule,
  sets: readSet,
  elements: readElements,
};
const FOLDER = new URL('../../../test/golden/nft/', import.meta.url);

function recorded(kind: string): Buffer[] {
  return readdirSync(FOLDER).flatMap((file) => {
    const golden: Record<string, string[] | undefined> = JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8'));
    return (golden[kind] ?? []).map((hex) => Buffer.from(hex, 'hex'));
  });
}

/** What a reader makes of bytes that lie in a larger buffer full of `around`. */
function outcome(read: (m: Message) => unknown, bytes: Uint8Array, around: number): unknown {
  const buffer = new Uint8Array(bytes.length + 64).fill(around);
  buffer.set(bytes, 32);
  const body = buffer.subarray(32, 32 + bytes.length);
  try {
    return read({ type: 0xa00, flags: 0, seq: 1, pid: 0, body });
  } catch (error) {
    if (codeOf(error) !== 'WEFT_INTERNAL') throw error;
    return String(error);
  }
}

for (const [kind, read] of Object.entries(READERS)) {
  test(`${kind} cut short`, (t) => {
    for (const bytes of recorded(kind)) {
      for (let n = 0; n < bytes.length - 16; n += 3) {
        const cut = bytes.subarray(16, 16 + n);
        t.deepEqual(outcome(read, cut, 0), outcome(read, cut, 0xff));
      }
    }
  });

  test(`${kind} with wrong bytes`, (t) => {
    const bodies = recorded(kind).map((bytes) => bytes.subarray(16));
    const change = fc.record({ at: fc.nat(2000), to: fc.nat(255) });
    fc.assert(
      fc.property(fc.constantFrom(...bodies), fc.array(change, { minLength: 1, maxLength: 4 }), (body, changes) => {
        const bad = Buffer.from(body);
        for (const { at, to } of changes) bad[at % bad.length] = to;
        t.deepEqual(outcome(read, bad, 0), outcome(read, bad, 0xff));
      }),
      { numRuns: 1500 },
    );
  });
}

test('noise', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (noise) => {
      for (const read of [...Object.values(READERS), readGeneration]) {
        t.deepEqual(outcome(read, noise, 0), outcome(read, noise, 0xff));
      }
    }),
  );
});

test('a rule of a thousand nested attributes ends', (t) => {
  let nest = Buffer.alloc(0);
  for (let i = 0; i < 1000; i++) {
    const header = Buffer.alloc(4);
    header.writeUInt16LE(nest.length + 4, 0);
    header.writeUInt16LE(0x8000 | (i % 2 === 0 ? 1 : 2), 2);
    nest = Buffer.concat([header, nest]);
  }
  t.is(typeof outcome(readRule, Buffer.concat([Buffer.from([7, 0, 0, 0]), nest]), 0), 'string');
  t.deepEqual([...parseMessages(Buffer.alloc(0))], []);
});
