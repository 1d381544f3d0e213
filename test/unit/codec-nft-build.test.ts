import test from 'ava';
import { codeOf } from '../../src/base/errors.js';
import {
  accept,
  anyOf,
  bitsAre,
  CT_INVALID,
  ct,
  ether,
  inPrefix,
  inSet,
  ip,
  ip6,
  is,
  isNot,
  learn,
  map,
  meta,
  numgen,
  raw,
  rule,
  set,
  setBits,
  setOf,
  tcp,
  udp,
  value,
  vmap,
} from '../../src/codec/nft/build.js';
import type { Expr } from '../../src/codec/nft/expr.js';
import { normalRule } from '../../src/codec/nft/normal.js';
import { keyHex, keyShape, valueHex } from '../../src/codec/nft/types.js';
import { readUserdata, userdataBytes } from '../../src/codec/nft/userdata.js';

const BRIDGE = { family: 'bridge', table: 'weft', chain: 'c' } as const;

/** Expressions in short, as `nft --debug=netlink` prints them. */
function short(e: Expr): string {
  const { expr, ...rest } = e;
  return `${expr} ${JSON.stringify(rest, (_, v) => (typeof v === 'bigint' ? String(v) : v)).replace(/[{}"]/g, '')}`;
}

test('headers are checked once, before the first term that needs them', (t) => {
  const r = rule(BRIDGE, [
    is(ip.daddr, '10.0.0.1'),
    is(tcp.dport, 80),
    is(tcp.sport, 1),
    is(ip.saddr, '10.0.0.2'),
    accept,
  ]);
  t.deepEqual(r.exprs.map(short), [
    'meta key:protocol,dreg:1',
    'cmp sreg:1,op:eq,data:0800',
    'payload dreg:1,base:network,offset:16,length:4',
    'cmp sreg:1,op:eq,data:0a000001',
    'meta key:l4proto,dreg:1',
    'cmp sreg:1,op:eq,data:06',
    'payload dreg:1,base:transport,offset:2,length:2',
    'cmp sreg:1,op:eq,data:0050',
    'payload dreg:1,base:transport,offset:0,length:2',
    'cmp sreg:1,op:eq,data:0001',
    'payload dreg:1,base:network,offset:12,length:4',
    'cmp sreg:1,op:eq,data:0a000002',
    'immediate dreg:0,data:verdict:accept',
  ]);
  const first = (family: 'inet' | 'ip' | 'ip6', term: typeof ip.daddr | typeof ip6.daddr) =>
    rule({ ...BRIDGE, family }, [inSet([term], 's')])
      .exprs.slice(0, 2)
      .map(short);
  t.deepEqual(first('inet', ip6.daddr), ['meta key:nfproto,dreg:1', 'cmp sreg:1,op:eq,data:0a']);
  t.is(first('ip', ip.daddr)[0], 'payload dreg:1,base:network,offset:16,length:4');
});

test('a key of several terms has each in registers of its own', (t) => {
  const regs = (...terms: Parameters<typeof vmap>[0]) =>
    vmap(terms, 'm')
      .exprs.map((e) => ('dreg' in e && e.expr !== 'lookup' ? e.dreg : undefined))
      .filter((n) => n !== undefined);
  t.deepEqual(regs(ip.daddr, ip.protocol, tcp.dport), [1, 9, 10]);
  t.deepEqual(regs(ether.saddr, ip.saddr), [1, 10]);
  t.deepEqual(regs(ip6.daddr, ct.mark), [1, 2], 'four words on is register 2, as the kernel says');
  t.deepEqual(regs(ip6.daddr, ip6.saddr, ip.daddr, tcp.dport), [1, 2, 3, 17]);
  const tooLong = () => vmap([ip6.daddr, ip6.saddr, ip6.daddr, ip6.saddr, tcp.dport], 'm');
  t.is(codeOf(t.throws(tooLong)), 'WEFT_INVALID_ARGUMENT');
});

