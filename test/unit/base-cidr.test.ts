import test from 'ava';
import fc from 'fast-check';
import {
  cidrText,
  contains,
  fromNumber,
  last,
  nth,
  overlaps,
  parseCidr,
  parseInterface,
  size,
  toNumber,
} from '../../src/base/cidr.js';
import { codeOf } from '../../src/base/errors.js';
import { type Family, ipText } from '../../src/base/ip.js';

const bytes = fc.constantFrom(4, 16).chain((n) => fc.uint8Array({ minLength: n, maxLength: n }));
/** Any prefix, as the naive oracle sees it: a family and the first and last number. */
const prefix = bytes.chain((b) =>
  fc.integer({ min: 0, max: b.length * 8 }).map((length) => {
    const bits = BigInt(b.length * 8 - length);
    const from = (toNumber(ipText(b)) >> bits) << bits;
    const of: Family = b.length === 4 ? 4 : 6;
    return { of, from, to: from + (1n << bits) - 1n, text: `${fromNumber(from, of)}/${length}` };
  }),
);

test('a prefix reads back as it was written, and its ends are where the numbers say', (t) => {
  fc.assert(
    fc.property(prefix, ({ text, from, to, of }) => {
      const parsed = parseCidr(text);
      t.is(cidrText(parsed), text);
      t.is(toNumber(parsed.first), from);
      t.is(toNumber(last(parsed)), to);
      t.is(size(parsed), to - from + 1n);
      t.is(parsed.family, of);
    }),
  );
});

test('contains and overlaps agree with the numbers', (t) => {
  fc.assert(
    fc.property(prefix, prefix, (a, b) => {
      const meet = a.of === b.of && a.from <= b.to && b.from <= a.to;
      t.is(overlaps(parseCidr(a.text), parseCidr(b.text)), meet);
      t.is(overlaps(parseCidr(b.text), parseCidr(a.text)), meet);
      const inside = a.of === b.of && a.from <= b.from && b.from <= a.to;
      t.is(contains(parseCidr(a.text), fromNumber(b.from, b.of)), inside);
    }),
    { numRuns: 500 },
  );
});

test('nth counts from the first address and refuses what is beyond the last', (t) => {
  const p = parseCidr('10.20.0.0/24');
  t.is(nth(p, 0n), '10.20.0.0');
  t.is(nth(p, 255n), '10.20.0.255');
  t.throws(() => nth(p, 256n), { instanceOf: RangeError });
  t.throws(() => nth(p, -1n), { instanceOf: RangeError });
  t.is(nth(parseCidr('fd00::/64'), 1n << 40n), 'fd00::100:0:0');
});

test('host bits are refused with the network that was meant', (t) => {
  const error = t.throws(() => parseCidr('10.0.0.77/26'));
  t.is(codeOf(error), 'WEFT_INVALID_SUBNET');
  t.is((error as { hint?: string }).hint, 'write 10.0.0.64/26');
  t.deepEqual(parseInterface('10.0.0.77/26'), { ip: '10.0.0.77', length: 26 });
});

test('what is no prefix is refused', (t) => {
  for (const text of [
    '',
    '10.0.0.0',
    '10.0.0.0/',
    '/24',
    '10.0.0.0/33',
    'fd00::/129',
    '10.0.0.0/-1',
    '10.0.0.0/024',
    '10.0.0.0/2 4',
    '10.0.0.0/24/24',
    '10.0.0/24',
    '10.0.0.0/0x8',
  ]) {
    t.is(codeOf(t.throws(() => parseCidr(text), undefined, text)), 'WEFT_INVALID_SUBNET', text);
  }
});
