import test from 'ava';
import fc from 'fast-check';
import { LayeredMap } from '../../src/base/layered-map.js';

const COUNT = 600;
/** Keys that are there at first, and some that are not; undefined takes one out. */
const change = fc.tuple(fc.nat(COUNT + 5), fc.option(fc.nat(9), { nil: undefined }));
const first = (): [number, number][] => Array.from({ length: COUNT }, (_, i) => [i, -1]);

test('versions have what a Map has, in its order, and earlier ones stay as they are', (t) => {
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 20 }), { maxLength: 8 }), (steps) => {
      const map = new Map(first());
      let layered = new LayeredMap(new Map(first()));
      for (const changes of steps) {
        const before = layered;
        const was = [...before];
        layered = layered.with(changes);
        for (const [key, value] of changes) {
          if (value === undefined) map.delete(key);
          else map.set(key, value);
        }
        t.deepEqual([...layered], [...map]);
        t.is(layered.size, map.size);
        t.deepEqual([...layered.keys()], [...map.keys()]);
        t.deepEqual([...layered.values()], [...map.values()]);
        for (const [key] of changes) t.deepEqual([layered.get(key), layered.has(key)], [map.get(key), map.has(key)]);
        t.deepEqual([...before], was);
      }
    }),
  );
});

test('changes lie over what there is, and are copied with it once they are many', (t) => {
  let copies = 0;
  class Counted<K, V> extends Map<K, V> {
    override [Symbol.iterator]() {
      copies++;
      return super[Symbol.iterator]();
    }
  }
  let layered: LayeredMap<number, number> = new LayeredMap(
    new Counted(Array.from({ length: 50_000 }, (_, i) => [i, i])),
  );
  for (let i = 0; i < 300; i++) layered = layered.with([[60_000 + i, i]]);
  t.is(copies, 0);
  for (let i = 300; i < 320; i++) layered = layered.with([[60_000 + i, i]]);
  t.is(copies, 1);
  t.is(layered.size, 50_320);
});
