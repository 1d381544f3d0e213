import test from 'ava';
import fc from 'fast-check';
import { SLOTS_MAX, sharesOf, tableOf, turnsOf } from '../../src/balance/turns.js';

const weight = fc.integer({ min: 1, max: 65535 });
const weights = fc.array(weight, { minLength: 1, maxLength: 40 });
const names = (n: number) => Array.from({ length: n }, (_, i) => `10.0.0.${i}`);
const ids = (n: number) => Array.from({ length: n }, (_, i) => 0x0a000000 + i);

/** How often each number comes. */
function counts(turns: readonly number[], n: number): number[] {
  const out = new Array(n).fill(0);
  for (const turn of turns) out[turn]++;
  return out;
}

test('shares are the weights in smallest numbers', (t) => {
  t.deepEqual(sharesOf([1, 99]), [1, 99]);
  t.deepEqual(sharesOf([10, 20, 30]), [1, 2, 3]);
  t.deepEqual(sharesOf([65535, 65535]), [1, 1]);
  t.deepEqual(sharesOf([1, 65535]), [1, SLOTS_MAX - 1]);
  t.deepEqual(sharesOf([1, 1, 1, 65535]), [1, 1, 1, SLOTS_MAX - 3]);
  t.deepEqual(sharesOf(new Array(400).fill(7)), new Array(400).fill(1));
});

test('shares are within one slot of the weights, and nobody is left out', (t) => {
  fc.assert(
    fc.property(weights, (weights) => {
      const shares = sharesOf(weights);
      const total = weights.reduce((a, b) => a + b, 0);
      const slots = shares.reduce((a, b) => a + b, 0);
      t.true(slots <= SLOTS_MAX);
      // The smallest are lifted to one slot; the largest give those, one a backend at most.
      for (const [i, share] of shares.entries()) {
        const fair = ((weights[i] as number) * slots) / total;
        t.true(share >= 1 && share >= fair - weights.length && share <= Math.max(1, fair + 1), `${share} of ${fair}`);
      }
    }),
  );
});

test('a round of turns gives each its share, spread out', (t) => {
  fc.assert(
    fc.property(weights, (weights) => {
      t.deepEqual(counts(turnsOf(ids(weights.length), weights, 1), weights.length), sharesOf(weights));
    }),
  );
  const heavy = turnsOf(ids(2), [1, 3], 1).join('');
  t.true('00100010001'.includes(heavy) || '11101110'.includes(heavy), heavy);
  t.is(new Set(turnsOf(ids(5), [1, 1, 1, 1, 1], 1)).size, 5);
});

test('which backend comes first depends on who takes part', (t) => {
  const firsts = Array.from({ length: 64 }, (_, i) => turnsOf([...ids(3), 0x0a000100 + i], [1, 1, 1, 1], 1)[0]);
  t.is(new Set(firsts).size, 4);
});

test('where every connection comes after a change, each backend has its share of them', (t) => {
  // Every change lets the kernel count from 0 again: the first in turn gets the connection.
  for (const step of [1, 2, 3, 7, 10]) {
    for (const states of [
      [[1, 1, 1, 1]],
      [
        [1, 1, 1, 1],
        [1, 1, 1],
      ],
      [
        [1, 1, 1, 1],
        [1, 1, 1, 2],
      ],
    ]) {
      const firsts = Array.from({ length: 120 }, (_, i) => {
        const weights = states[i % states.length] as number[];
        return turnsOf(ids(weights.length), weights, 1000 + i * step)[0] as number;
      });
      for (const n of counts(firsts, 4).slice(0, 3)) t.true(n >= 20 && n <= 45, `${n} of 120, step ${step}: ${states}`);
    }
  }
});

test('a hash table gives each backend its share and barely changes with one more', (t) => {
  const ten = tableOf(names(10), new Array(10).fill(1));
  t.is(ten.length, 251);
  for (const n of counts(ten, 10)) t.true(n >= 25 && n <= 26, String(n));
  const nine = tableOf(names(9), new Array(9).fill(1));
  const moved = ten.filter((backend, i) => backend !== 9 && backend !== nine[i]).length;
  t.true(moved < 251 / 4, `${moved} entries of others moved`);
  const [light = 0, heavy = 0] = counts(tableOf(['a', 'b'], [1, 3]), 2);
  t.true(heavy > 2.9 * light && heavy < 3.1 * light, `${light}, ${heavy}`);
});

test('tables grow with backends', (t) => {
  t.is(tableOf(names(200), new Array(200).fill(1)).length, 4093);
  for (const n of counts(tableOf(names(200), new Array(200).fill(1)), 200)) t.true(n >= 20 && n <= 21, String(n));
});
