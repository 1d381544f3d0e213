import test from 'ava';
import fc from 'fast-check';
import { contains, fromNumber, parseCidr, toNumber } from '../../src/base/cidr.js';
import { endpointMac } from '../../src/base/mac.js';
import { endpointsOf, type Holders, holdersOf } from '../../src/model/holders.js';
import { networkBody } from '../../src/model/network.js';
import type { Stored } from '../../src/model/registry.js';
import { Cursors, withAllocated } from '../../src/state/allocate.js';
import { firstFree, poolsOf, poolUse, poolWarnings } from '../../src/state/pools.js';
import { MutableWish, type Mutation } from '../../src/state/wish.js';
import { StoreRig } from '../support/store.js';

const network = (body: object): Stored<'networks'> => ({
  table: 'networks',
  id: 'app',
  origin: 'api',
  revision: 1,
  spec: networkBody.parse({ gateways: [], ...body }),
});

const peer = (id: string, address: string): Stored<'peers'> => ({
  table: 'peers',
  id,
  origin: 'gossip',
  revision: 1,
  spec: {
    network: 'app',
    address,
    mac: endpointMac(address),
    vtep: '192.168.72.1',
    state: 'active',
    weight: 1,
    aliases: [],
  },
});

const set = (stored: Stored): Mutation => ({ table: stored.table, id: stored.id, stored });

/** A wish with these addresses taken by peers. */
function wishWith(...addresses: string[]): MutableWish {
  const wish = new MutableWish();
  wish.apply(
    1,
    addresses.map((address) => set(peer(`n2/${address}`, address))),
  );
  return wish;
}

/** `count` addresses from the one with number `first` of a prefix on. */
const run = (prefix: string, first: number, count: number): string[] => {
  const base = toNumber(parseCidr(prefix).first);
  return Array.from({ length: count }, (_, i) => fromNumber(base + BigInt(first + i), parseCidr(prefix).family));
};

/** The pool of a family, and who holds what, with a count of the addresses that were asked for. */
function counting(holders: Holders): { holders: Holders; asked: () => number } {
  let asked = 0;
  const of = holders.of.bind(holders);
  holders.of = (ip) => {
    asked++;
    return of(ip);
  };
  return { holders, asked: () => asked };
}

test('a /16 with 60,000 taken addresses: each further one costs a few questions, not thousands', (t) => {
  const app = network({ subnets: ['10.20.0.0/16'], gateways: ['10.20.0.1'], ipRanges: ['10.20.0.0/16'] });
  const wish = wishWith(...run('10.20.0.0/16', 2, 60_000));
  const [pool] = poolsOf(app);
  const { holders, asked } = counting(holdersOf(wish.read(), 'app'));
  const first = firstFree(pool as never, holders, 0n);
  t.is(first, '10.20.234.98');
  t.true(asked() < 1024, `${asked()} questions for the first`);
  const before = asked();
  let from = toNumber(first as string) + 1n;
  for (let i = 0; i < 1000; i++) from = toNumber(firstFree(pool as never, holders, from) as string) + 1n;
  t.is(asked() - before, 1000);
});

test('an IPv6 /64 is as cheap as a /24, and counts without going through it', (t) => {
  const app = network({ subnets: ['fd00::/64'], gateways: ['fd00::1'], driver: 'bridge' });
  const wish = wishWith(...run('fd00::/64', 2, 1000), 'fd00::ffff:0:0:1');
  const [pool] = poolsOf(app);
  const { holders, asked } = counting(holdersOf(wish.read(), 'app'));
  t.is(firstFree(pool as never, holders, 0n), 'fd00::3ea');
  t.true(asked() < 600, `${asked()} questions`);
  const [use] = poolUse(wish.read(), app);
  t.like(use, { range: 'fd00::/64', chosenHere: true, used: 1001, reserved: 2 });
  t.is(use?.size, 2 ** 64);
});

test('use: taken, reserved, and both at once are each counted once', (t) => {
  const app = network({
    subnets: ['10.20.0.0/24', 'fd00::/64'],
    gateways: ['10.20.0.1', 'fd00::1'],
    ipRanges: ['10.20.0.0/25'],
    reserved: ['10.20.0.16/28', '10.20.0.17', '10.20.0.200'],
  });
  const wish = wishWith('10.20.0.2', '10.20.0.20', '10.20.0.210', 'fd00::7');
  t.deepEqual(poolUse(wish.read(), app), [
    // .0, .1 and sixteen reserved ones; of the two taken, one is reserved as well.
    { range: '10.20.0.0/25', chosenHere: true, size: 128, used: 2, reserved: 18, free: 109 },
    { range: 'fd00::/64', chosenHere: false, size: 2 ** 64, used: 1, reserved: 2, free: 2 ** 64 },
  ]);
});

