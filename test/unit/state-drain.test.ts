import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { Drains } from '../../src/agent/drains.js';
import { backendsOf } from '../../src/balance/backends.js';
import { codeOf } from '../../src/base/errors.js';
import { stateOf } from '../../src/model/backend-state.js';
import type { Drain, Stored } from '../../src/model/registry.js';
import { backendsNamed } from '../../src/state/drain.js';
import type { Store } from '../../src/state/store.js';
import { SELF, StoreRig } from '../support/store.js';

const PEER = { network: 'app', address: '10.20.0.30', vtep: '192.168.72.1', service: 'web' };
const peer = (ltime: number) => ({ table: 'peers', op: 'set', key: 'n2/b:app', node: 'n2', ltime, value: PEER });
const FAR = Date.now() + 3_600_000;

/** Service web with a backend here and one on n2; c2 serves nobody. */
function rigOf(t: { teardown(fn: () => void): void }): StoreRig {
  const rig = new StoreRig(t).app();
  rig.put('services', 'web', { networks: ['app'], vips: { app: ['10.20.0.200'] } });
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'], service: 'web' });
  rig.put('endpoints', 'c2:app', { addresses: ['10.20.0.12'] });
  rig.gossip(peer(5));
  return rig;
}

const named = (store: Store, target: object) => backendsNamed(store.wish, SELF.name, target);
const weights = (store: Store) =>
  Object.fromEntries(backendsOf(store.wish, 'web', 'app', 4).map(({ ip, weight }) => [ip, weight]));

test('an endpoint, a service or a node names backends', (t) => {
  const { store } = rigOf(t);
  const ids = (target: object) => named(store, target).map(({ id }) => id);
  t.deepEqual(ids({ endpoint: 'c1:app' }), ['c1:app']);
  t.deepEqual(ids({ endpoint: 'n2/b:app' }), ['n2/b:app']);
  t.deepEqual(ids({ service: 'web' }), ['c1:app', 'n2/b:app']);
  t.deepEqual(ids({ node: 'n1' }), ['c1:app']);
  t.deepEqual(ids({ node: 'n2' }), ['n2/b:app']);
  for (const target of [{ endpoint: 'c9:app' }, { service: 'none' }, { node: 'n9' }])
    t.is(codeOf(t.throws(() => named(store, target))), 'WEFT_NOT_FOUND', JSON.stringify(target));
  for (const target of [{}, { endpoint: 'c1:app', node: 'n1' }, { endpoint: 'c2:app' }])
    t.is(codeOf(t.throws(() => named(store, target))), 'WEFT_INVALID_ARGUMENT', JSON.stringify(target));
});

test('of several services a backend drains as one’s alone, as several’s, or as all', (t) => {
  const rig = rigOf(t);
  rig.put('services', 'api', { networks: ['app'], vips: { app: ['10.20.0.201'] } });
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'], service: ['web', 'api'] });
  const own = (store: Store) => store.wish.endpoints.get('c1:app') as Stored<'endpoints'>;
  const states = (store = rig.store) => ['web', 'api', undefined].map((service) => stateOf(own(store), service));
  const drain = (service: string | undefined, drain?: Drain) =>
    rig.store.drain(named(rig.store, service ? { service } : { endpoint: 'c1:app' }), drain, service);
  drain('api', { until: FAR });
  t.deepEqual(states(), ['active', 'draining', 'active']);
  t.deepEqual(states(rig.restart()), ['active', 'draining', 'active']);
  t.deepEqual(weights(rig.store), { '10.20.0.11': 1, '10.20.0.30': 1 });
  drain('web', { until: FAR + 1 });
  t.deepEqual(states(), ['draining', 'draining', 'draining'], 'all of them: others are told');
  drain('api');
  t.deepEqual(states(), ['draining', 'active', 'active']);
  rig.store.drain(named(rig.store, { service: 'web' }), { until: FAR + 1, over: true });
  t.deepEqual(states(), ['unhealthy', 'active', 'active'], 'over is what was drained');
  drain(undefined, { until: FAR });
  drain('web');
  t.deepEqual(states(), ['active', 'draining', 'active'], 'one is let back');
  drain('api');
  t.is(own(rig.store).drain, undefined);
});

test('a drain gives weight 0, stays over what is stated anew and restarts, and goes with its object', (t) => {
  const rig = rigOf(t);
  rig.store.drain(named(rig.store, { service: 'web' }), { until: FAR });
  const drained = { '10.20.0.11': 0, '10.20.0.30': 0 };
  t.deepEqual(weights(rig.store), drained);
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'], service: 'web', aliases: ['a'] });
  rig.gossip(peer(6));
  t.deepEqual(weights(rig.store), drained);
  t.deepEqual(weights(rig.restart()), drained);
  rig.store.remove('endpoints', 'c1:app');
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'], service: 'web' });
  t.deepEqual(weights(rig.store), { '10.20.0.11': 1, '10.20.0.30': 0 });
  rig.store.drain(named(rig.store, { node: 'n2' }), undefined);
  t.deepEqual(weights(rig.store), { '10.20.0.11': 1, '10.20.0.30': 1 });
  const { revision } = rig.store;
  rig.store.drain(named(rig.store, { node: 'n2' }), undefined);
  t.is(rig.store.revision, revision, 'what is not drained is not changed');
});

test('when the time is up it is no backend; a time that passed while nobody looked counts', async (t) => {
  const rig = rigOf(t);
  const trouble = (error: Error) => t.fail(error.message);
  const drains = new Drains(rig.store, trouble);
  drains.start();
  rig.store.drain(named(rig.store, { endpoint: 'c1:app' }), { until: Date.now() });
  while (weights(rig.store)['10.20.0.11'] !== undefined) await sleep(20);
  t.deepEqual(weights(rig.store), { '10.20.0.30': 1 });
  drains.stop();
  rig.store.removeAllListeners('change');
  rig.store.drain(named(rig.store, { node: 'n2' }), { until: Date.now() - 1 });
  t.deepEqual(weights(rig.store), { '10.20.0.30': 0 });
  const late = new Drains(rig.restart(), trouble);
  late.start();
  t.deepEqual(weights(rig.store), {}, 'at once');
  late.stop();
});