test('the balancer rule of a service', (t) => {
  const r = rule(BRIDGE, [
    set(ct.mark, map([numgen('inc', 3)], 'slots')),
    set(ether.daddr, map([ip.daddr, ct.mark], 'be')),
    accept,
  ]);
  t.deepEqual(r.exprs.map(short), [
    'numgen dreg:1,modulus:3,mode:inc,offset:0',
    'lookup sreg:1,set:slots,inverted:false,dreg:1',
    'ctSet key:mark,sreg:1',
    'meta key:protocol,dreg:1',
    'cmp sreg:1,op:eq,data:0800',
    'payload dreg:1,base:network,offset:16,length:4',
    'ct key:mark,dreg:9',
    'lookup sreg:1,set:be,inverted:false,dreg:1',
    'payloadSet sreg:1,base:link,offset:0,length:6,csumType:none,csumOffset:0,csumFlags:0',
    'immediate dreg:0,data:verdict:accept',
  ]);
});

test('learning loads the value behind the key', (t) => {
  const { exprs } = learn('update', [ether.saddr, ip.saddr], 'flows', { timeout: 5, data: ether.daddr });
  t.deepEqual(exprs.map(short).slice(-1), [
    'dynset sregKey:1,op:update,timeout:5,set:flows,inverted:false,sregData:11',
  ]);
  t.is(short(exprs[0] as Expr), 'payload dreg:11,base:link,offset:0,length:6');
});

test('masks are in the byte order of their field', (t) => {
  const values = (exprs: readonly Expr[]) =>
    exprs.flatMap((e) => (e.expr === 'bitwise' ? [e.mask, e.xor] : e.expr === 'cmp' ? [e.data] : []));
  t.deepEqual(values(anyOf(ct.state, CT_INVALID).exprs), ['01000000', '00000000', '00000000']);
  t.deepEqual(values(bitsAre(tcp.flags, 0x12, 2).exprs), ['12', '00', '02']);
  t.deepEqual(values(setBits(meta.mark, 0x0f000000, 0x08000000).exprs), ['fffffff0', '00000008']);
  t.deepEqual(values(inPrefix(ip.saddr, '10.1.128.0/17').exprs), ['ffff8000', '00000000', '0a018000']);
  t.deepEqual(values(inPrefix(ip6.saddr, '::/0').exprs), ['00'.repeat(16), '00'.repeat(16), '00'.repeat(16)]);
});

test('values that their type cannot hold are refused', (t) => {
  const code = (make: () => unknown) => codeOf(t.throws(make));
  t.is(
    code(() => is(tcp.dport, 65536)),
    'WEFT_INVALID_ARGUMENT',
  );
  t.is(
    code(() => is(tcp.dport, -1)),
    'WEFT_INVALID_ARGUMENT',
  );
  t.is(
    code(() => is(ip.daddr, 'fd00::1')),
    'WEFT_INVALID_ARGUMENT',
  );
  t.is(
    code(() => is(ip.daddr, '10.0.0')),
    'WEFT_INVALID_ADDRESS',
  );
  t.is(
    code(() => isNot(ether.daddr, '02:42')),
    'WEFT_INVALID_ADDRESS',
  );
  t.is(
    code(() => is(meta.iifname, 'a-name-of-16-byt')),
    'WEFT_INVALID_ARGUMENT',
  );
  t.is(
    code(() => inPrefix(ip.saddr, '10.0.0.1/24')),
    'WEFT_INVALID_SUBNET',
  );
  t.is(
    code(() => inPrefix(ip.saddr, 'fd00::/64')),
    'WEFT_INVALID_ARGUMENT',
  );
  t.is(
    code(() => setOf({ ...BRIDGE, set: 's' }, { key: [] })),
    'WEFT_INVALID_ARGUMENT',
  );
  t.is(
    code(() => setOf({ ...BRIDGE, set: 's' }, { key: ['integer'] })),
    'WEFT_INVALID_ARGUMENT',
  );
  t.is(
    code(() => setOf({ ...BRIDGE, set: 's' }, { key: ['mark', { base: 'transport', offset: 0, bytes: 2 }] })),
    'WEFT_INVALID_ARGUMENT',
  );
});

