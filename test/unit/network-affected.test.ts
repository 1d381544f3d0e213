import test from 'ava';
import fc from 'fast-check';
import { gatewayOf } from '../../src/agent/choices.js';
import { nameOf, type Stored, TABLES, type Table, type Wish } from '../../src/model/registry.js';
import { affected, type Change } from '../../src/network/affected.js';
import { produce, producers } from '../../src/network/produce.js';
import type { World } from '../../src/network/world.js';
import { KINDS } from '../../src/objects/registry.js';
import { Desired } from '../../src/reconcile/desired.js';
import { type Bodies, bodies, wishOf } from '../contract/wish.js';
import { SELF } from '../support/store.js';

const world = (wish: Wish): World => ({
  wish,
  self: { ...SELF, dataPathPort: 4789, addresses: { 4: SELF.vtep } },
  underlayMtu: 1500,
  smallPaths: new Map(),
  balancer: { name: 'nft', bridgeConntrack: false, hash: true },
  nftInet: true,
  gateway: { 4: gatewayOf('172.31.0.0/16'), 6: gatewayOf('fd87:7765:6674:1::/64') },
  // A number by name alone: the order in which producers ask must not matter here.
  number: (space, name, first) =>
    first + [...`${space}/${name}`].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) % 9973, 7),
  chosenPort: () => undefined,
  resolverPorts: () => undefined,
});

function changesBetween(before: Wish, after: Wish): Change[] {
  return TABLES.flatMap((table) => {
    const [old, now] = [before[table], after[table]] as [ReadonlyMap<string, Stored>, ReadonlyMap<string, Stored>];
    const ids = new Set([...old.keys(), ...now.keys()]);
    return [...ids]
      .filter((id) => JSON.stringify(old.get(id)) !== JSON.stringify(now.get(id)))
      .map((id) => ({ table, id }));
  });
}

/** What each producer wants: claims on one key are both kept, so the order of statements does not show. */
function wants(wish: Wish, names: Iterable<string>, known: Map<string, string>): Map<string, string> {
  const out = new Map(known);
  for (const name of names) {
    const list = produce(world(wish), name);
    if (list.length > 0) out.set(name, JSON.stringify(list.map(({ ns, kind, object }) => [ns, kind, object])));
    else out.delete(name);
  }
  return out;
}

/** Tables of which single changes let only some producers be asked again. */
const LIGHT = ['peers', 'sandboxes', 'endpoints', 'services'] as const satisfies readonly Table[];
/** Changes of such tables, or of any. */
const step = fc.tuple(
  bodies,
  fc.oneof(fc.subarray([...LIGHT], { minLength: 1 }), fc.subarray([...TABLES], { minLength: 1 })),
);

test('asking only the affected producers after a change gives what asking all of them gives', (t) => {
  fc.assert(
    fc.property(bodies, fc.array(step, { minLength: 1, maxLength: 4 }), (first, steps) => {
      let stated: Bodies = first;
      let wish = wishOf(stated);
      let known = wants(wish, producers(wish), new Map());
      for (const [next, taken] of steps) {
        stated = { ...stated, ...Object.fromEntries(taken.map((table) => [table, next[table]])) };
        const after = wishOf(stated);
        const changes = changesBetween(wish, after);
        const asked = affected(changes, wish, after);
        const names = asked === 'all' ? new Set([...producers(after), ...known.keys()]) : asked;
        known = wants(after, names, known);
        wish = after;
        t.deepEqual(
          new Map([...known].sort()),
          new Map([...wants(wish, producers(wish), new Map())].sort()),
          changes.map(nameOf).join(' '),
        );
      }
    }),
    { numRuns: 150 },
  );
});

test('producing is pure: twice the same world, twice the same objects, all of known kinds with unique keys a producer', (t) => {
  fc.assert(
    fc.property(bodies, (stated) => {
      const wish = wishOf(stated);
      t.deepEqual(wants(wish, producers(wish), new Map()), wants(wish, producers(wish), new Map()));
      const desired = new Desired(KINDS);
      for (const name of producers(wish)) {
        const list = produce(world(wish), name);
        desired.set(name, list);
        t.is(desired.set(name, produce(world(wish), name)).scopes.size, 0, `${name} states the same and makes dirt`);
        for (const { owner, because } of list) t.true(owner === name && because !== '');
      }
    }),
    { numRuns: 100 },
  );
});
