import test from 'ava';
import { keyHex } from '../../src/codec/nft/types.js';
import { endpointEnd } from '../../src/network/pair.js';
import { produce } from '../../src/network/produce.js';
import type { Link } from '../../src/objects/link.js';
import type { NftObject } from '../../src/objects/nft.js';
import { StoreRig } from '../support/store.js';
import { plainWorld } from '../support/world.js';

type Teardown = { teardown(fn: () => void): void };

/** A task of service web and a sandbox that serves nobody, on network app and on the ingress network. */
function worldOf(t: Teardown, name: 'nft' | 'ipvs') {
  const rig = new StoreRig(t);
  rig.put('networks', 'app', { subnets: ['10.20.0.0/24'], vni: 4097 });
  rig.put('networks', 'ingress', { subnets: ['10.0.0.0/24'], vni: 4096, ingress: true });
  rig.put('services', 'web', { networks: ['app'], vips: { app: ['10.20.0.200'] } });
  for (const [i, id] of ['task', 'other'].entries()) {
    rig.put('sandboxes', id);
    const service = id === 'task' ? { service: 'web' } : {};
    rig.put('endpoints', `${id}:app`, { addresses: [`10.20.0.${11 + i}`], ...service });
    rig.put('endpoints', `${id}:ingress`, { addresses: [`10.0.0.${11 + i}`], ...service });
  }
  const plain = plainWorld(rig.store.wish);
  return { ...plain, balancer: { ...plain.balancer, name } };
}

function portsOf(world: ReturnType<typeof worldOf>) {
  const hairpin = (endpoint: string): boolean | undefined => {
    const links = produce(world, `endpoint/${endpoint}`).filter(({ kind }) => kind === 'link');
    return links.map((w) => w.object as Link).find(({ type }) => type === 'veth')?.port?.hairpin;
  };
  return ['task:app', 'other:app', 'task:ingress'].map(hairpin);
}

function echoes(world: ReturnType<typeof worldOf>, network: string): string[] {
  const objects = produce(world, `network/${network}`).filter(({ kind }) => kind === 'nft');
  return objects
    .map((w) => w.object as NftObject)
    .flatMap((o) => {
      if (o.what === 'chain' && o.chain === 'echo') return ['chain'];
      return o.what === 'element' && o.set === 'hairpin' ? [o.key] : [];
    });
}

test('a port returns frames where a task may choose itself in the bridge, and its broadcasts are dropped there', (t) => {
  const world = worldOf(t, 'nft');
  t.deepEqual(portsOf(world), [true, false, false]);
  const task = world.wish.endpoints.get('task:app');
  const port = endpointEnd(task as NonNullable<typeof task>);
  t.deepEqual(echoes(world, 'app').sort(), [keyHex(['ifname', 'ifname'], [port, port]), 'chain'].sort());
  t.deepEqual(echoes(world, 'ingress'), []);
});

test('where IPVS chooses no port returns anything', (t) => {
  const world = worldOf(t, 'ipvs');
  t.deepEqual(portsOf(world), [false, false, false]);
  t.deepEqual(echoes(world, 'app'), []);
});
