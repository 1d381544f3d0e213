import test from 'ava';
import { memoryWarnings } from '../../src/agent/flow-memory.js';
import type { Expr } from '../../src/codec/nft/expr.js';
import { ruleWords } from '../../src/codec/nft/words.js';
import { produce } from '../../src/network/produce.js';
import type { NftObject } from '../../src/objects/nft.js';
import { wishOf } from '../contract/wish.js';
import { plainWorld } from '../support/world.js';

/** Rules of a chain of network a, which has a VIP, as nft prints them; the key of a flow as FLOW. */
function chain(name: string): string[] {
  const networks = { a: { subnets: ['10.20.0.0/24'], vni: 4096 } };
  const services = { web: { networks: ['a'], vips: { a: ['10.20.0.200'] } } };
  const world = plainWorld(wishOf({ networks, services }));
  const found = produce(world, 'network/a').map(({ object }) => object as NftObject);
  const [one] = found.flatMap((o) => (o.what === 'chain' && o.chain === name ? [o] : []));
  const words = (one?.rules ?? []).map((text) => ruleWords((JSON.parse(text) as { exprs: Expr[] }).exprs));
  return words.map((text) =>
    text.replace(/meta protocol ip /, '').replace(/ip saddr \. (th|tcp) sport.*?dport/, 'FLOW'),
  );
}

test('where there is no room a SYN is dropped, and a datagram goes to the next in turn', (t) => {
  t.deepEqual(chain('learn4'), [
    'meta l4proto tcp update @flows4 { FLOW timeout 20s : meta mark } goto begin4',
    'meta l4proto != tcp update @talks4 { FLOW timeout 300s : meta mark } goto begin4',
    'counter',
    'meta l4proto tcp drop',
    'goto begin4',
  ]);
});

test('a flow whose backend is gone is forgotten before it is learned anew; one that has none is not', (t) => {
  const forgets = (name: string) => chain(name).filter((rule) => rule.includes('delete'));
  t.deepEqual(forgets('in4'), [
    'meta l4proto tcp tcp flags & 0x12 == 0x2 meta mark != 0x0 delete @flows4 { FLOW : meta mark }',
  ]);
  t.deepEqual(forgets('talk4'), ['meta mark != 0x0 delete @talks4 { FLOW : meta mark }']);
});

test('warned of is what had no room, or nearly none is left', (t) => {
  const quiet = [
    { network: 'a', unremembered: 0 },
    { network: 'b', entries: 89, limit: 100 },
  ];
  t.deepEqual(memoryWarnings(quiet), []);
  const full = [
    { network: 'a', unremembered: 7 },
    { network: 'b', entries: 90, limit: 100 },
  ];
  t.deepEqual(memoryWarnings(full), [
    { object: 'network/a', message: 'flow memory was full for 7 packets' },
    { object: 'network/b', message: 'flow memory has 90 of 100 entries' },
  ]);
});
