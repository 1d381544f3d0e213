import test from 'ava';
import { produce } from '../../src/network/produce.js';
import type { IptablesObject } from '../../src/objects/iptables.js';
import type { Route } from '../../src/objects/route.js';
import type { Rule } from '../../src/objects/rule.js';
import type { Sysctl } from '../../src/objects/sysctl.js';
import { StoreRig } from '../support/store.js';
import { plainWorld } from '../support/world.js';

const PUBLISHED = [{ published: 8080, target: 80 }];

/** What sandbox c1 has, a task of service web on the second subnets of the ingress network; the node has a gateway of IPv4. */
function task(
  t: { teardown(fn: () => void): void },
  kind: string,
  publish: object[] = PUBLISHED,
  more = {},
): unknown[] {
  const rig = new StoreRig(t);
  const subnets = ['10.0.0.0/24', '10.0.1.0/24', 'fd00::/64', 'fd01::/64'];
  rig.put('networks', 'ingress', { subnets, vni: 4096, vnis: [4097], ingress: true });
  rig.put('networks', 'app', { subnets: ['fd20::/64'], vni: 4098 });
  rig.put('services', 'web', { networks: ['app'], vips: { app: ['fd20::200'] }, publish });
  rig.put('sandboxes', 'c1');
  rig.put('endpoints', 'c1:ingress', { addresses: ['10.0.1.5', 'fd01::5'], service: 'web', ...more });
  const wanted = produce(plainWorld(rig.store.wish), 'sandbox/c1');
  return wanted.filter((w) => w.kind === kind).map((w) => w.object);
}

test('a task on the second subnet answers by the gateway of that subnet, in each family', (t) => {
  const back = (task(t, 'route') as Route[]).filter(({ table }) => table === 18600);
  t.deepEqual(back.map(({ dst, via }) => [dst, via]).sort(), [
    ['0.0.0.0/0', '10.0.1.1'],
    ['::/0', 'fd01::1'],
  ]);
});

test('what came through the mesh is for another address than its own', (t) => {
  const marks = (task(t, 'iptables') as IptablesObject[]).flatMap((o) =>
    o.what === 'chain' && o.table === 'mangle' && o.chain === 'WEFT-TASK-IN' ? [[o.family, o.rules[1]]] : [],
  );
  t.deepEqual(marks, [
    [4, '! -d 10.0.1.5/32 -i eth0 -j MARK --set-xmark 0x8000000/0x8000000'],
    [6, '! -d fd01::5/128 -i eth0 -j MARK --set-xmark 0x8000000/0x8000000'],
  ]);
});

test('a task of several services translates the VIPs and ports of each, in a sandbox that names them once', (t) => {
  const rig = new StoreRig(t);
  rig.put('networks', 'ingress', { subnets: ['10.0.0.0/24'], vni: 4096, ingress: true });
  rig.put('networks', 'app', { subnets: ['10.20.0.0/24'], vni: 4097 });
  const service = ['web', 'api'];
  for (const [i, id] of service.entries()) {
    const publish = [{ published: 8080 + i, target: 80 + i }];
    rig.put('services', id, { networks: ['app'], vips: { app: [`10.20.0.20${i}`] }, publish });
  }
  rig.put('sandboxes', 'c1');
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.5'], service });
  rig.put('endpoints', 'c1:ingress', { addresses: ['10.0.0.5'], service });
  const wanted = produce(plainWorld(rig.store.wish), 'sandbox/c1');
  const chains = wanted.filter((w) => w.kind === 'iptables').map((w) => w.object as IptablesObject);
  const [translated] = chains.flatMap((o) => (o.what === 'chain' && o.table === 'nat' ? [o.rules] : []));
  t.deepEqual(
    translated?.map((rule) => rule.replace(/ -j.*-destination/, '')),
    [
      '-d 10.20.0.200/32 -i eth0 10.20.0.5',
      '-d 10.20.0.201/32 -i eth0 10.20.0.5',
      '-i eth1 -p tcp -m tcp --dport 8080 172.31.0.2:80',
      '-i eth1 -p tcp -m tcp --dport 8081 172.31.0.2:81',
    ],
  );
  const back = wanted.filter((w) => w.kind === 'route' && (w.object as Route).table === 18600);
  t.is(back.length, 1);
});

test('what nothing leads out of sends datagrams from its published ports into the mesh, and nothing else', (t) => {
  const publish = [
    ...PUBLISHED,
    { published: 53, target: 5300, proto: 'udp' },
    { published: 9000, publishedEnd: 9002, target: 70, proto: 'udp', hostIp: '192.168.71.1' },
    { published: 36412, target: 36412, proto: 'sctp' },
    { published: 514, target: 514, proto: 'udp', mode: 'host' },
  ];
  const last = (more: object): string[] =>
    (task(t, 'rule', publish, more) as Rule[])
      .filter(({ priority }) => priority > 32_767)
      .map((o) => `${o.family} ${o.iif} ${o.ipProto} ${o.sourcePorts?.start}-${o.sourcePorts?.end} ${o.table}`);
  const six = ['6 lo 17 5300-5300 18600', '6 lo 132 36412-36412 18600'];
  t.deepEqual(last({}), six, 'of IPv6, where the node has no gateway');
  const four = ['4 lo 17 5300-5300 18600', '4 lo 17 70-72 18600', '4 lo 132 36412-36412 18600'];
  t.deepEqual(last({ defaultRoute: false }), [...four, ...six]);
  const reflects = (task(t, 'sysctl', publish) as Sysctl[]).filter(({ path }) => path.endsWith('fwmark_reflect'));
  t.deepEqual(reflects, [{ path: 'net/ipv6/fwmark_reflect', value: '1' }]);
});
