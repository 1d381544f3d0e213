import test from 'ava';
import fc from 'fast-check';
import { backendsOf } from '../../src/balance/backends.js';
import { endpointsOf, holdersOf } from '../../src/model/holders.js';
import { nameOf, type Stored, TABLES, type Wish } from '../../src/model/registry.js';
import { followIndexes, WishIndex } from '../../src/model/wish-index.js';
import { MutableWish, type Mutation } from '../../src/state/wish.js';
import { bodies, wishOf } from '../contract/wish.js';

const all = (wish: Wish): Stored[] => TABLES.flatMap((table) => [...wish[table].values()] as Stored[]);

/** What leads from one wish to another. */
function mutations(before: Wish, after: Wish): Mutation[] {
  const gone = all(before).filter(({ table, id }) => !after[table].has(id));
  return [
    ...gone.map(({ table, id }) => ({ table, id })),
    ...all(after).map((s) => ({ table: s.table, id: s.id, stored: s })),
  ];
}

/** The answers of all indexes of the program; lists without an order of their own are sorted. */
function answers(wish: Wish): unknown {
  const networks = [...wish.networks.keys()].sort();
  const held = all(wish).flatMap((o) => {
    const spec = o.spec as { address?: string; addresses?: unknown; mac?: string };
    const own = Array.isArray(spec.addresses) ? (spec.addresses as string[]) : [];
    return [{ ips: spec.address === undefined ? own : [spec.address], mac: spec.mac ?? '' }];
  });
  const names = (list: readonly Stored[]) => list.map(nameOf).sort();
  return {
    holders: networks.map((network) => {
      const holders = holdersOf(wish, network);
      const each = held.flatMap(({ ips, mac }) => [
        ...ips.map((ip) => names(holders.of(ip))),
        names(holders.ofMac(mac)),
      ]);
      return [network, holders.total(4), holders.total(6), each.map(String).sort()];
    }),
    endpoints: [...wish.sandboxes.keys()].sort().map((sandbox) => names(endpointsOf(wish, sandbox))),
    backends: networks.map((network) =>
      ['web', 'api'].map((service) => ([4, 6] as const).map((of) => backendsOf(wish, service, network, of))),
    ),
  };
}

test('an index that followed changes answers as one that reads the wish anew', (t) => {
  let backends = 0;
  fc.assert(
    fc.property(fc.array(bodies, { minLength: 2, maxLength: 5 }), (steps) => {
      const followed = new MutableWish();
      for (const stated of steps) {
        answers(followed.read());
        followed.apply(followed.revision + 1, mutations(followed.read(), wishOf(stated)));
        const wish = followed.read();
        const given = answers(wish);
        backends += JSON.stringify(given).includes('"weight"') ? 1 : 0;
        t.deepEqual(given, answers({ ...wish }));
      }
    }),
  );
  t.true(backends > 10, 'services had backends');
});

test('an index is handed on: it reads a wish once, then what changed', (t) => {
  const entered: string[] = [];
  const index = new WishIndex<Set<string>>(
    ['nodes'],
    () => new Set(),
    (ids, { id }) => {
      entered.push(id);
      ids.add(id);
    },
    (ids, { id }) => void ids.delete(id),
  );
  const node = (id: string) => ({ table: 'nodes', id, origin: 'gossip', revision: 1, spec: {} }) as Stored<'nodes'>;
  const wish = (...ids: string[]) =>
    ({ nodes: new Map(ids.map((id) => [id, node(id)])), peers: new Map() }) as unknown as Wish;
  const before = wish('a', 'b');
  const after = wish('b', 'c');
  t.deepEqual([...index.of(before)], ['a', 'b']);
  const changes = ['a', 'c', 'c'].map((id) => ({ table: 'nodes', id }) as const);
  followIndexes(before, after, [...changes, { table: 'peers', id: 'c' }]);
  t.deepEqual([...index.of(after)], ['b', 'c']);
  t.deepEqual(entered, ['a', 'b', 'c']);
  t.deepEqual([...index.of(before)], ['a', 'b'], 'the old reading is read anew');
});
