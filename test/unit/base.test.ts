import test from 'ava';
import fc from 'fast-check';
import { Reader, Writer } from '../../src/base/bytes.js';
import { codeOf, ERRORS, toWeftError, WeftError } from '../../src/base/errors.js';
import { bridgeMac, canonicalMac, endpointMac, macBytes, macText } from '../../src/base/mac.js';

const MAX64 = (1n << 64n) - 1n;
/** A number of each width with the methods that write and read it. */
const field = fc.oneof(
  fc.record({ as: fc.constant('u8' as const), n: fc.integer({ min: 0, max: 255 }) }),
  fc.record({ as: fc.constantFrom('u16' as const, 'be16' as const), n: fc.integer({ min: 0, max: 0xffff }) }),
  fc.record({ as: fc.constantFrom('u32' as const, 'be32' as const), n: fc.integer({ min: 0, max: 0xffffffff }) }),
  fc.record({ as: fc.constant('i32' as const), n: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }) }),
);
const wide = fc.record({ as: fc.constantFrom('u64' as const, 'be64' as const), n: fc.bigInt({ min: 0n, max: MAX64 }) });

test('what a Writer wrote, a Reader reads, whatever the buffer had to grow', (t) => {
  fc.assert(
    fc.property(fc.array(field), fc.array(wide), fc.integer({ min: 0, max: 40 }), (fields, wides, capacity) => {
      const w = new Writer(capacity);
      for (const { as, n } of fields) w[as](n);
      for (const { as, n } of wides) w[as](n);
      const r = new Reader(w.done());
      for (const { as, n } of fields) t.is(r[as](), n);
      for (const { as, n } of wides) t.is(r[as](), n);
      t.is(r.left, 0);
    }),
  );
});

test('byte orders are what their names say; padding is zero; patches overwrite', (t) => {
  const w = new Writer(1).u16(0x0102).be16(0x0102).u32(0x01020304).be32(0x01020304).pad(3).raw(Uint8Array.of(9));
  t.is(w.done().toString('hex'), '02010102040302010102030400000009');
  t.is(w.patch16(0, 0xffee).patch32(4, 0xdeadbeef).done().toString('hex'), 'eeff0102efbeadde0102030400000009');
});

test('running off the end is an error that says where, and moves nothing', (t) => {
  const r = new Reader(Uint8Array.of(1, 2, 3));
  r.skip(2);
  const error = t.throws(() => r.u16());
  t.is(codeOf(error), 'WEFT_INTERNAL');
  t.is(error.message, '2 bytes wanted at offset 2 of 3');
  t.throws(() => r.take(-1));
  t.is(r.u8(), 3);
});

test('a Reader over a part of a larger buffer stays inside it', (t) => {
  const whole = Uint8Array.of(0xaa, 1, 2, 3, 4, 0xbb);
  const r = new Reader(whole.subarray(1, 5));
  t.is(r.u32(), 0x04030201);
  t.throws(() => r.u8());
});

test('MAC text and bytes', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) =>
      t.deepEqual([...macBytes(macText(bytes))], [...bytes]),
    ),
  );
  t.is(canonicalMac('02:42:0A:00:00:FE'), '02:42:0a:00:00:fe');
  for (const text of [
    '',
    '02:42:0a:00:00',
    '02-42-0a-00-00-01',
    '02:42:0a:00:00:0g',
    '2:42:a:0:0:1',
    '02:42:0a:00:00:01:02',
  ]) {
    t.is(codeOf(t.throws(() => macBytes(text))), 'WEFT_INVALID_ADDRESS', text);
  }
  for (const text of ['01:00:5e:00:00:01', 'ff:ff:ff:ff:ff:ff', '00:00:00:00:00:00']) {
    t.is(codeOf(t.throws(() => canonicalMac(text))), 'WEFT_INVALID_ADDRESS', text);
  }
});

test('derived MACs: an endpoint by its address, a bridge by its VTEP, none of them multicast', (t) => {
  t.is(endpointMac('10.20.0.11'), '02:42:0a:14:00:0b');
  t.is(bridgeMac('192.168.71.1'), '02:57:c0:a8:47:01');
  // sha256 of the 16 address bytes of fd00::1 begins with these four.
  t.is(endpointMac('fd00::1').slice(0, 5), '02:43');
  t.not(endpointMac('fd00::1'), endpointMac('fd00::2'));
  t.is(bridgeMac('fd00::1').slice(6), endpointMac('fd00::1').slice(6));
  t.notThrows(() => canonicalMac(endpointMac('255.255.255.255')));
});

test('every error code has an HTTP status of its class and a meaning', (t) => {
  for (const [code, [status, meaning]] of Object.entries(ERRORS)) {
    t.regex(code, /^WEFT_[A-Z_]+$/);
    t.true(status >= 400 && status < 600, code);
    t.true(meaning.length > 10, code);
    if (code.startsWith('WEFT_INVALID_')) t.is(status, 400, code);
  }
});

test('errors cross the socket with what was given, and what was not thrown by weft is a defect', (t) => {
  const error = new WeftError('WEFT_IN_USE', 'has endpoints', 'disconnect', { endpoints: ['a'] });
  t.is(error.status, 409);
  t.deepEqual(error.toBody(), {
    code: 'WEFT_IN_USE',
    message: 'has endpoints',
    hint: 'disconnect',
    details: { endpoints: ['a'] },
  });
  t.deepEqual(new WeftError('WEFT_GONE', 'compacted').toBody(), { code: 'WEFT_GONE', message: 'compacted' });
  t.is(toWeftError(error), error);
  t.is(toWeftError(new TypeError('x is undefined')).code, 'WEFT_INTERNAL');
  t.is(toWeftError('text').message, 'text');
  t.is(codeOf({ code: 'WEFT_GONE' }), 'WEFT_GONE');
  t.is(codeOf({ code: 'ENOENT' }), undefined);
  t.is(codeOf({ code: 'toString' }), undefined);
  t.is(codeOf(undefined), undefined);
});
