import test from 'ava';
import { networksWithOtherHosts } from '../../src/network/hosts.js';
import { produce, producers } from '../../src/network/produce.js';
import { NODE_NS } from '../../src/objects/kind.js';
import { type NftChain, type NftElement, type NftObject, nftByKey, nftKind } from '../../src/objects/nft.js';
import { type Bodies, wishOf } from '../contract/wish.js';
import { plainWorld } from '../support/world.js';

const APP = { subnets: ['10.20.0.0/24'], vni: 4097 };
const peer = (n: number, vtep: string) => ({ network: 'app', address: `10.20.0.${n}`, vtep });

/** Objects of the guard: what table weft of the IP layer has in the node's namespace. */
function guardOf(stated: Bodies, nftInet = true): NftObject[] {
  const world = plainWorld(wishOf(stated), { nftInet });
  return producers(world.wish)
    .flatMap((producer) => produce(world, producer))
    .filter(({ ns, kind }) => ns === NODE_NS && kind === 'nft')
    .map(({ object }) => object as NftObject);
}

const keysOf = (objects: readonly NftObject[], set: string): string[] =>
  [...new Set(objects.filter((o): o is NftElement => o.what === 'element' && o.set === set).map((e) => e.key))].sort();

test('a peer is heard with its own MAC and that of its node’s bridge, from its VTEP, on its network', (t) => {
  const objects = guardOf({
    networks: { app: APP },
    peers: { a: peer(12, '192.168.72.1'), b: peer(13, '192.168.72.1') },
  });
  // ADDRESS VNI MAC, each field padded to whole registers of four bytes.
  t.deepEqual(keysOf(objects, 'peers4'), [
    'c0a84801'.concat('00100100', '02420a14000c0000'),
    'c0a84801'.concat('00100100', '02420a14000d0000'),
    'c0a84801'.concat('00100100', '0257c0a848010000'),
  ]);
  t.deepEqual(keysOf(objects, 'vnis'), ['001001']);
});

test('what many peers share is wanted once: the bridge of their node, by the network', (t) => {
  const peers = Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`p${i}`, peer(12 + i, '192.168.72.1')]));
  const elements = guardOf({ networks: { app: APP }, peers }).filter((o) => o.what === 'element' && o.set === 'peers4');
  t.is(elements.length, 6);
});

test('a node that hosts its first peer, or loses its last, is a change of the network; one peer more is none', (t) => {
  const networks = { app: APP };
  const one = wishOf({ networks, peers: { a: peer(12, '192.168.72.1') } });
  const two = wishOf({ networks, peers: { a: peer(12, '192.168.72.1'), b: peer(13, '192.168.72.1') } });
  const other = wishOf({ networks, peers: { a: peer(12, '192.168.73.1') } });
  t.deepEqual(networksWithOtherHosts(['b'], one, two), []);
  t.deepEqual(networksWithOtherHosts(['b'], two, one), []);
  t.deepEqual(networksWithOtherHosts(['a', 'a'], one, other), ['app']);
  t.deepEqual(networksWithOtherHosts(['a', 'b'], two, wishOf({ networks })), ['app']);
  t.deepEqual(networksWithOtherHosts(['a', 'b'], wishOf({ networks }), two), ['app']);
});

test('the leg of another node is heard on the ingress network', (t) => {
  const ingress = { subnets: ['10.255.0.0/24'], vni: 4096, ingress: true };
  const nodes = { n2: { vtep: '192.168.72.1', addresses: { in: ['10.255.0.102'] } } };
  t.deepEqual(keysOf(guardOf({ networks: { in: ingress }, nodes }), 'peers4'), [
    'c0a84801'.concat('00100000', '02420aff00660000'),
    'c0a84801'.concat('00100000', '0257c0a848010000'),
  ]);
});

test('who has no network here has no guard, and neither has a kernel without the means', (t) => {
  t.deepEqual(guardOf({}), []);
  const peers = { a: peer(12, '192.168.72.1') };
  t.deepEqual(guardOf({ networks: { app: APP }, peers }, false), []);
  const chains = guardOf({ networks: { app: APP } }).filter((o): o is NftChain => o.what === 'chain');
  t.deepEqual(
    chains.map(({ base }) => base),
    [
      { hook: 'input', priority: -310 },
      { hook: 'prerouting', priority: -300 },
      { hook: 'output', priority: -300 },
    ],
  );
});

test('the key of an element or chain says which it is', (t) => {
  const kinds = new Set<string>();
  for (const object of guardOf({ networks: { app: APP } })) {
    const { what, family, table } = object;
    kinds.add(what);
    const chain = what === 'chain' ? { what, family, table, chain: object.chain } : undefined;
    t.deepEqual(nftByKey(nftKind.key(object)), what === 'element' ? object : chain);
  }
  t.deepEqual([...kinds].sort(), ['chain', 'element', 'set', 'table']);
});
