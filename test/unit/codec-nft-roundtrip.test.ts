import test from 'ava';
import fc from 'fast-check';
import { newChain, readChain } from '../../src/codec/nft/chain.js';
import type { NftData } from '../../src/codec/nft/data.js';
import { type Element, newElements, readElements } from '../../src/codec/nft/element.js';
import type { Expr } from '../../src/codec/nft/expr.js';
import { newRule, readRule } from '../../src/codec/nft/rule.js';
import { newSet, readSet } from '../../src/codec/nft/set.js';
import { newTable, readTable } from '../../src/codec/nft/table.js';
import { sent } from '../support/nft-message.js';

/* Whatever can be said is read back as it was said. */

const u8 = fc.nat(0xff);
const u32 = fc.nat(0xffffffff);
const u64 = fc.maxSafeNat();
const reg = fc.constantFrom(1, 2, 3, 4, 8, 9, 15, 23);
const name = fc.stringMatching(/^[a-z0-9_./-]{1,30}$/);
const hex = (min: number, max: number) =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((bytes) => Buffer.from(bytes).toString('hex'));
const value = hex(1, 64);
const verdict: fc.Arbitrary<NftData> = fc.oneof(
  fc.constantFrom('accept', 'drop', 'continue', 'break', 'return').map((verdict) => ({ verdict }) as const),
  fc.record({ verdict: fc.constantFrom('jump', 'goto'), chain: name }),
  fc.constant({ verdict: 'other', code: 0x20003 } as const),
);
const data: fc.Arbitrary<NftData> = fc.oneof(value, verdict);
const comment = fc.string({ minLength: 0, maxLength: 60 }).filter((s) => !s.includes('\0'));
const userdata = { comment, userdata: fc.constantFrom('010401000000', '02020001', '0302aabb') };
const where = { family: fc.constantFrom('bridge', 'inet', 'ip', 'ip6', 'arp', 'netdev'), table: name } as const;
const base = fc.constantFrom('link', 'network', 'transport', 'inner');

const direction = fc.constantFrom('original', 'reply');
const mode = fc.constantFrom('inc', 'random');
const cmp = fc.constantFrom('eq', 'neq', 'lt', 'lte', 'gt', 'gte');
const inside = fc.constantFrom('eq', 'neq');
const csumType = fc.constantFrom('none', 'inet', 'sctp');
const flags = u32;
const inverted = fc.boolean();

/** One generator a kind: the type demands that none is forgotten. Properties after the first are there or not. */
const EXPRS: { [E in Expr['expr']]: fc.Arbitrary<Omit<Extract<Expr, { expr: E }>, 'expr'>> } = {
  payload: fc.record({ dreg: reg, base, offset: u32, length: u32 }),
  payloadSet: fc.record({ sreg: reg, base, offset: u32, length: u32, csumType, csumOffset: u32, csumFlags: u32 }),
  meta: fc.record({ key: fc.constantFrom('len', 'mark', 'iifname', 'sdifname'), dreg: reg }),
  metaSet: fc.record({ key: fc.constantFrom('mark', 'pkttype'), sreg: reg }),
  ct: some({ key: fc.constantFrom('state', 'mark', 'id'), dreg: reg }, { direction }),
  ctSet: some({ key: fc.constantFrom('mark', 'zone'), sreg: reg }, { direction }),
  fib: fc.record({ flags, result: fc.constantFrom('oif', 'type'), dreg: reg }),
  numgen: fc.record({ dreg: reg, modulus: u32, mode, offset: u32 }),
  hash: some(
    { dreg: reg, modulus: u32, offset: u32, type: fc.constantFrom('jenkins', 'symmetric') },
    { sreg: reg, length: u32, seed: u32 },
  ),
  exthdr: fc.record({
    dreg: reg,
    type: u8,
    offset: u32,
    length: u32,
    present: fc.boolean(),
    op: fc.constantFrom('ipv6', 'tcpopt', 'dccp'),
  }),
  exthdrSet: fc.record({ sreg: reg, type: u8, offset: u32, length: u32, op: fc.constantFrom('tcpopt', 'ipv6') }),
  objref: fc.record({ type: u32, name }),
  cmp: fc.record({ sreg: reg, op: cmp, data: value }),
  range: fc.record({ sreg: reg, op: inside, from: value, to: value }),
  bitwise: some(
    { sreg: reg, dreg: reg, length: u32, op: fc.constantFrom('bool', 'lshift', 'rshift') },
    { mask: value, xor: value, data: value },
  ),
  byteorder: fc.record({ sreg: reg, dreg: reg, op: fc.constantFrom('ntoh', 'hton'), length: u32, size: u32 }),
  lookup: some({ sreg: reg, set: name, inverted }, { dreg: fc.nat(23), setId: u32 }),
  dynset: some(
    { sregKey: reg, op: fc.constantFrom('add', 'update', 'delete'), timeout: fc.maxSafeNat(), set: name, inverted },
    { sregData: reg, setId: u32 },
  ),
  immediate: fc.record({ dreg: fc.nat(23), data }),
  counter: fc.record({ bytes: u64, packets: u64 }),
  limit: fc.record({ rate: u64, unit: u64, burst: u32, type: fc.constantFrom('packets', 'bytes'), inverted }),
  reject: fc.record({ type: fc.constantFrom('icmp', 'tcpReset', 'icmpx'), code: u8 }),
  notrack: fc.constant({}),
  nat: some(
    { type: fc.constantFrom('snat', 'dnat'), family: fc.constantFrom('ip', 'ip6'), flags },
    { addrMin: reg, addrMax: reg, protoMin: reg, protoMax: reg },
  ),
  masq: some({ flags }, { protoMin: reg, protoMax: reg }),
  redir: some({ flags }, { protoMin: reg, protoMax: reg }),
  raw: some({ name: fc.constantFrom('log', 'match') }, { body: hex(0, 100) }),
};

