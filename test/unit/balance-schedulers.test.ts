import test from 'ava';
import { preferred } from '../../src/balance/backends.js';
import { schedulersOf } from '../../src/balance/schedulers.js';
import type { Stored } from '../../src/model/registry.js';
import { produce } from '../../src/network/produce.js';
import type { BalancerChoice } from '../../src/network/world.js';
import type { RealServer, VirtualServer } from '../../src/objects/ipvs.js';
import type { NftObject } from '../../src/objects/nft.js';
import { wishOf } from '../contract/wish.js';
import { StoreRig } from '../support/store.js';
import { plainWorld } from '../support/world.js';

const IPVS: BalancerChoice = { name: 'ipvs', bridgeConntrack: false, hash: true };
const NFT: BalancerChoice = { name: 'nft', bridgeConntrack: false, hash: true };

/** Objects of service `web` with backends of weights 1, 3 and 0. */
function objects(balancer: BalancerChoice, service: object): { kind: string; object: unknown }[] {
  const wish = wishOf({
    networks: { a: { subnets: ['10.20.0.0/24'], vni: 4096 } },
    sandboxes: { s1: {}, s2: {}, s3: {} },
    services: { web: { networks: ['a'], vips: { a: ['10.20.0.200'] }, ...service } },
    endpoints: Object.fromEntries(
      [1, 3, 0].map((weight, i) => [
        `s${i + 1}:a`,
        { addresses: [`10.20.0.${i + 2}`], service: 'web', weight: weight * 1000 },
      ]),
    ),
  });
  return produce(plainWorld(wish, { balancer }), 'service/web');
}

const of = <T>(kind: string, list: { kind: string; object: unknown }[]): T[] =>
  list.filter((o) => o.kind === kind).map((o) => o.object as T);

test('balancer ipvs: the scheduler by name, weights as they are, fallback where a hash finds a server that drains', (t) => {
  for (const scheduler of ['rr', 'wrr', 'lc', 'wlc', 'mh', 'sh']) {
    const list = objects(IPVS, { scheduler });
    for (const server of of<VirtualServer>('virtual-server', list)) {
      t.like(server, { scheduler, fallback: scheduler === 'mh' || scheduler === 'sh', persistence: 0 });
    }
    const weights = of<RealServer>('real-server', list).map(({ weight }) => weight);
    // `sh` has 256 buckets, dealt out by weight.
    t.deepEqual(weights.slice(0, 3), scheduler === 'sh' ? [1, 3, 0] : [1000, 3000, 0], scheduler);
  }
});

/** How many slots each backend has, in the order of addresses. */
function slots(balancer: BalancerChoice, scheduler: string): number[] {
  const elements = of<NftObject>('nft', objects(balancer, { scheduler }));
  const values = elements.flatMap((o) => (o.what === 'element' && o.set === 'slot4' ? [o.value ?? ''] : []));
  return [...new Set(values)].sort().map((value) => values.filter((v) => v === value).length);
}

test('balancer nft: a slot a turn, or entries of a hash table; the draining backend has none', (t) => {
  t.deepEqual(slots(NFT, 'rr'), [1, 1]);
  t.deepEqual(slots(NFT, 'wrr'), [1, 3]);
  for (const scheduler of ['sh', 'mh']) t.deepEqual(slots(NFT, scheduler), [63, 188]);
});

test('what the balancer cannot do is refused by name; from elsewhere it is balanced by what is nearest', (t) => {
  const { store } = new StoreRig(t).app();
  store.balancing = { name: 'nft', schedulers: schedulersOf(NFT) };
  for (const scheduler of ['lc', 'wlc']) {
    t.throws(() => store.put('services', 'web', { networks: ['app'], scheduler }), {
      code: 'WEFT_NOT_SUPPORTED',
      message: `service "web": balancer nft of this node cannot do scheduler ${scheduler}`,
    });
  }
  store.put('services', 'web', { networks: ['app'], scheduler: 'mh' });
  t.deepEqual(slots(NFT, 'wlc'), slots(NFT, 'wrr'));
  t.deepEqual(slots(NFT, 'lc'), slots(NFT, 'rr'));
  t.deepEqual(slots({ ...NFT, hash: false }, 'mh'), slots(NFT, 'wrr'));
});

