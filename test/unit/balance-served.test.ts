import test from 'ava';
import { produce, producers } from '../../src/network/produce.js';
import { type Bodies, wishOf } from '../contract/wish.js';
import { plainWorld } from '../support/world.js';

/** Namespaces in which the balancer works. */
function arenas(stated: Bodies): string[] {
  const world = plainWorld(wishOf(stated), { balancer: { name: 'nft', bridgeConntrack: true, hash: true } });
  const all = producers(world.wish).flatMap((producer) => produce(world, producer));
  const theirs = all.filter(({ because }) => /^(balancer|client) /.test(because));
  return [...new Set(theirs.map(({ ns }) => ns))].sort();
}

const NETWORKS = {
  a: { subnets: ['10.20.0.0/24'], vni: 4096 },
  b: { subnets: ['10.21.0.0/24'], vni: 4097 },
};
const OTHERS = {
  sandboxes: { s1: {} },
  endpoints: { 's1:a': { addresses: ['10.20.0.2'] }, 's1:b': { addresses: ['10.21.0.2'] } },
};

test('a network without VIPs has no balancer, and gets it with the first', (t) => {
  t.deepEqual(arenas({ networks: NETWORKS, ...OTHERS }), []);
  const web = { networks: ['a'], vips: { a: ['10.20.0.200'] } };
  t.deepEqual(arenas({ networks: NETWORKS, ...OTHERS, services: { web } }), ['net-a']);
  // A VIP is asked for; a service in mode dnsrr has the one it is given, or had.
  const dnsrr = { networks: ['b'], mode: 'dnsrr' };
  t.deepEqual(arenas({ networks: NETWORKS, ...OTHERS, services: { web, dnsrr } }), ['net-a']);
});