test('a network warns from nine tenths of what can be used, of any of its families', (t) => {
  const app = network({ subnets: ['10.20.0.0/28', 'fd00::/64'], gateways: ['10.20.0.1', 'fd00::1'] });
  // 16 less network, broadcast and gateway address: 13 can be used, and 12 of them are more than nine tenths.
  t.deepEqual(poolWarnings(wishWith(...run('10.20.0.0/28', 2, 11)).read(), app), []);
  t.deepEqual(poolWarnings(wishWith(...run('10.20.0.0/28', 2, 12)).read(), app), [
    '12 of 13 usable addresses of 10.20.0.0/28 are taken, 1 free',
  ]);
});

test('one address for each family that this agent may choose from', (t) => {
  const cursors = new Cursors(new Map());
  const wish = new MutableWish().read();
  const subnets = ['10.20.0.0/24', 'fd00::/64'];
  const from = (body: object, given: string[] = [], before: string[] = []) =>
    withAllocated(wish, network({ subnets, ...body }), given, before, cursors);
  t.deepEqual(from({ driver: 'bridge' }), ['10.20.0.1', 'fd00::1']);
  t.deepEqual(from({ driver: 'bridge' }, ['fd00::9']), ['10.20.0.2', 'fd00::9']);
  t.deepEqual(from({ ipRanges: ['fd00::100/120'] }), ['fd00::100']);
  t.deepEqual(from({ ipRanges: ['fd00::100/120'] }, ['10.20.0.9']), ['10.20.0.9', 'fd00::101']);
  t.deepEqual(from({ ipRanges: ['fd00::100/120'] }, ['10.20.0.9'], ['10.20.0.8', 'fd00::5']), ['10.20.0.9', 'fd00::5']);
  t.throws(() => from({}), { message: /may not choose addresses of network "app"/ });
  t.deepEqual(from({ driver: 'host', subnets: [] }), []);
});

const address = fc.integer({ min: 0, max: 600 }).map((n) => run('10.20.0.0/22', n, 1)[0] as string);
const change = fc.oneof(
  fc.record({ id: fc.constantFrom('a', 'b', 'c', 'd'), address }),
  fc.record({ id: fc.constantFrom('a', 'b', 'c', 'd') }),
);

test('what is known of a wish is the same whether it is followed or read anew', (t) => {
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 3 }), { maxLength: 12 }), (batches) => {
      const wish = wishWith('10.20.0.1');
      holdersOf(wish.read(), 'app');
      for (const batch of batches) {
        const mutations = batch.map((c) =>
          'address' in c ? set(peer(c.id, c.address)) : { table: 'peers' as const, id: c.id },
        );
        wish.apply(1, mutations);
      }
      const followed = holdersOf(wish.read(), 'app');
      const anew = new MutableWish();
      anew.apply(1, wish.all().map(set));
      const fresh = holdersOf(anew.read(), 'app');
      for (const text of ['10.20.0.0/22', '10.20.1.0/24', '10.20.0.0/30', '10.20.2.0/26'])
        t.is(followed.count(parseCidr(text)), fresh.count(parseCidr(text)), text);
      for (const ip of run('10.20.0.0/22', 0, 601))
        t.deepEqual(
          followed
            .of(ip)
            .map((s) => s.id)
            .sort(),
          fresh
            .of(ip)
            .map((s) => s.id)
            .sort(),
        );
    }),
  );
});

test('the first free address is what going through all of them finds', (t) => {
  const app = network({
    subnets: ['10.20.0.0/22'],
    gateways: ['10.20.0.1'],
    ipRanges: ['10.20.2.0/24', '10.20.0.0/29', '10.20.2.128/25'],
    reserved: ['10.20.2.4/30', '10.20.0.3'],
  });
  const [pool] = poolsOf(app);
  if (!pool) throw new Error('no pool');
  const all = run('10.20.0.0/22', 0, 1024).filter((ip) => pool.ranges.some((range) => contains(range, ip)));
  const usable = all.filter((ip) => !pool.avoided.some((prefix) => contains(prefix, ip)));
  fc.assert(
    fc.property(fc.subarray(usable), fc.integer({ min: 0, max: 1100 }), (taken, offset) => {
      const from = toNumber('10.20.0.0') + BigInt(offset);
      const free = usable.filter((ip) => !taken.includes(ip));
      const expected = free.find((ip) => toNumber(ip) >= from) ?? free[0];
      t.is(firstFree(pool, holdersOf(wishWith(...taken).read(), 'app'), from), expected);
    }),
  );
});

test('the endpoints of a sandbox follow the wish', (t) => {
  const rig = new StoreRig(t).app();
  const names = (sandbox: string) => endpointsOf(rig.store.wish, sandbox).map((e) => `${e.id} ${e.spec.addresses[0]}`);
  t.deepEqual(names('c1'), []);
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'] });
  rig.put('endpoints', 'c2:app', { addresses: ['10.20.0.12'] });
  t.deepEqual(names('c1'), ['c1:app 10.20.0.11']);
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.21'] });
  t.deepEqual(names('c1'), ['c1:app 10.20.0.21']);
  rig.store.remove('endpoints', 'c1:app');
  t.deepEqual([names('c1'), names('c2')], [[], ['c2:app 10.20.0.12']]);
});