test('affinity: persistence of ipvs; of nft a rule that remembers, and its set, there only for it', (t) => {
  for (const server of of<VirtualServer>('virtual-server', objects(IPVS, { affinity: 60 }))) {
    t.is(server.persistence, 60);
  }
  const names = (service: object) =>
    of<NftObject>('nft', objects(NFT, service)).flatMap((o) =>
      o.what === 'set' ? [o.set] : o.what === 'chain' ? [`${o.chain}: ${o.rules.length}`] : [],
    );
  t.deepEqual(names({ affinity: 60 }), ['keeps4', 'sticky4', 'svc-web-4-0: 5']);
  t.deepEqual(names({}), ['svc-web-4-0: 1']);
});

test('prefer local: those elsewhere drain while one here takes connections', (t) => {
  const backend = (ip: string, local: boolean, weight: number) => ({
    ...{ ip, id: 1, mac: '02:42:00:00:00:01' },
    ...{ local, weight },
  });
  const service = (preferLocal: boolean) => {
    const { services } = wishOf({
      networks: { a: { subnets: ['10.20.0.0/24'], vni: 4096 } },
      services: { web: { networks: ['a'], vips: { a: ['10.20.0.200'] }, preferLocal } },
    });
    return services.get('web') as Stored<'services'>;
  };
  const weights = (prefers: boolean, here: number) =>
    preferred(service(prefers), [backend('a', true, here), backend('b', false, 5), backend('c', true, 0)]).map(
      ({ weight }) => weight,
    );
  t.deepEqual(weights(true, 2), [2, 0, 0]);
  t.deepEqual(weights(true, 0), [0, 5, 0]);
  t.deepEqual(weights(false, 2), [2, 5, 0]);
});

test('a port of a VIP leads to one port', (t) => {
  const { store } = new StoreRig(t).app();
  const ports = [
    { port: 80, target: 8080 },
    { port: 80, target: 8081, proto: 'udp' },
  ];
  store.put('services', 'web', { networks: ['app'], ports });
  t.throws(() => store.put('services', 'web', { networks: ['app'], ports: [...ports, { port: 80, target: 1 }] }), {
    code: 'WEFT_INVALID_PORT',
  });
});

test('a sandbox serves two services by two networks, each for itself', (t) => {
  const on = (network: string, ip: string, service: string, more = {}) => ({
    [`s1:${network}`]: { addresses: [ip], service, ...more },
  });
  const wish = wishOf({
    networks: {
      a: { subnets: ['10.20.0.0/24'], vni: 4096 },
      b: { subnets: ['10.21.0.0/24'], vni: 4097 },
    },
    sandboxes: { s1: {} },
    services: {
      web: { networks: ['a'], vips: { a: ['10.20.0.200'] } },
      api: { networks: ['b'], vips: { b: ['10.21.0.200'] } },
    },
    endpoints: { ...on('a', '10.20.0.2', 'web', { state: 'draining' }), ...on('b', '10.21.0.2', 'api') },
  });
  const world = plainWorld(wish, { balancer: IPVS });
  const weights = (service: string) =>
    of<RealServer>('real-server', produce(world, `service/${service}`)).map(({ ip, weight }) => `${ip} ${weight}`);
  t.deepEqual([...new Set(weights('web'))], ['10.20.0.2 0']);
  t.deepEqual([...new Set(weights('api'))], ['10.21.0.2 1']);
  const rules = of<{ chain?: string; rules?: string[] }>('iptables', produce(world, 'sandbox/s1'));
  t.deepEqual(rules.find(({ chain, rules }) => chain === 'WEFT-TASK-IN' && rules)?.rules, [
    '-d 10.20.0.200/32 -i eth0 -j DNAT --to-destination 10.20.0.2',
    '-d 10.21.0.200/32 -i eth1 -j DNAT --to-destination 10.21.0.2',
  ]);
});
