import test from 'ava';
import fc from 'fast-check';
import type { Kind, Where } from '../../src/objects/kind.js';
import { type Gate, groupByRank, plan, type Wanted } from '../../src/reconcile/plan.js';

/** A kind of which everything can be chosen: identity, equality, ownership. */
interface Thing {
  id: string;
  value: number;
  ours: boolean;
}

const thing: Kind<Thing> = {
  name: 'thing',
  stages: [1],
  stage: () => 1,
  rank: (o) => o.value,
  key: (o) => o.id,
  same: (want, have) => (want.value === have.value ? '' : `value ${have.value}, wanted ${want.value}`),
  owns: (have) => have.ours,
  describe: (o) => `thing ${o.id}`,
};
const WHERE: Where = { ns: 'n', nsOwned: false };
const wanted = (id: string, value: number): Wanted<Thing> => ({
  ns: 'n',
  kind: 'thing',
  object: { id, value, ours: true },
  because: `wish ${id}`,
  owner: `owner/${id}`,
});
const planned = (kind: Kind<Thing>, where: Where, want: Wanted<Thing>[], have: Iterable<Thing>, gate: Gate) =>
  plan(kind, where, new Map(want.map((w) => [w.object.id, w])), have, gate);
const open = (): undefined => undefined;
const shut = (): string => 'held';

test('what is missing is added, with the reason and the owner of the wish', (t) => {
  const { ops, held, clashes } = planned(thing, WHERE, [wanted('a', 1)], [], open);
  t.deepEqual(ops, [
    {
      verb: 'add',
      ns: 'n',
      kind: 'thing',
      key: 'a',
      want: { id: 'a', value: 1, ours: true },
      owner: 'owner/a',
      because: 'missing: wish a',
    },
  ]);
  t.deepEqual([held, clashes], [[], []]);
});

test('what differs is changed; what is as wished is left alone, whoever made it', (t) => {
  const have = [
    { id: 'a', value: 2, ours: true },
    { id: 'b', value: 1, ours: false },
  ];
  const { ops, clashes } = planned(thing, WHERE, [wanted('a', 1), wanted('b', 1)], have, open);
  t.like(ops, [{ verb: 'change', key: 'a', have: have[0], because: 'value 2, wanted 1 (wish a)' }]);
  t.is(ops.length, 1);
  t.deepEqual(clashes, []);
});

test('a foreign object in the way is a clash that names both, never an operation', (t) => {
  const { ops, clashes } = planned(thing, WHERE, [wanted('a', 1)], [{ id: 'a', value: 2, ours: false }], open);
  t.deepEqual(ops, []);
  t.like(clashes, [{ key: 'a', owner: 'owner/a' }]);
  t.regex(clashes[0]?.text ?? '', /thing a in n is not weft's .* wish a/);
});

test('a kind may adopt what it does not own when the wish is about exactly that object', (t) => {
  const adopting: Kind<Thing> = { ...thing, adopts: (want, have) => have.value === want.value + 1 };
  t.is(planned(adopting, WHERE, [wanted('a', 1)], [{ id: 'a', value: 2, ours: false }], open).ops[0]?.verb, 'change');
  t.is(planned(adopting, WHERE, [wanted('a', 1)], [{ id: 'a', value: 9, ours: false }], open).clashes.length, 1);
});

test('what nobody wishes is removed when it is ours and the gate is open, else held with the reason', (t) => {
  const have = [
    { id: 'ours', value: 1, ours: true },
    { id: 'foreign', value: 1, ours: false },
  ];
  const { ops, held } = planned(thing, WHERE, [], have, open);
  t.like(ops, [{ verb: 'remove', key: 'ours', have: have[0], because: 'nothing wishes it', owner: '' }]);
  t.is(ops.length, 1);
  t.deepEqual(held, []);
  const waiting = planned(thing, WHERE, [], have, shut);
  t.deepEqual(waiting.ops, []);
  t.deepEqual(waiting.held, [{ ns: 'n', kind: 'thing', key: 'ours', text: 'thing ours: held' }]);
});

test('operations are grouped by rank: additions upwards, removals downwards, an atomic kind as one', (t) => {
  const have = [1, 3, 2].map((value) => ({ id: `old${value}`, value, ours: true }));
  const { ops } = planned(thing, WHERE, [wanted('n2', 2), wanted('n1', 1)], have, open);
  const keys = (kind: Kind<Thing>, verb: string) =>
    groupByRank(
      kind,
      ops.filter((op) => op.verb === verb),
    ).map((group) => group.ops.map((op) => op.key));
  t.deepEqual(keys(thing, 'add'), [['n1'], ['n2']]);
  t.deepEqual(keys(thing, 'remove'), [['old3'], ['old2'], ['old1']]);
  t.deepEqual(keys({ ...thing, atomic: true }, 'remove'), [['old1', 'old3', 'old2']]);
});

const things = (ours: fc.Arbitrary<boolean>) =>
  fc.uniqueArray(fc.record({ id: fc.constantFrom(...'abcdefgh'), value: fc.nat(2), ours }), { selector: (o) => o.id });

test('done once, nothing is left to do, and foreign objects are where they were', (t) => {
  fc.assert(
    fc.property(things(fc.constant(true)), things(fc.boolean()), (want, have) => {
      const kernel = new Map(have.map((o) => [o.id, o]));
      const wish = want.map((o) => wanted(o.id, o.value));
      const { ops, clashes } = planned(thing, WHERE, wish, kernel.values(), open);
      for (const op of ops) {
        if (op.verb === 'remove') kernel.delete(op.key);
        else kernel.set(op.key, op.want as Thing);
      }
      const again = planned(thing, WHERE, wish, kernel.values(), open);
      t.deepEqual(again.ops, []);
      t.deepEqual(again.clashes, clashes);
      for (const o of have) if (!o.ours) t.deepEqual(kernel.get(o.id), o);
      for (const o of want) if (!clashes.some((c) => c.key === o.id)) t.is(kernel.get(o.id)?.value, o.value);
    }),
  );
});

test('with the gate shut nothing is ever removed', (t) => {
  fc.assert(
    fc.property(things(fc.constant(true)), things(fc.boolean()), (want, have) => {
      const { ops } = planned(
        thing,
        WHERE,
        want.map((o) => wanted(o.id, o.value)),
        have,
        shut,
      );
      t.false(ops.some((op) => op.verb === 'remove'));
    }),
  );
});
