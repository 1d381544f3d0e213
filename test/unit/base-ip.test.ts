import net from 'node:net';
import test from 'ava';
import fc from 'fast-check';
import { codeOf } from '../../src/base/errors.js';
import { canonicalIp, family, ipBytes, ipText, tryIpBytes } from '../../src/base/ip.js';

const four = fc.uint8Array({ minLength: 4, maxLength: 4 });
/** Groups of zeros are common in addresses and the hard part of their text. */
const group = fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 0xffff }));
const eight = fc.array(group, { minLength: 8, maxLength: 8 });
const six = eight.map((groups) => Uint8Array.from(groups.flatMap((g) => [g >> 8, g & 255])));
const mapped = four.map((quad) => Uint8Array.from([...new Array<number>(10).fill(0), 0xff, 0xff, ...quad]));

/** What the WHATWG URL parser makes of it: RFC 5952, but v4-mapped addresses without the dotted quad. */
function urlText(text: string): string {
  return new URL(`http://[${text}]/`).hostname.slice(1, -1);
}

test('bytes to text and back is the identity, for both families', (t) => {
  fc.assert(fc.property(fc.oneof(four, six, mapped), (bytes) => t.deepEqual([...ipBytes(ipText(bytes))], [...bytes])));
});

test('IPv6 text is what RFC 5952 asks for', (t) => {
  fc.assert(
    fc.property(six, (bytes) => {
      const text = ipText(bytes);
      if (!text.includes('.')) t.is(text, urlText(text));
    }),
    { numRuns: 500 },
  );
  const spelled = {
    '0:0:0:0:0:0:0:0': '::',
    '0:0:0:0:0:0:0:1': '::1',
    '2001:DB8:0:0:1:0:0:1': '2001:db8::1:0:0:1',
    '2001:db8:0:1:1:1:1:1': '2001:db8:0:1:1:1:1:1',
    '2001:0:0:1:0:0:0:1': '2001:0:0:1::1',
    'fd00::': 'fd00::',
    '::ffff:192.0.2.1': '::ffff:192.0.2.1',
    '::FFFF:C000:0201': '::ffff:192.0.2.1',
    '::192.0.2.1': '::c000:201',
    '64:ff9b::192.0.2.33': '64:ff9b::c000:221',
    '1:2:3:4:5:6:7::': '1:2:3:4:5:6:7:0',
    '::2:3:4:5:6:7:8': '0:2:3:4:5:6:7:8',
  };
  for (const [text, canonical] of Object.entries(spelled)) t.is(canonicalIp(text), canonical, text);
});

test('every spelling of an address has one canonical text', (t) => {
  const spelling = fc.record({ groups: eight, upper: fc.boolean(), padded: fc.boolean() });
  fc.assert(
    fc.property(spelling, ({ groups, upper, padded }) => {
      const long = groups.map((g) => g.toString(16).padStart(padded ? 4 : 1, '0')).join(':');
      const bytes = Uint8Array.from(groups.flatMap((g) => [g >> 8, g & 255]));
      t.is(canonicalIp(upper ? long.toUpperCase() : long), ipText(bytes));
    }),
  );
});

/** Text near to an address: what people and fuzzers write. */
const nearly = fc.oneof(
  fc.string({ unit: fc.constantFrom('0', '1', '9', 'a', 'F', ':', '.', '::', '255', '256', '%', ' '), maxLength: 24 }),
  fc.array(fc.oneof(fc.nat(300).map(String), fc.constant('')), { maxLength: 6 }).map((parts) => parts.join('.')),
  fc.array(fc.constantFrom('', '0', '12ab', 'fffff', '1.2.3.4', '10.0.0.0'), { maxLength: 9 }).map((p) => p.join(':')),
);

test('accepts exactly what node:net takes for an address, zones left out', (t) => {
  fc.assert(
    fc.property(nearly, (text) => {
      if (text.includes('%')) t.is(tryIpBytes(text), undefined);
      else t.is(tryIpBytes(text)?.length ?? 0, { 0: 0, 4: 4, 6: 16 }[net.isIP(text)] as number, text);
    }),
    { numRuns: 3000 },
  );
});

test('what is no address is refused with a code and named', (t) => {
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '1.2.3.256',
    '1.2.3.4::',
    '1:2.3.4.5::6',
    'fe80::1%eth0',
    ':::',
    '1::2::3',
  ]) {
    const error = t.throws(() => canonicalIp(text), undefined, text);
    t.is(codeOf(error), 'WEFT_INVALID_ADDRESS');
    t.true(error.message.includes(`"${text}"`));
  }
  t.throws(() => ipText(new Uint8Array(5)), { instanceOf: RangeError });
});

test('the family follows from the text', (t) => {
  t.is(family('192.0.2.1'), 4);
  t.is(family('::ffff:192.0.2.1'), 6);
});
