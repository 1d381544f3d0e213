import test from 'ava';
import fc from 'fast-check';
import type { Neighbour } from '../../src/objects/neighbour.js';
import { KINDS } from '../../src/objects/registry.js';
import { Desired, Dirt, type Keys } from '../../src/reconcile/desired.js';
import type { Wanted } from '../../src/reconcile/plan.js';

const NS = 'net-app';
const at = (ip: string, mac: string, owner = 'peer/a'): Wanted => ({
  ns: NS,
  kind: 'neighbour',
  object: { dev: 'vxlan0', ip, mac },
  because: 'test',
  owner,
});
const key = (ip: string): string => `vxlan0 ${ip}`;
const dirtOf = (dirt: Dirt): Record<string, string[] | 'all'> =>
  Object.fromEntries([...dirt.scopes].map(([id, { keys }]) => [id, keys === 'all' ? keys : [...keys].sort()]));
const macs = (desired: Desired, keys?: Keys): string[] =>
  desired.in(NS, 'neighbour', keys).map((w) => (w.object as Neighbour).mac);

test('a producer’s objects are wanted until it gives them up; only what changed is dirty', (t) => {
  const desired = new Desired(KINDS);
  t.deepEqual(dirtOf(desired.set('peer/a', [at('10.0.0.1', 'm1'), at('10.0.0.2', 'm2')])), {
    [`${NS}|neighbour`]: [key('10.0.0.1'), key('10.0.0.2')],
  });
  t.deepEqual(dirtOf(desired.set('peer/a', [at('10.0.0.1', 'm1'), at('10.0.0.2', 'm9')])), {
    [`${NS}|neighbour`]: [key('10.0.0.2')],
  });
  t.deepEqual(macs(desired), ['m1', 'm9']);
  t.deepEqual(dirtOf(desired.set('peer/a', [at('10.0.0.2', 'm9')])), { [`${NS}|neighbour`]: [key('10.0.0.1')] });
  t.deepEqual(dirtOf(desired.set('peer/a', [])), { [`${NS}|neighbour`]: [key('10.0.0.2')] });
  t.deepEqual([[...desired.producers()], desired.scopes(), macs(desired)], [[], [], []]);
});

test('stating the same again makes no dirt', (t) => {
  const desired = new Desired(KINDS);
  const wish = [at('10.0.0.1', 'm1'), at('10.0.0.2', 'm2')];
  desired.set('peer/a', wish);
  t.is(desired.set('peer/a', structuredClone(wish)).scopes.size, 0);
});

test('of two claims on one address the newest wins, and the other comes back when it goes', (t) => {
  const desired = new Desired(KINDS);
  desired.set('peer/old', [at('10.0.0.1', 'old', 'peer/old')]);
  desired.set('peer/new', [at('10.0.0.1', 'new', 'peer/new')]);
  t.deepEqual(macs(desired), ['new']);
  const dirt = desired.set('peer/new', []);
  t.deepEqual(dirtOf(dirt), { [`${NS}|neighbour`]: [key('10.0.0.1')] });
  t.deepEqual(macs(desired), ['old']);
  t.false(desired.isReleased(NS, 'neighbour', key('10.0.0.1')), 'somebody still wants it');
});

test('the losing claim may go without a trace', (t) => {
  const desired = new Desired(KINDS);
  desired.set('peer/old', [at('10.0.0.1', 'old', 'peer/old')]);
  desired.set('peer/new', [at('10.0.0.1', 'new', 'peer/new')]);
  desired.set('peer/old', []);
  t.deepEqual(macs(desired), ['new']);
  desired.set('peer/new', []);
  t.deepEqual(macs(desired), []);
  t.true(desired.isReleased(NS, 'neighbour', key('10.0.0.1')));
});

test('what was given up is released until it is seen gone or wanted again', (t) => {
  const desired = new Desired(KINDS);
  desired.set('peer/a', [at('10.0.0.1', 'm'), at('10.0.0.2', 'm')]);
  desired.set('peer/a', []);
  t.deepEqual(desired.releasedIn(NS, 'neighbour').sort(), [key('10.0.0.1'), key('10.0.0.2')]);
  desired.settle(NS, 'neighbour', key('10.0.0.1'));
  desired.set('peer/b', [at('10.0.0.2', 'm', 'peer/b')]);
  t.deepEqual(desired.releasedIn(NS, 'neighbour'), []);
  t.false(desired.isReleased(NS, 'neighbour', key('10.0.0.3')), 'never wanted');
});

test('a scope can be asked for some keys', (t) => {
  const desired = new Desired(KINDS);
  desired.set('peer/a', [at('10.0.0.1', 'm1'), at('10.0.0.2', 'm2')]);
  t.deepEqual(macs(desired, new Set([key('10.0.0.2'), key('10.9.9.9')])), ['m2']);
  t.true(desired.wants(NS, 'neighbour', key('10.0.0.1')));
  t.false(desired.wants(NS, 'neighbour', key('10.0.0.3')));
  t.false(desired.wants('net-other', 'neighbour', key('10.0.0.1')));
});

test('an object of a kind that nobody knows is a defect', (t) => {
  t.throws(() => new Desired(KINDS).set('peer/a', [{ ns: NS, kind: 'nonsense', object: {}, because: '', owner: '' }]), {
    message: /nonsense/,
  });
});

test('dirt: a whole scope swallows its keys, in either order and when merged', (t) => {
  const some = new Dirt();
  some.add(NS, 'link', 'a');
  some.add(NS, 'link', 'b');
  const all = new Dirt();
  all.add(NS, 'link');
  all.add(NS, 'link', 'c');
  t.deepEqual(dirtOf(all), { [`${NS}|link`]: 'all' });
  const merged = new Dirt();
  merged.merge(some);
  t.deepEqual(dirtOf(merged), { [`${NS}|link`]: ['a', 'b'] });
  merged.merge(all);
  merged.merge(some);
  t.deepEqual(dirtOf(merged), { [`${NS}|link`]: 'all' });
});

/** Statements by three producers about four addresses. */
const statement = fc.record({
  producer: fc.constantFrom('peer/a', 'peer/b', 'peer/c'),
  macs: fc.dictionary(fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'), fc.constantFrom('m1', 'm2')),
});

test('whatever is stated in whatever order, what is wanted is what the last statements say, and changes are dirty', (t) => {
  fc.assert(
    fc.property(fc.array(statement, { maxLength: 12 }), (statements) => {
      const desired = new Desired(KINDS);
      const last = new Map<string, Record<string, string>>();
      for (const { producer, macs: rows } of statements) {
        const before = new Map(
          desired.in(NS, 'neighbour').map((w) => [(w.object as Neighbour).ip, (w.object as Neighbour).mac]),
        );
        const dirt = desired.set(
          producer,
          Object.entries(rows).map(([ip, mac]) => at(ip, mac, producer)),
        );
        last.set(producer, rows);
        const dirty = dirt.scopes.get(`${NS}|neighbour`)?.keys ?? new Set();
        const now = new Map(
          desired.in(NS, 'neighbour').map((w) => [(w.object as Neighbour).ip, (w.object as Neighbour).mac]),
        );
        for (const ip of new Set([...before.keys(), ...now.keys()])) {
          const claims = [...last.values()].flatMap((all) => all[ip] ?? []);
          t.is(now.has(ip), claims.length > 0);
          if (now.has(ip)) t.true(claims.includes(now.get(ip) as string));
          if (before.get(ip) !== now.get(ip)) t.true(dirty === 'all' || dirty.has(key(ip)), `${ip} changed unnoticed`);
        }
      }
    }),
    { numRuns: 300 },
  );
});
