import test from 'ava';
import fc from 'fast-check';
import { nameKey, nameWire, readKey, readName, skipName } from '../../src/dns/name.js';

/** Labels of any bytes at all. */
const labels = fc
  .array(fc.uint8Array({ minLength: 1, maxLength: 63 }), { maxLength: 5 })
  .filter((all) => all.reduce((sum, one) => sum + one.length + 1, 1) <= 255);

function wireOf(all: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from([...all.flatMap((one) => [one.length, ...one]), 0]);
}

test('text and wire map one to one, whatever the bytes', (t) => {
  fc.assert(
    fc.property(labels, (all) => {
      const wire = wireOf(all);
      const name = readName(wire, 0);
      t.is(name?.end, wire.length);
      t.deepEqual(nameWire(name?.text as string), wire);
      t.is(skipName(wire, 0), wire.length);
    }),
  );
});

test('a key is the name in lower case', (t) => {
  fc.assert(
    fc.property(labels, (all) => {
      const wire = wireOf(all);
      t.deepEqual(readKey(wire, 0), { text: readName(wire, 0)?.text.toLowerCase() as string, end: wire.length });
    }),
  );
});

test('a dot inside a label is no separator', (t) => {
  t.is(readName(Uint8Array.of(3, 0x61, 0x2e, 0x62, 0), 0)?.text, 'a\\.b');
  t.deepEqual([...nameWire('a\\.b')], [3, 0x61, 0x2e, 0x62, 0]);
  t.is(nameKey('A\\.'), 'a\\.');
});

test('a final dot is optional, the root is empty', (t) => {
  t.deepEqual(nameWire('web.net.'), nameWire('web.net'));
  t.deepEqual([...nameWire('.')], [0]);
  t.deepEqual([...nameWire('')], [0]);
  t.is(nameKey('Web.Net.'), 'web.net');
});

test('63 octets fit a label and 255 a name, one more does not', (t) => {
  const long = 'a'.repeat(63);
  t.is(nameWire(long).length, 65);
  t.throws(() => nameWire(`${long}a`), { code: 'WEFT_INVALID_NAME' });
  const most = `${long}.${long}.${long}.${'a'.repeat(61)}`;
  t.is(nameWire(most).length, 255);
  t.is(readKey(nameWire(most), 0)?.text, most);
  t.is(readName(nameWire(most), 0)?.text, most);
  t.throws(() => nameWire(`${most}a`), { code: 'WEFT_INVALID_NAME' });
  const over = wireOf([63, 63, 63, 62].map((n) => new Uint8Array(n).fill(0x61)));
  t.is(readKey(over, 0), undefined);
  t.is(readName(over, 0), undefined);
});

for (const text of ['..', '.a', 'a..b', 'a\\', 'a\\25', 'a\\256', 'ä€']) {
  test(`"${text}" is no name`, (t) => {
    t.throws(() => nameWire(text), { code: 'WEFT_INVALID_NAME' });
  });
}

test('a key is never read through a pointer', (t) => {
  const bytes = Uint8Array.of(1, 0x61, 0, 1, 0x62, 0xc0, 0);
  t.is(readName(bytes, 3)?.text, 'b.a');
  t.is(readKey(bytes, 3), undefined);
});

test('names of a chain of pointers are still at most 255 octets', (t) => {
  // Each segment is a label of 60 octets and a pointer to the segment before it.
  const parts: number[] = [0];
  let last = 0;
  for (let i = 0; i < 5; i++) {
    const at = parts.length;
    parts.push(60, ...new Array<number>(60).fill(0x61), 0xc0 | (last >> 8), last & 255);
    last = at;
  }
  t.is(readName(Uint8Array.from(parts), last), undefined);
});
