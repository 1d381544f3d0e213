import test from 'ava';
import fc from 'fast-check';
import { sameJson } from '../../src/base/same.js';

const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => [k, sorted(v)]),
  );
};

test('values are the same where JSON with sorted fields says so', (t) => {
  const value = fc.jsonValue({ maxDepth: 3 });
  fc.assert(
    fc.property(value, value, (a, b) => {
      t.true(sameJson(a, structuredClone(a)));
      t.is(sameJson(a, b), JSON.stringify(sorted(a)) === JSON.stringify(sorted(b)));
    }),
  );
});

test('fields that are undefined count as absent, on either side', (t) => {
  t.true(sameJson({ a: 1, b: undefined }, { a: 1 }));
  t.true(sameJson({ a: 1 }, { b: undefined, a: 1 }));
  t.false(sameJson({ a: undefined }, { a: null }));
  t.false(sameJson([1], { 0: 1 }));
  t.false(sameJson({ 0: 1 }, [1]));
  t.false(sameJson([1, undefined], [1]));
});
