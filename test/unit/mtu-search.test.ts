import test from 'ava';
import fc from 'fast-check';
import { MtuSearch } from '../../src/agent/underlay/mtu-search.js';

/** Sizes that are tried on a path that carries `mtu` bytes, and what comes of it. */
function search(mtu: number, hint?: number): { tried: number[]; result: number | undefined } {
  const search = new MtuSearch(1500, 1200, hint);
  const tried: number[] = [];
  for (let size = search.next(); size !== undefined; size = search.next()) {
    tried.push(size);
    if (tried.length > 50) throw new Error(`no end: ${tried.join(' ')}`);
    if (size <= mtu) search.passed(size);
    else search.failed(size);
  }
  return { tried, result: search.result };
}

test('a path that is as the route says takes one probe', (t) => {
  t.deepEqual(search(1500), { tried: [1500], result: 1500 });
  t.deepEqual(search(9000, 1400), { tried: [1500], result: 1500 }, 'also where it was smaller before');
});

test('nobody answers: known after two sizes', (t) => {
  t.deepEqual(search(0), { tried: [1500, 1200], result: undefined });
  t.deepEqual(search(0, 1400), { tried: [1500, 1400, 1200], result: undefined });
});

test('a smaller path is found in at most eleven sizes, one that is as before in three', (t) => {
  t.deepEqual(search(1400, 1400), { tried: [1500, 1400, 1401], result: 1400 });
  fc.assert(
    fc.property(fc.integer({ min: 1200, max: 1499 }), fc.option(fc.integer({ min: 1200, max: 1499 })), (mtu, hint) => {
      const { tried, result } = search(mtu, hint ?? undefined);
      t.is(result, mtu);
      t.true(tried.length <= 13, tried.join(' '));
      t.true(hint !== null || tried.length <= 11, tried.join(' '));
    }),
  );
});

test('an answer that comes late counts', (t) => {
  const search = new MtuSearch(1500, 1200);
  search.failed(1500);
  search.passed(1200);
  search.failed(1350);
  search.passed(1350);
  t.is(search.next(), 1425);
  search.passed(1500);
  t.is(search.next(), undefined);
  t.is(search.result, 1500);
});
