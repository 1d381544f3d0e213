import test from 'ava';
import { remoteVteps, vtepOf } from '../../src/network/paths.js';
import { StoreRig } from '../support/store.js';

const SELF = { name: 'n1', vtep: '192.168.71.1', dataPathPort: 4789, addresses: { 4: '192.168.71.1' } };

const peer = (node: string, name: string, network: string, vtep: string, ltime: number) => ({
  table: 'peers',
  op: 'set',
  key: `${node}/${name}:${network}`,
  node,
  ltime,
  value: { network, address: `10.20.0.${ltime}`, vtep },
});
const node = (key: string, vtep: string, ltime: number, alive = true, addresses = {}) => ({
  table: 'nodes',
  op: 'set',
  key,
  node: key,
  ltime,
  value: { vtep, alive, addresses },
});

test('a peer is where its node says, unless the peer’s own row was heard later', (t) => {
  const rig = new StoreRig(t);
  rig.gossip(peer('n2', 'c2', 'app', '192.168.72.1', 20));
  const vtep = () => vtepOf(rig.store.wish, rig.store.get('peers', 'n2/c2:app') as never);
  t.is(vtep(), '192.168.72.1');
  rig.gossip(node('n2', '192.168.79.1', 21));
  t.is(vtep(), '192.168.79.1', 'the node came back elsewhere');
  rig.gossip(peer('n2', 'c2', 'app', '192.168.78.1', 22));
  t.is(vtep(), '192.168.78.1');
  rig.gossip({ table: 'nodes', op: 'delete', key: 'n2', node: 'n2', ltime: 23 });
  t.is(vtep(), '192.168.78.1');
});

test('VTEPs of others: of peers on networks that are here and of nodes with an address on one, alive, of our family', (t) => {
  const rig = new StoreRig(t);
  const vteps = () => [...remoteVteps({ wish: rig.store.wish, self: SELF })].sort();
  rig.put('networks', 'app', { subnets: ['10.20.0.0/24'], vni: 4097 });
  rig.gossip(peer('n2', 'c2', 'app', '192.168.72.1', 20));
  rig.gossip(peer('n3', 'c3', 'elsewhere', '192.168.73.1', 21));
  rig.gossip(peer('n1', 'c1', 'app', SELF.vtep, 22), peer('n6', 'c6', 'app', 'fd00::6', 23));
  t.deepEqual(vteps(), ['192.168.72.1']);
  rig.gossip(node('n4', '192.168.74.1', 24, true, { app: ['10.20.0.4'] }), node('n5', '192.168.75.1', 25));
  t.deepEqual(vteps(), ['192.168.72.1', '192.168.74.1']);
  rig.gossip(node('n2', '192.168.72.1', 26, false));
  t.deepEqual(vteps(), ['192.168.74.1'], 'a dead node gets nothing');
});
