import test from 'ava';
import { Cache } from '../../src/dns/cache.js';
import { failure } from '../../src/dns/response.js';

const response = (bytes: number) => failure(new Uint8Array(bytes), bytes);

test('memory is bounded, and who fills it displaces its own', (t) => {
  const cache = new Cache(100_000);
  for (let i = 0; i < 20; i++) cache.put(`quiet ${i}`, 'quiet', response(100), 60, 0);
  for (let i = 0; i < 10_000; i++) cache.put(`loud ${i}`, 'loud', response(100), 60, 0);
  t.true(cache.bytes <= 100_000, `${cache.bytes}`);
  t.true(cache.entries > 100, `${cache.entries}`);
  for (let i = 0; i < 20; i++) t.truthy(cache.get(`quiet ${i}`, 0));
  t.truthy(cache.get('loud 9999', 0));
  t.is(cache.get('loud 0', 0), undefined);
});

test('what was used last stays', (t) => {
  const cache = new Cache(10_000);
  cache.put('used', 'c', response(100), 60, 0);
  for (let i = 0; i < 100; i++) {
    cache.put(`other ${i}`, 'c', response(100), 60, 0);
    t.truthy(cache.get('used', 0), `${i}`);
  }
});

test('what is put again, or too old, or too large, leaves nothing behind', (t) => {
  const cache = new Cache(10_000);
  cache.put('key', 'c', response(100), 60, 0);
  const { bytes } = cache;
  cache.put('key', 'd', response(100), 60, 0);
  t.deepEqual([cache.bytes, cache.entries, cache.get('key', 0)?.share.owner], [bytes, 1, 'd']);
  cache.put('large', 'c', response(10_000), 60, 0);
  t.is(cache.get('large', 0), undefined);
  t.truthy(cache.get('key', 60_000), 'stale');
  t.is(cache.get('key', 60_000 + 86_400_000), undefined);
  t.deepEqual([cache.bytes, cache.entries], [0, 0]);
});