test('keys and values', (t) => {
  t.is(keyHex(['ipv4_addr', 'mark'], ['10.0.0.200', 7]), '0a0000c807000000');
  t.is(keyHex(['ipv4_addr', 'inet_proto', 'inet_service'], ['10.0.0.101', 6, 8080]), '0a000065060000001f900000');
  t.is(keyHex(['ether_addr'], ['02:42:0a:00:00:65']), '02420a000065', 'one field is not padded');
  t.is(valueHex('ifname', 'br0'), '62723000000000000000000000000000');
  t.is(valueHex({ base: 'transport', offset: 12, bytes: 3 }, 256), '000100');
  t.deepEqual(keyShape(['ipv4_addr', 'mark']), { type: 0x1d3, length: 8 });
  t.deepEqual(keyShape(['ether_addr', 'ipv4_addr', 'inet_service']), { type: (9 << 12) | (7 << 6) | 13, length: 16 });
});

test('the lengths of fields go with interval sets of several', (t) => {
  const ref = { ...BRIDGE, set: 's' };
  t.deepEqual(setOf(ref, { key: ['ipv4_addr', 'inet_service'], flags: ['interval'] }).concat, [4, 2]);
  t.is(setOf(ref, { key: ['ipv4_addr', 'inet_service'] }).concat, undefined);
  t.is(setOf(ref, { key: ['ipv4_addr'], flags: ['interval'] }).concat, undefined);
});

test('normal rules: registers, ids, names of anonymous sets, counts, ranges of nat', (t) => {
  const of = (e: Expr) => normalRule({ ...BRIDGE, handle: 3n, exprs: [e] });
  t.deepEqual(of({ expr: 'cmp', sreg: 12, op: 'eq', data: '00' }), {
    ...BRIDGE,
    exprs: [{ expr: 'cmp', sreg: 2, op: 'eq', data: '00' }],
  });
  t.deepEqual(of({ expr: 'lookup', sreg: 8, dreg: 9, set: '__map7', setId: 1, inverted: false }).exprs, [
    { expr: 'lookup', sreg: 1, dreg: 9, set: '__map%d', inverted: false },
  ]);
  t.deepEqual(of({ expr: 'counter', bytes: 5, packets: 1 }).exprs, [{ expr: 'counter', bytes: 0, packets: 0 }]);
  t.deepEqual(of({ expr: 'redir', protoMin: 1, flags: 0 }).exprs, [
    { expr: 'redir', protoMin: 1, protoMax: 1, flags: 2 },
  ]);
  t.deepEqual(of({ expr: 'masq', flags: 0 }).exprs, [{ expr: 'masq', flags: 0 }]);
});

test('comments are libnftnl fields, and foreign userdata survives', (t) => {
  t.is(Buffer.from(userdataBytes({ comment: 'rr' }, 0) ?? []).toString('hex'), '0003727200');
  t.is(
    Buffer.from(userdataBytes({ comment: 'rr', userdata: '000402000000' }, 7) ?? []).toString('hex'),
    '0004020000000703727200',
  );
  t.is(userdataBytes({}, 0), undefined);
  t.deepEqual(readUserdata(Buffer.from('0003727200', 'hex'), 0), { comment: 'rr' });
  for (const foreign of ['ff', '00ff01', 'deadbeef', '00026161']) {
    const read = readUserdata(Buffer.from(foreign, 'hex'), 0);
    t.is(Buffer.from(userdataBytes(read, 0) ?? []).toString('hex'), foreign);
  }
});

test('statements that need nothing add nothing', (t) => {
  t.deepEqual(rule(BRIDGE, [set(meta.mark, value('mark', 1))], 'c'), {
    ...BRIDGE,
    exprs: [
      { expr: 'immediate', dreg: 1, data: '01000000' },
      { expr: 'metaSet', key: 'mark', sreg: 1 },
    ],
    comment: 'c',
  });
  t.deepEqual(rule(BRIDGE, [inSet([raw('transport', 12, 3)], 's')]).exprs.length, 2);
  t.deepEqual(rule(BRIDGE, [is(udp.dport, 53)]).comment, undefined);
});