/** Properties that are always there, and some that may be missing. */
function some<R extends object, O extends object>(
  always: { [K in keyof R]: fc.Arbitrary<R[K]> },
  maybe: { [K in keyof O]: fc.Arbitrary<O[K]> },
): fc.Arbitrary<R & Partial<O>> {
  const both = fc.tuple(fc.record(always), fc.record(maybe, { requiredKeys: [] }));
  return both.map(([r, o]) => ({ ...r, ...o }) as unknown as R & Partial<O>);
}

function exprs(): fc.Arbitrary<Expr> {
  const all = Object.entries(EXPRS).map(([expr, fields]) =>
    (fields as fc.Arbitrary<object>).map((f) => ({ expr, ...f }) as Expr),
  );
  return fc.oneof(...all);
}

for (const [expr, fields] of Object.entries(EXPRS)) {
  test(`expression ${expr}`, (t) => {
    fc.assert(
      fc.property(fields as fc.Arbitrary<object>, (f) => {
        const rule = { family: 'bridge', table: 't', chain: 'c', exprs: [{ expr, ...f } as Expr] } as const;
        t.deepEqual(readRule(sent(newRule({ ...rule, exprs: [...rule.exprs] }))), rule as unknown);
      }),
    );
  });
}

test('rules', (t) => {
  const rules = some({ ...where, chain: name, exprs: fc.array(exprs(), { maxLength: 12 }) }, userdata);
  fc.assert(
    fc.property(rules, (rule) => {
      t.deepEqual(readRule(sent(newRule(rule))), rule);
    }),
  );
});

test('tables', (t) => {
  fc.assert(
    fc.property(some({ ...where, flags }, userdata), (table) => {
      t.deepEqual(readTable(sent(newTable(table))), table);
    }),
  );
});

test('chains', (t) => {
  const bases = some(
    {
      type: fc.constantFrom('filter', 'nat'),
      hook: fc.constant('ingress' as const),
      priority: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
      policy: fc.constantFrom('accept', 'drop'),
    },
    { devices: fc.array(name, { minLength: 1, maxLength: 3 }) },
  );
  const chains = some(
    { ...where, family: fc.constantFrom('inet', 'netdev'), chain: name },
    { base: bases, ...userdata },
  );
  fc.assert(
    fc.property(chains, (chain) => {
      t.deepEqual(readChain(sent(newChain(chain))), chain);
    }),
  );
});

test('sets', (t) => {
  const shape = fc.record({ type: u32.filter((n) => n < 0xffffff00), length: u32 });
  const sets = some(
    {
      ...where,
      set: name,
      flags: fc.subarray(['anonymous', 'constant', 'interval', 'timeout', 'dynamic', 'object', 'expr'] as const),
      key: shape,
      policy: fc.constantFrom('performance', 'memory'),
    },
    {
      data: fc.oneof(shape, fc.constant('verdict' as const)),
      size: u32,
      concat: fc.array(u32, { minLength: 1, maxLength: 5 }),
      timeout: fc.maxSafeNat(),
      gcInterval: u32,
      counted: fc.constant(true as const),
      ...userdata,
    },
  );
  fc.assert(
    fc.property(sets, (set) => {
      t.deepEqual(readSet(sent(newSet(set))), set);
    }),
  );
});

test('elements', (t) => {
  const element = some(
    {},
    {
      key: value,
      keyEnd: value,
      data,
      intervalEnd: fc.constant(true as const),
      timeout: fc.maxSafeNat(),
      expiration: fc.maxSafeNat(),
      counter: fc.record({ packets: fc.maxSafeNat(), bytes: fc.maxSafeNat() }),
      ...userdata,
    },
  );
  const lists = fc.record({
    ...where,
    set: name,
    elements: fc.array<Element>(element, { minLength: 1, maxLength: 20 }),
  });
  fc.assert(
    fc.property(lists, (list) => {
      t.deepEqual(readElements(sent(newElements(list, list.elements)[0])), list);
    }),
  );
});
