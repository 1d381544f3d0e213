import test from 'ava';
import fc from 'fast-check';
import { Writer } from '../../src/base/bytes.js';
import { macText } from '../../src/base/mac.js';
import { AttrReader, AttrWriter, NLA_F_NESTED } from '../../src/codec/attr.js';

function hex(write: (a: AttrWriter) => void): string {
  const w = new Writer(8);
  write(new AttrWriter(w));
  return w.done().toString('hex');
}

function first(bytes: string): AttrReader {
  const a = new AttrReader(Buffer.from(bytes, 'hex'), 'here');
  a.next();
  return a;
}

test('each kind of attribute: header, payload, padding', (t) => {
  t.is(
    hex((a) => a.u8(1, 0xab)),
    '05000100ab000000',
  );
  t.is(
    hex((a) => a.bool(1, true)),
    '0500010001000000',
  );
  t.is(
    hex((a) => a.u16(2, 0x1234)),
    '0600020034120000',
  );
  t.is(
    hex((a) => a.be16(2, 4789)),
    '0600020012b50000',
  );
  t.is(
    hex((a) => a.u32(3, 0x12345678)),
    '0800030078563412',
  );
  t.is(
    hex((a) => a.i32(3, -1)),
    '08000300ffffffff',
  );
  t.is(
    hex((a) => a.be32(3, 0x12345678)),
    '0800030012345678',
  );
  t.is(
    hex((a) => a.u64(4, 1n)),
    '0c0004000100000000000000',
  );
  t.is(
    hex((a) => a.be64(4, 1n)),
    '0c0004000000000000000001',
  );
  t.is(
    hex((a) => a.string(5, 'br0')),
    '0800050062723000',
  );
  t.is(
    hex((a) => a.text(5, 'br0')),
    '0700050062723000',
  );
  t.is(
    hex((a) => a.bytes(6, Uint8Array.of(1, 2, 3, 4, 5))),
    '090006000102030405000000',
  );
  t.is(
    hex((a) => a.flag(7, true)),
    '04000700',
  );
  t.is(
    hex((a) => a.mac(8, '02:42:0A:00:00:ff')),
    '0a00080002420a0000ff0000',
  );
  t.is(
    hex((a) => a.ip(9, '10.0.0.1')),
    '080009000a000001',
  );
});

test('absent values write nothing', (t) => {
  const nothing = hex((a) =>
    a
      .u8(1, undefined)
      .bool(1, undefined)
      .u16(1, undefined)
      .u32(1, undefined)
      .i32(1, undefined)
      .u64(1, undefined)
      .be16(1, undefined)
      .be32(1, undefined)
      .be64(1, undefined)
      .string(1, undefined)
      .text(1, undefined)
      .bytes(1, undefined)
      .flag(1, false)
      .flag(1, undefined)
      .ip(1, undefined)
      .mac(1, undefined),
  );
  t.is(nothing, '');
});

test('nests carry their length and flag, blocks no flag', (t) => {
  t.is(
    hex((a) => a.nest(18, (a) => a.nest(2, (a) => a.u8(1, 1)))),
    '100012800c0002800500010001000000',
  );
  t.is(
    hex((a) => a.block(1, (a) => a.w.u8(7))),
    '0500010007000000',
  );
});

test('values that do not fit are refused', (t) => {
  const refusals: ((a: AttrWriter) => void)[] = [
    (a) => a.u8(1, 256),
    (a) => a.u8(1, -1),
    (a) => a.u16(1, 65536),
    (a) => a.be16(1, 65536),
    (a) => a.u32(1, 2 ** 32),
    (a) => a.u32(1, -1),
    (a) => a.u32(1, 1.5),
    (a) => a.u32(1, Number.NaN),
    (a) => a.be32(1, 2 ** 32),
    (a) => a.i32(1, 2 ** 31),
    (a) => a.u64(1, -1n),
    (a) => a.be64(1, 1n << 64n),
    (a) => a.string(1, 'a\0b'),
    (a) => a.bytes(1, new Uint8Array(65532)),
    (a) => a.nest(1, (a) => a.bytes(2, new Uint8Array(65000)).bytes(3, new Uint8Array(1000))),
  ];
  for (const write of refusals) t.throws(() => hex(write), { code: 'WEFT_INVALID_ARGUMENT' });
  for (const mac of [
    '',
    '02:42',
    '02:42:0a:00:00:0g',
    '02-42-0a-00-00-0b',
    '02:42:0a:00:00:0b:01',
    '@2:42:0a:00:00:0b',
  ]) {
    t.throws(() => hex((a) => a.mac(1, mac)), { code: 'WEFT_INVALID_ADDRESS' }, mac);
  }
});

test('any MAC is written as its six bytes', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
      t.is(
        hex((a) => a.mac(1, macText(bytes))),
        `0a000100${Buffer.from(bytes).toString('hex')}0000`,
      );
    }),
  );
});

test('a reader walks attributes, flags apart, and ignores up to three bytes of padding', (t) => {
  const a = new AttrReader(Buffer.from('05000100ab00000008000280000000000700050062723000', 'hex').subarray(0, 23), 'x');
  t.true(a.next());
  t.deepEqual([a.type, a.isNested, a.length, a.u8()], [1, false, 1, 0xab]);
  t.true(a.next());
  t.deepEqual([a.type, a.isNested, a.length], [2, true, 4]);
  t.true(a.next());
  t.deepEqual([a.type, a.string()], [5, 'br0']);
  t.false(a.next());
  t.false(new AttrReader(new Uint8Array(3), 'x').next());
});

test('a reader names the place of what is wrong', (t) => {
  t.throws(() => first('0300010000000000'), {
    code: 'WEFT_INTERNAL',
    message: 'here: attribute 1 claims 3 bytes of 8',
  });
  t.throws(() => first('0900010000000000'), { message: 'here: attribute 1 claims 9 bytes of 8' });
  t.throws(() => first('0600010000000000').u32(), { message: 'here: attribute 1 has 2 bytes, 4 expected' });
  t.throws(() => first('0800010000000000').u16(), { message: 'here: attribute 1 has 4 bytes, 2 expected' });
  t.throws(() => first('0500010000000000').ip(), { message: 'here: attribute 1 has 1 bytes, an address has 4 or 16' });
});

test('link-layer addresses of other lengths are not MACs', (t) => {
  t.is(first('0800010001020304').mac(), undefined);
  t.is(first('0a0001000242ac1100020000').mac(), '02:42:ac:11:00:02');
});

test('nests read back', (t) => {
  const w = new Writer();
  new AttrWriter(w).nest(3, (a) => a.u32(1, 7).string(2, 'é'));
  const outer = new AttrReader(w.done(), 'outer');
  t.true(outer.next());
  t.is(outer.buffer[3], NLA_F_NESTED >> 8);
  const inner = outer.nested('inner');
  t.true(inner.next());
  t.is(inner.u32(), 7);
  t.true(inner.next());
  t.is(inner.string(), 'é');
  t.false(inner.next());
});
