import test from 'ava';
import type { Network } from '../../src/model/network.js';
import { networkBody } from '../../src/model/network.js';
import { checkSurroundings, chosenSubnets, NO_SURROUNDINGS, type Surroundings } from '../../src/state/surroundings.js';
import { StoreRig } from '../support/store.js';

const spec = (body: object): Network => networkBody.parse(body);
const routes = (...dsts: string[]): Surroundings => ({
  routes: dsts.map((dst) => ({ dst, dev: 'eth0' })),
  gateways: [],
});

test('a bridge without subnet gets the first of Docker’s pools that nobody has', (t) => {
  const rig = new StoreRig(t);
  const chosen = (surroundings: Surroundings) =>
    chosenSubnets(rig.store.wish, surroundings, 'b', spec({ driver: 'bridge' }));
  t.deepEqual(chosen(NO_SURROUNDINGS), ['172.17.0.0/16']);
  t.deepEqual(chosen(routes('172.17.5.0/24', '172.18.0.0/15')), ['172.20.0.0/16']);
  t.deepEqual(chosen({ routes: [], gateways: ['172.17.0.0/16', 'fd87::/64'] }), ['172.18.0.0/16']);
  t.deepEqual(chosen(routes('172.16.0.0/12')), ['192.168.0.0/20']);
  rig.put('networks', 'app', { subnets: ['172.17.0.0/24'], vni: 4097 });
  t.deepEqual(chosen(NO_SURROUNDINGS), ['172.18.0.0/16'], 'nor another network');
  t.throws(() => chosen(routes('172.16.0.0/12', '192.168.0.0/16')), { message: /every default subnet overlaps/ });
});

test('what is given is taken; an overlay must be given its subnets; host and none have none', (t) => {
  const rig = new StoreRig(t).app();
  const chosen = (id: string, body: object) => chosenSubnets(rig.store.wish, NO_SURROUNDINGS, id, spec(body));
  t.deepEqual(chosen('b', { driver: 'bridge', subnets: ['fd00::/64'] }), ['fd00::/64']);
  t.deepEqual(chosen('h', { driver: 'host' }), []);
  t.deepEqual(chosen('app', {}), ['10.20.0.0/24'], 'what it has');
  t.throws(() => chosen('x', {}), { message: /spans nodes, so this agent may not choose its subnets/ });
});

test('a new bridge must not lie over a route of the node, which is named; an overlay and a macvlan may', (t) => {
  const check = (driver: string) =>
    checkSurroundings(routes('10.0.0.0/8'), 'x', spec({ driver, subnets: ['10.20.0.0/24'] }));
  t.throws(() => check('bridge'), { message: /10\.20\.0\.0\/24 .*overlaps the node's route 10\.0\.0\.0\/8 dev eth0/ });
  t.notThrows(() => check('overlay'));
  t.notThrows(() => check('macvlan'));
});

test('no network may lie over the gateway bridge: its containers would lose their way out', (t) => {
  const rig = new StoreRig(t);
  const surroundings = { routes: [], gateways: ['172.31.0.0/16'] };
  const put = (subnet: string) => rig.store.put('networks', 'x', { subnets: [subnet], vni: 7 }, { surroundings });
  t.throws(() => put('172.31.4.0/24'), { message: /172\.31\.0\.0\/16, the subnet of the gateway bridge/ });
  t.throws(() => put('172.16.0.0/12'), { message: /gateway bridge/ });
  t.notThrows(() => put('172.30.0.0/16'));
  // What exists is stated again, whatever came since.
  t.notThrows(() =>
    rig.store.put('networks', 'x', { subnets: ['172.30.0.0/16'], vni: 7 }, { surroundings: routes('172.30.0.0/16') }),
  );
});
