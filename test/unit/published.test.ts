import test, { type ExecutionContext } from 'ava';
import {
  type NodePort,
  nodePorts,
  type PortHolder,
  type Span,
  servedPorts,
  spanOf,
  takes,
} from '../../src/model/published.js';
import type { Proto } from '../support/flow.js';
import { StoreRig } from '../support/store.js';

const span = (from: number, more: Partial<Span> = {}): Span => ({
  proto: 'tcp',
  hostIp: undefined,
  from,
  to: from,
  ...more,
});
const holder = (address: string, port: number, proto: Proto = 'tcp'): PortHolder => ({ proto, address, port });

test('who is taken by a published port', (t) => {
  t.true(takes(holder('0.0.0.0', 80), span(80)));
  t.true(takes(holder('127.0.0.1', 80), span(80)), 'the rule covers loopback too');
  t.true(takes(holder('::1', 80), span(80)), 'and both families');
  t.true(takes(holder('::', 80), span(80, { hostIp: '10.0.0.1' })), 'a socket of all addresses is one of IPv4 too');
  t.true(takes(holder('::ffff:10.0.0.1', 80), span(80, { hostIp: '10.0.0.1' })));
  t.false(takes(holder('10.0.0.2', 80), span(80, { hostIp: '10.0.0.1' })), 'another address');
  t.true(takes(holder('10.0.0.2', 80), span(80, { hostIp: '0.0.0.0' })), 'all addresses of the family');
  t.false(takes(holder('fd00::2', 80), span(80, { hostIp: '0.0.0.0' })));
  t.false(takes(holder('0.0.0.0', 81), span(80)));
  t.false(takes(holder('0.0.0.0', 80, 'udp'), span(80)));
  t.true(takes(holder('0.0.0.0', 8005), span(8000, { to: 8010 })));
  t.false(takes(holder('0.0.0.0', 8011), span(8000, { to: 8010 })));
});

/** Sandboxes c1, c2 and a service `web` on network app. */
function rig(t: ExecutionContext, publish: object[]): StoreRig {
  const rig = new StoreRig(t).app();
  rig.put('networks', 'ingress', { subnets: ['10.0.0.0/24'], vni: 4096, ingress: true });
  rig.put('services', 'web', { networks: ['app'], vips: { app: ['10.20.0.200'] }, publish });
  return rig;
}

const backend = (r: StoreRig, name: string, n: number, more: object = {}) =>
  r.put('endpoints', `${name}:app`, { addresses: [`10.20.0.${n}`], service: 'web', ...more });
const shown = ({ owner, sandbox, p }: NodePort) => `${owner} ${p.mode} ${p.published} ${sandbox ?? '-'}`;

test('what is published on a node: the mesh whatever runs here, mode host for each backend here', (t) => {
  const r = rig(t, [
    { published: 8080, target: 80 },
    { published: 0, target: 81, mode: 'host' },
  ]);
  r.put('sandboxes', 'c2', { ports: [{ published: 9000, target: 90 }] });
  t.deepEqual(nodePorts(r.store.wish).map(shown), [
    'service/web ingress 8080 -',
    'sandbox/c2 host 9000 c2',
    'service/web host 0 -',
  ]);
  backend(r, 'c2', 12);
  backend(r, 'c1', 11);
  const two = ['service/web host 0 c1', 'service/web host 0 c2'];
  t.deepEqual(nodePorts(r.store.wish).map(shown).slice(2), two);
  backend(r, 'c2', 12, { state: 'draining' });
  t.deepEqual(nodePorts(r.store.wish).map(shown).slice(2), two.slice(0, 1), 'what drains takes nothing new');
});

test('a number that is left to the node is kept with its sandbox, over restarts, and forgotten with it', (t) => {
  const r = new StoreRig(t).app();
  r.put('sandboxes', 'c1', { ports: [{ target: 80 }] });
  const [port] = nodePorts(r.store.wish) as [NodePort];
  const name = port.chosenAs as string;
  t.is(
    spanOf(port, (n) => r.store.chosenPort(n)),
    undefined,
    'none yet',
  );
  const usable = (n: number) => n > 32770;
  t.is(r.store.number('port', name, 32768, usable), 32771);
  t.is(r.restart().number('port', name, 32768), 32771);
  t.like(
    spanOf(port, (n) => r.store.chosenPort(n)),
    { from: 32771, to: 32771 },
  );
  r.store.remove('sandboxes', 'c1');
  t.is(r.store.chosenPort(name), undefined);
});

test('of two ports that cannot both be had, as other nodes’ rows may ask, one is, and the mesh is before all', (t) => {
  const r = rig(t, [{ published: 8080, target: 80, mode: 'host' }]);
  backend(r, 'c1', 11);
  const row = { table: 'services', op: 'set', node: 'n2', ltime: 9 };
  const value = { networks: ['app'], vips: { app: ['10.20.0.201'] } };
  const served = () => servedPorts(r.store.wish, () => undefined).map(shown);
  t.deepEqual(served(), ['service/web host 8080 c1']);
  r.gossip({ ...row, key: 'mesh', value: { ...value, publish: [{ published: 8080, target: 1 }] } });
  t.deepEqual(served(), []);
});

test('ports move between sandboxes in one wish', (t) => {
  const r = new StoreRig(t).app();
  const ports = (published: number) => ({ ports: [{ published, target: 80 }] });
  const wish = (one: number, other: number) => ({ sandboxes: { c1: ports(one), c2: ports(other) } });
  r.store.replace(wish(80, 81), { prune: false });
  t.notThrows(() => r.store.replace(wish(81, 80), { prune: false }));
  t.throws(() => r.store.replace(wish(80, 80), { prune: false }), { message: /port 80\/tcp is published by sandbox/ });
});
