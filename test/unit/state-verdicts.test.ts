import test from 'ava';
import { stateOf } from '../../src/model/backend-state.js';
import { serviceBody } from '../../src/model/service.js';
import type { Store } from '../../src/state/store.js';
import { StoreRig } from '../support/store.js';

const endpoint = (store: Store) => {
  const found = store.get('endpoints', 'c1:app');
  if (!found) throw new Error('no endpoint');
  return found;
};

test('what probes found is kept beside the endpoint: when it is stated anew, and over a restart', (t) => {
  const rig = new StoreRig(t).app();
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'] });
  const { spec, revision } = endpoint(rig.store);
  rig.store.judge('c1:app', true);
  t.is(stateOf(endpoint(rig.store)), 'unhealthy');
  t.deepEqual(endpoint(rig.store).spec, spec, 'what was asked for stays');
  t.true(endpoint(rig.store).revision > revision, 'others have to know it for newer');

  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'], aliases: ['again'] });
  t.is(stateOf(endpoint(rig.store)), 'unhealthy');
  t.is(stateOf(endpoint(rig.restart())), 'unhealthy');

  rig.store.judge('c1:app', false);
  t.is(stateOf(endpoint(rig.store)), 'active');
  t.is(stateOf(endpoint(rig.restart())), 'active');
});

test('the same verdict again, or one of nobody, changes nothing', (t) => {
  const rig = new StoreRig(t).app();
  rig.put('endpoints', 'c1:app', {});
  rig.store.judge('c1:app', true);
  const { revision } = rig.store;
  rig.store.judge('c1:app', true);
  rig.store.judge('nobody:app', true);
  t.is(rig.store.revision, revision);
});

test('an endpoint that is removed and made anew is as good as any', (t) => {
  const rig = new StoreRig(t).app();
  rig.put('endpoints', 'c1:app', {});
  rig.store.judge('c1:app', true);
  rig.store.remove('endpoints', 'c1:app');
  rig.put('endpoints', 'c1:app', {});
  t.is(stateOf(endpoint(rig.store)), 'active');
});

test('health of a service: defaults, and what contradicts itself', (t) => {
  const parse = (health: unknown) => serviceBody.safeParse({ networks: ['app'], health });
  t.deepEqual(parse({ type: 'tcp', port: 80 }).data?.health, {
    ...{ type: 'tcp', port: 80, interval: 10, timeout: 5, healthy: 2, unhealthy: 3 },
  });
  for (const refused of [
    { type: 'tcp', port: 80, path: '/' },
    { type: 'http', port: 80, path: 'no-slash' },
    { type: 'http', port: 80, path: '/two words' },
    { type: 'udp', port: 80 },
    { type: 'tcp', port: 80, interval: 0 },
    { type: 'tcp', port: 80, unhealthy: 0 },
    { type: 'tcp' },
  ]) {
    t.false(parse(refused).success, JSON.stringify(refused));
  }
});
