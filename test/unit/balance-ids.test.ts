import test from 'ava';
import { backendId, backendIds, backendsOf } from '../../src/balance/backends.js';
import { produce } from '../../src/network/produce.js';
import type { NftElement } from '../../src/objects/nft.js';
import { wishOf } from '../contract/wish.js';
import { plainWorld } from '../support/world.js';

/** Two addresses of which SHA-256 makes the same number; and the same MAC, but that may be given. */
const TWINS = ['fd20::2c41', 'fd20::33a4'] as const;

const wishWith = (...hosts: string[]) =>
  wishOf({
    networks: { app: { subnets: ['fd20::/64'], vni: 4097 } },
    services: { web: { networks: ['app'], vips: { app: ['fd20::200'] } } },
    sandboxes: Object.fromEntries(hosts.map((_, i) => [`b${i}`, {}])),
    endpoints: Object.fromEntries(
      hosts.map((ip, i) => [`b${i}:app`, { addresses: [ip], mac: `02:42:00:00:00:0${i}`, service: 'web' }]),
    ),
  });

test('two backends never have one number, though their addresses would make it', (t) => {
  t.is(backendId(TWINS[0]), backendId(TWINS[1]));
  for (const hosts of [TWINS, [...TWINS].reverse()]) {
    const ids = backendIds(wishWith(...hosts), 'web', 'app');
    t.deepEqual(
      [...ids],
      [
        [TWINS[0], backendId(TWINS[0])],
        [TWINS[1], backendId(TWINS[0]) + 1],
      ],
    );
  }
  t.deepEqual(
    backendsOf(wishWith(TWINS[1]), 'web', 'app', 6).map(({ id }) => id),
    [backendId(TWINS[1])],
    'alone it has its own',
  );
});

test('each of them has its turn, and its place in the maps', (t) => {
  const wanted = produce(plainWorld(wishWith(...TWINS)), 'service/web').map(({ object }) => object as NftElement);
  const elements = (set: string) => wanted.filter((o) => o.what === 'element' && o.set === set);
  t.is(new Set(elements('live6').map(({ key }) => key)).size, 2);
  t.is(new Set(elements('live6').map(({ value }) => value)).size, 2, 'their MACs');
  t.is(new Set(elements('slot6').map(({ value }) => value)).size, 2);
});
