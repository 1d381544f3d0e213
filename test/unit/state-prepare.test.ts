import test from 'ava';
import fc from 'fast-check';
import { codeOf, type WeftError } from '../../src/base/errors.js';
import type { Table } from '../../src/model/registry.js';
import { StoreRig } from '../support/store.js';

const NET = { subnets: ['10.30.0.0/24'], vni: 5000 };

/** A world in which app, c1 and c2 exist, c1 is at 10.20.0.11, n2 and a peer of it are known. */
function world(t: { teardown(fn: () => void): void }): StoreRig {
  const rig = new StoreRig(t).app();
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'] });
  rig.put('nodes', 'n2', { vtep: '192.168.72.1' });
  rig.gossip({
    table: 'peers',
    op: 'set',
    key: 'n2/x:app',
    node: 'n2',
    ltime: 1,
    value: { network: 'app', address: '10.20.0.30', vtep: '192.168.72.1', state: 'active' },
  });
  rig.put('networks', 'ingress', {
    subnets: ['10.255.0.0/24'],
    vni: 4096,
    ingress: true,
    ipRanges: ['10.255.0.128/25'],
  });
  rig.put('services', 'web', {
    networks: ['app'],
    vips: { app: ['10.20.0.100'] },
    publish: [{ published: 8080, target: 80 }],
  });
  rig.put('sandboxes', 'theirs', { netns: '/run/netns/a' });
  return rig;
}

type Case = [what: string, table: Table, id: string, body: unknown, code: string | undefined, message?: RegExp];

const CASES: Case[] = [
  [
    'a malformed subnet',
    'networks',
    'x',
    { ...NET, subnets: ['10.30.0.0'] },
    'WEFT_INVALID_SUBNET',
    /subnets\.0.*"10\.30\.0\.0" is not ADDRESS\/LENGTH/,
  ],
  ['a prefix out of range', 'networks', 'x', { ...NET, subnets: ['10.30.0.0/33'] }, 'WEFT_INVALID_SUBNET'],
  ['host bits', 'networks', 'x', { ...NET, subnets: ['10.30.0.5/24'] }, 'WEFT_INVALID_SUBNET', /bits set beyond/],
  ['no subnet', 'networks', 'x', { ...NET, subnets: [] }, 'WEFT_INVALID_ALLOCATION', /may not choose its subnets/],
  ['a subnet that is no text', 'networks', 'x', { ...NET, subnets: [7] }, 'WEFT_INVALID_SUBNET'],
  ['no room: /31', 'networks', 'x', { ...NET, subnets: ['10.30.0.0/31'] }, 'WEFT_INVALID_SUBNET', /no room/],
  ['no room: /32', 'networks', 'x', { ...NET, subnets: ['10.30.0.0/32'] }, 'WEFT_INVALID_SUBNET', /no room/],
  ['a smallest subnet', 'networks', 'x', { ...NET, subnets: ['10.30.0.0/30'] }, undefined],
  ['no room: /127', 'networks', 'x', { ...NET, subnets: ['fd30::/127'] }, 'WEFT_INVALID_SUBNET', /no room/],
  ['no room: /128', 'networks', 'x', { ...NET, subnets: ['fd30::/128'] }, 'WEFT_INVALID_SUBNET', /no room/],
  ['a smallest IPv6 subnet', 'networks', 'x', { ...NET, subnets: ['fd30::/126'] }, undefined],
  ['dual stack', 'networks', 'x', { ...NET, subnets: ['10.30.0.0/24', 'fd30::/64'] }, undefined],
  [
    'fewer VNIs than lanes',
    'networks',
    'x',
    { ...NET, subnets: ['10.30.0.0/24', 'fd30::/64', 'fd31::/64'] },
    'WEFT_INVALID_ALLOCATION',
    /needs 2 VNIs, one for each subnet of a family/,
  ],
  [
    'more VNIs than lanes',
    'networks',
    'x',
    { ...NET, subnets: ['10.30.0.0/24', 'fd30::/64'], vnis: [5001] },
    'WEFT_INVALID_ARGUMENT',
    /has 2 VNIs and needs a VNI/,
  ],
  [
    'a VNI twice',
    'networks',
    'x',
    { ...NET, subnets: ['10.30.0.0/24', '10.31.0.0/24'], vnis: [5000] },
    'WEFT_INVALID_ARGUMENT',
    /VNI 5000 twice/,
  ],
  [
    'another network’s VNI for the second lane',
    'networks',
    'x',
    { ...NET, subnets: ['10.30.0.0/24', '10.31.0.0/24'], vnis: [4097] },
    'WEFT_CONFLICT',
    /VNI 4097 is used by network "app"/,
  ],
  [
    'the anycast address of routers as gateway',
    'networks',
    'x',
    { ...NET, subnets: ['fd30::/64'], gateways: ['fd30::'] },
    'WEFT_INVALID_SUBNET',
    /anycast/,
  ],
  [
    'two gateways of one subnet',
    'networks',
    'x',
    { ...NET, subnets: ['10.30.0.0/24', 'fd30::/64'], gateways: ['10.30.0.5', '10.30.0.6'] },
    'WEFT_INVALID_SUBNET',
    /10\.30\.0\.6 is a second gateway of 10\.30\.0\.0\/24/,
  ],
  [
    'two subnets that overlap',
    'networks',
    'x',
    { ...NET, subnets: ['10.30.0.0/24', '10.30.0.0/25'] },
    'WEFT_INVALID_SUBNET',
    /overlaps 10\.30\.0\.0\/24/,
  ],
  ['a subnet twice', 'networks', 'x', { ...NET, subnets: ['10.30.0.0/24', '10.30.0.0/24'] }, 'WEFT_INVALID_SUBNET'],
  [
    'another network’s subnet',
    'networks',
    'x',
    { ...NET, subnets: ['10.20.0.0/24'] },
    'WEFT_CONFLICT',
    /overlaps 10\.20\.0\.0\/24 of network "app"/,
  ],
  ['a subnet inside another’s', 'networks', 'x', { ...NET, subnets: ['10.20.0.64/26'] }, 'WEFT_CONFLICT', /"app"/],
  ['a subnet around another’s', 'networks', 'x', { ...NET, subnets: ['10.16.0.0/12'] }, 'WEFT_CONFLICT', /"app"/],
  [
    'a gateway outside',
    'networks',
    'x',
    { ...NET, gateways: ['10.31.0.1'] },
    'WEFT_INVALID_SUBNET',
    /gateway 10\.31\.0\.1 is outside 10\.30\.0\.0\/24/,
  ],
  ['a gateway of another family', 'networks', 'x', { ...NET, gateways: ['fd00::1'] }, 'WEFT_INVALID_SUBNET'],
  ['the network address as gateway', 'networks', 'x', { ...NET, gateways: ['10.30.0.0'] }, 'WEFT_INVALID_SUBNET'],
  ['the broadcast address as gateway', 'networks', 'x', { ...NET, gateways: ['10.30.0.255'] }, 'WEFT_INVALID_SUBNET'],
  [
    'more gateways than subnets',
    'networks',
    'x',
    { ...NET, gateways: ['10.30.0.1', '10.30.0.2'] },
    'WEFT_INVALID_SUBNET',
    /10\.30\.0\.2 is a second gateway/,
  ],
  ['a malformed gateway', 'networks', 'x', { ...NET, gateways: ['10.30.0'] }, 'WEFT_INVALID_ADDRESS'],
  [
    'a range outside',
    'networks',
    'x',
    { ...NET, ipRanges: ['10.31.0.0/28'] },
    'WEFT_INVALID_SUBNET',
    /range 10\.31\.0\.0\/28 is not inside/,
  ],
  ['a range wider than its subnet', 'networks', 'x', { ...NET, ipRanges: ['10.30.0.0/16'] }, 'WEFT_INVALID_SUBNET'],
  ['VNI 0', 'networks', 'x', { ...NET, vni: 0 }, 'WEFT_INVALID_ARGUMENT', /vni/],
  ['a VNI of 25 bits', 'networks', 'x', { ...NET, vni: 0x1000000 }, 'WEFT_INVALID_ARGUMENT', /vni/],
  ['the highest VNI', 'networks', 'x', { ...NET, vni: 0xffffff }, undefined],
  ['a broken VNI', 'networks', 'x', { ...NET, vni: 4.5 }, 'WEFT_INVALID_ARGUMENT'],
  [
    'another network’s VNI',
    'networks',
    'x',
    { ...NET, vni: 4097 },
    'WEFT_CONFLICT',
    /VNI 4097 is used by network "app"/,
  ],
  ['no VNI', 'networks', 'x', { subnets: ['10.30.0.0/24'] }, 'WEFT_INVALID_ALLOCATION', /VNI/],
  ['an unknown driver', 'networks', 'x', { ...NET, driver: 'weave' }, 'WEFT_INVALID_ARGUMENT', /driver/],
  ['an encrypted network', 'networks', 'x', { ...NET, encrypted: true }, 'WEFT_NOT_SUPPORTED', /encrypted/],
  ['an unknown field', 'networks', 'x', { ...NET, colour: 'red' }, 'WEFT_INVALID_ARGUMENT', /colour/],
  ['an MTU below that of IPv4', 'networks', 'x', { ...NET, mtu: 100 }, 'WEFT_INVALID_ARGUMENT', /mtu/],
  [
    'a second ingress network',
    'networks',
    'x',
    { ...NET, ingress: true },
    'WEFT_CONFLICT',
    /"ingress" is the ingress network/,
  ],
  ['a name with a slash', 'networks', 'a/b', NET, 'WEFT_INVALID_NAME'],
  ['a name that leaves the directory', 'networks', '..', NET, 'WEFT_INVALID_NAME'],
  ['an empty name', 'networks', '', NET, 'WEFT_INVALID_NAME'],
  ['a name of 64 characters', 'networks', 'x'.repeat(64), NET, 'WEFT_INVALID_NAME'],
  ['a name of 63 characters', 'networks', 'x'.repeat(63), NET, undefined],
  [
    'another subnet for a network that exists',
    'networks',
    'app',
    { subnets: ['10.99.0.0/24'], vni: 4097 },
    'WEFT_CONFLICT',
    /exists with another subnets, gateways/,
  ],
  [
    'another VNI for a network that exists',
    'networks',
    'app',
    { subnets: ['10.20.0.0/24'], vni: 9 },
    'WEFT_CONFLICT',
    /another vni/,
  ],

  ['a reserved sandbox name', 'sandboxes', 'net-app', {}, 'WEFT_INVALID_NAME', /reserved/],
  ['the ingress sandbox’s name', 'sandboxes', 'ingress', {}, 'WEFT_INVALID_NAME', /reserved/],
  ['netns and pid', 'sandboxes', 'x', { netns: '/run/netns/c', pid: 42 }, 'WEFT_INVALID_ARGUMENT', /exclude/],
  ['a relative netns', 'sandboxes', 'x', { netns: 'run/netns/c' }, 'WEFT_INVALID_ARGUMENT'],
  ['a netns that is none', 'sandboxes', 'x', { netns: '/etc/passwd' }, 'WEFT_INVALID_NETNS'],
  ['a pid that is gone', 'sandboxes', 'x', { pid: 4711 }, 'WEFT_INVALID_NETNS'],
  ['a netns that exists', 'sandboxes', 'x', { netns: '/run/netns/c' }, undefined],
  ['a pid that exists', 'sandboxes', 'x', { pid: 42 }, undefined],
  [
    'another sandbox’s namespace by another path',
    'sandboxes',
    'x',
    { netns: '/run/netns/b' },
    'WEFT_CONFLICT',
    /"theirs" has that namespace/,
  ],
  ['the same sandbox again', 'sandboxes', 'theirs', { netns: '/run/netns/a' }, undefined],
  [
    'another namespace for a sandbox that exists',
    'sandboxes',
    'c1',
    { netns: '/run/netns/c' },
    'WEFT_CONFLICT',
    /another namespace/,
  ],

  ['an endpoint of no sandbox', 'endpoints', 'c9:app', {}, 'WEFT_NOT_FOUND', /no sandbox "c9"/],
  ['an endpoint on no network', 'endpoints', 'c2:nope', {}, 'WEFT_NOT_FOUND', /no network "nope"/],
  ['an endpoint id without network', 'endpoints', 'c2', {}, 'WEFT_INVALID_NAME', /SANDBOX:NETWORK/],
  ['an endpoint id of three parts', 'endpoints', 'c2:app:x', {}, 'WEFT_INVALID_NAME'],
  [
    'an address outside',
    'endpoints',
    'c2:app',
    { addresses: ['10.21.0.1'] },
    'WEFT_INVALID_ADDRESS',
    /10\.21\.0\.1 is outside 10\.20\.0\.0\/24 of network "app"/,
  ],
  [
    'an address of a family the network lacks',
    'endpoints',
    'c2:app',
    { addresses: ['fd00::2'] },
    'WEFT_INVALID_ADDRESS',
  ],
  [
    'the network address',
    'endpoints',
    'c2:app',
    { addresses: ['10.20.0.0'] },
    'WEFT_INVALID_ADDRESS',
    /network or broadcast/,
  ],
  ['the broadcast address', 'endpoints', 'c2:app', { addresses: ['10.20.0.255'] }, 'WEFT_INVALID_ADDRESS'],
  ['the gateway’s address', 'endpoints', 'c2:app', { addresses: ['10.20.0.1'] }, 'WEFT_CONFLICT', /the gateway/],
  [
    'another endpoint’s address',
    'endpoints',
    'c2:app',
    { addresses: ['10.20.0.11'] },
    'WEFT_CONFLICT',
    /belongs to c1:app/,
  ],
  ['a peer’s address', 'endpoints', 'c2:app', { addresses: ['10.20.0.30'] }, 'WEFT_CONFLICT', /peer n2\/x:app/],
  ['a VIP’s address', 'endpoints', 'c2:app', { addresses: ['10.20.0.100'] }, 'WEFT_CONFLICT', /service web/],
  [
    'one address twice',
    'endpoints',
    'c2:app',
    { addresses: ['10.20.0.12', '10.20.0.12'] },
    'WEFT_INVALID_ADDRESS',
    /one family/,
  ],
  [
    'two addresses of a family',
    'endpoints',
    'c2:app',
    { addresses: ['10.20.0.12', '10.20.0.13'] },
    'WEFT_INVALID_ADDRESS',
    /one family/,
  ],
  [
    'three addresses',
    'endpoints',
    'c2:app',
    { addresses: ['10.20.0.12', '10.20.0.13', '10.20.0.14'] },
    'WEFT_INVALID_ARGUMENT',
  ],
  ['a malformed address', 'endpoints', 'c2:app', { addresses: ['10.20.0.012'] }, 'WEFT_INVALID_ADDRESS'],
  [
    'another endpoint’s MAC',
    'endpoints',
    'c2:app',
    { addresses: ['10.20.0.12'], mac: '02:42:0a:14:00:0b' },
    'WEFT_CONFLICT',
    /belongs to c1:app/,
  ],
  ['a multicast MAC', 'endpoints', 'c2:app', { mac: '01:00:5e:00:00:01' }, 'WEFT_INVALID_ADDRESS'],
  [
    'an interface name that is taken',
    'endpoints',
    'c1:ingress',
    { ifname: 'eth0' },
    'WEFT_CONFLICT',
    /eth0 of "c1" belongs to c1:app/,
  ],
  ['the loopback’s name', 'endpoints', 'c2:app', { ifname: 'lo' }, 'WEFT_INVALID_NAME'],
  ['the name of all interfaces', 'endpoints', 'c2:app', { ifname: 'all' }, 'WEFT_INVALID_NAME'],
  ['a name that is a directory', 'endpoints', 'c2:app', { ifname: '..' }, 'WEFT_INVALID_NAME'],
  ['an interface name of 16 characters', 'endpoints', 'c2:app', { ifname: 'x'.repeat(16) }, 'WEFT_INVALID_ARGUMENT'],
  ['a weight below 0', 'endpoints', 'c2:app', { weight: -1 }, 'WEFT_INVALID_ARGUMENT'],

  ['a VTEP that another node has', 'nodes', 'n9', { vtep: '192.168.72.1' }, 'WEFT_CONFLICT', /belongs to node "n2"/],
  [
    'another VTEP for this agent',
    'nodes',
    'n1',
    { vtep: '192.168.99.1' },
    'WEFT_CONFLICT',
    /advertises 192\.168\.71\.1/,
  ],
  [
    'a VTEP of the other family',
    'nodes',
    'n9',
    { vtep: '2001:db8::9' },
    'WEFT_INVALID_ADDRESS',
    /VTEP 2001:db8::9 of node "n9" is IPv6, and this node advertises 192\.168\.71\.1/,
  ],
  ['a VTEP that is loopback', 'nodes', 'n9', { vtep: '127.0.0.1' }, 'WEFT_INVALID_ADDRESS', /other nodes could send/],
  [
    'a peer’s VTEP of the other family',
    'peers',
    'app/10.20.0.77',
    { network: 'app', address: '10.20.0.77', vtep: '2001:db8::9' },
    'WEFT_INVALID_ADDRESS',
    /VTEP 2001:db8::9 of peer/,
  ],
  ['a malformed VTEP', 'nodes', 'n9', { vtep: 'nine' }, 'WEFT_INVALID_ADDRESS'],
  [
    'a node’s address outside its network',
    'nodes',
    'n9',
    { vtep: '192.168.79.1', addresses: { ingress: ['10.20.0.5'] } },
    'WEFT_INVALID_ADDRESS',
  ],
  [
    'a node’s address on a network not yet known',
    'nodes',
    'n9',
    { vtep: '192.168.79.1', addresses: { later: ['10.66.0.5'] } },
    undefined,
  ],

  [
    'a peer on no network',
    'peers',
    'nope/10.9.9.9',
    { network: 'nope', address: '10.9.9.9', vtep: '192.168.72.1' },
    'WEFT_NOT_FOUND',
  ],
  [
    'a peer outside its network',
    'peers',
    'app/10.9.9.9',
    { network: 'app', address: '10.9.9.9', vtep: '192.168.72.1' },
    'WEFT_INVALID_ADDRESS',
  ],
  [
    'a peer at a local endpoint’s address',
    'peers',
    'app/10.20.0.11',
    { network: 'app', address: '10.20.0.11', vtep: '192.168.72.1' },
    'WEFT_CONFLICT',
    /c1:app/,
  ],

  ['a service on no network', 'services', 'api', { networks: ['nope'] }, 'WEFT_NOT_FOUND'],
  ['a service on no network at all', 'services', 'api', { networks: [] }, 'WEFT_INVALID_ARGUMENT'],
  ['a VIP outside', 'services', 'api', { networks: ['app'], vips: { app: ['10.9.9.9'] } }, 'WEFT_INVALID_ADDRESS'],
  ['a VIP that is taken', 'services', 'api', { networks: ['app'], vips: { app: ['10.20.0.11'] } }, 'WEFT_CONFLICT'],
  [
    'a VIP on another network',
    'services',
    'api',
    { networks: ['app'], vips: { ingress: ['10.255.0.9'] } },
    'WEFT_INVALID_ARGUMENT',
    /not on that network/,
  ],
  ['port 0', 'services', 'api', { networks: ['app'], publish: [{ published: 0, target: 80 }] }, 'WEFT_INVALID_PORT'],
  [
    'port 65536',
    'services',
    'api',
    { networks: ['app'], publish: [{ published: 80, target: 65536 }] },
    'WEFT_INVALID_PORT',
  ],
  [
    'a range that ends before it begins',
    'services',
    'api',
    { networks: ['app'], publish: [{ published: 90, publishedEnd: 80, target: 1 }] },
    'WEFT_INVALID_PORT',
  ],
  [
    'targets beyond the last port',
    'services',
    'api',
    { networks: ['app'], publish: [{ published: 80, publishedEnd: 90, target: 65530 }] },
    'WEFT_INVALID_PORT',
  ],
  [
    'another service’s port',
    'services',
    'api',
    { networks: ['app'], publish: [{ published: 8080, target: 1 }] },
    'WEFT_CONFLICT',
    /published by service "web"/,
  ],
  [
    'a range over another service’s port',
    'services',
    'api',
    { networks: ['app'], publish: [{ published: 8000, publishedEnd: 8100, target: 1 }] },
    'WEFT_CONFLICT',
  ],
  [
    'that port by another protocol',
    'services',
    'api',
    { networks: ['app'], publish: [{ published: 8080, target: 1, proto: 'udp' }] },
    undefined,
  ],
  [
    'one port twice',
    'services',
    'api',
    {
      networks: ['app'],
      publish: [
        { published: 81, target: 1 },
        { published: 81, target: 2 },
      ],
    },
    'WEFT_CONFLICT',
  ],
  [
    'an unknown protocol',
    'services',
    'api',
    { networks: ['app'], publish: [{ published: 81, target: 1, proto: 'dccp' }] },
    'WEFT_INVALID_ARGUMENT',
  ],
];

for (const [what, table, id, body, code, message] of CASES) {
  test(`${what}: ${code ?? 'fine'}`, (t) => {
    const rig = world(t);
    const [revision, wish] = [rig.store.revision, rig.store.wish];
    if (code === undefined) {
      t.notThrows(() => rig.put(table, id, body));
      return;
    }
    const error = t.throws(() => rig.put(table, id, body)) as WeftError;
    t.is(codeOf(error), code as never, error.message);
    t.truthy(error.hint, 'it says what to do');
    if (message) t.regex(error.message, message);
    t.is(rig.store.revision, revision, 'nothing changed');
    t.is(rig.store.wish, wish);
  });
}

test('what others use cannot be removed, and they are named', (t) => {
  const rig = world(t);
  const refused = (table: Table, id: string) => {
    const error = t.throws(() => rig.store.remove(table, id)) as Error & { code: string };
    return `${error.code} ${error.message}`;
  };
  t.is(refused('networks', 'app'), 'WEFT_IN_USE network "app" has endpoints: c1:app');
  t.is(refused('sandboxes', 'c1'), 'WEFT_IN_USE sandbox "c1" has endpoints: c1:app');
  t.regex(refused('networks', 'nope'), /^WEFT_NOT_FOUND/);
  rig.store.remove('endpoints', 'c1:app');
  t.is(refused('networks', 'app'), 'WEFT_IN_USE network "app" has services: web');
  rig.store.remove('services', 'web');
  rig.store.remove('sandboxes', 'c1');
  t.notThrows(() => rig.store.remove('networks', 'app'));
});

test('a network that is stated as it is, in other words, is no change', (t) => {
  const rig = world(t);
  const revision = rig.store.revision;
  rig.put('networks', 'app', { subnets: ['10.20.0.0/24'], ipRanges: ['10.20.0.128/29'], gateways: ['10.20.0.1'] });
  t.is(rig.store.revision, revision);
});

test('what is left open is filled in: gateway, address, MAC, interface, and it stays', (t) => {
  const rig = world(t);
  const spec = () => rig.store.get('endpoints', 'c2:app')?.spec;
  rig.put('endpoints', 'c2:app');
  t.like(spec(), {
    addresses: ['10.20.0.128'],
    mac: '02:42:0a:14:00:80',
    ifname: 'eth0',
    sandbox: 'c2',
    network: 'app',
    weight: 1,
    state: 'active',
  });
  rig.put('endpoints', 'c2:app', { weight: 5 });
  t.like(spec(), { addresses: ['10.20.0.128'], weight: 5 });
  rig.put('endpoints', 'c2:ingress');
  t.is(rig.store.get('endpoints', 'c2:ingress')?.spec.ifname, 'eth1');
  t.is(
    rig.store.get('endpoints', 'c2:ingress')?.spec.addresses[0],
    '10.255.0.128',
    'a range may begin inside the subnet',
  );
});

test('without a range of its own an agent allocates nothing', (t) => {
  const rig = new StoreRig(t);
  rig.put('networks', 'x', NET);
  rig.put('sandboxes', 'c1');
  const error = t.throws(() => rig.put('endpoints', 'c1:x')) as Error & { code: string; hint: string };
  t.is(error.code, 'WEFT_INVALID_ALLOCATION');
  t.regex(error.hint, /--ip ADDRESS/);
});

function connect(rig: StoreRig, i: number): string {
  rig.put('sandboxes', `s${i}`);
  return (rig.put('endpoints', `s${i}:x`).stored.spec as { addresses: string[] }).addresses[0] as string;
}

test('allocation stays inside the range, over its edges and holders, serially, until it is exhausted', (t) => {
  const rig = new StoreRig(t);
  rig.put('networks', 'x', {
    subnets: ['10.30.0.0/28'],
    vni: 5000,
    ipRanges: ['10.30.0.0/29', '10.30.0.12/30'],
    gateways: ['10.30.0.2'],
  });
  rig.gossip({
    table: 'peers',
    op: 'set',
    key: 'n2/a:x',
    node: 'n2',
    ltime: 1,
    value: { network: 'x', address: '10.30.0.4', vtep: '192.168.72.1', state: 'active' },
  });
  const given = Array.from({ length: 8 }, (_, i) => connect(rig, i));
  t.deepEqual(
    given,
    [1, 3, 5, 6, 7, 12, 13, 14].map((n) => `10.30.0.${n}`),
  );
  const error = t.throws(() => connect(rig, 8)) as Error & { code: string };
  t.is(error.code, 'WEFT_EXHAUSTED');
  t.regex(error.message, /10\.30\.0\.0\/29, 10\.30\.0\.12\/30/);
  rig.store.remove('endpoints', 's2:x');
  t.is(connect(rig, 9), '10.30.0.5');
});

test('a freed address rests: the next one given is another, also after a restart', (t) => {
  const rig = new StoreRig(t);
  rig.put('networks', 'x', { ...NET, ipRanges: ['10.30.0.64/29'] });
  t.is(connect(rig, 1), '10.30.0.64');
  rig.store.remove('endpoints', 's1:x');
  rig.restart();
  t.is(connect(rig, 2), '10.30.0.65');
});

test('whatever comes and goes, no two hold one address, over restarts', (t) => {
  const step = fc.oneof(
    fc.record({ connect: fc.nat(9) }),
    fc.record({ disconnect: fc.nat(9) }),
    fc.constant('restart' as const),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const teardowns: (() => void)[] = [];
      const rig = new StoreRig({ teardown: (fn) => teardowns.push(fn) });
      rig.put('networks', 'x', { ...NET, ipRanges: ['10.30.0.64/29'] });
      for (const it of steps) {
        if (it === 'restart') rig.restart();
        else if ('connect' in it) {
          try {
            connect(rig, it.connect);
          } catch (error) {
            t.is(codeOf(error), 'WEFT_EXHAUSTED');
            t.is(rig.store.wish.endpoints.size, 8);
          }
        } else if (rig.store.wish.endpoints.has(`s${it.disconnect}:x`))
          rig.store.remove('endpoints', `s${it.disconnect}:x`);
        const held = [...rig.store.wish.endpoints.values()].flatMap((e) => e.spec.addresses);
        t.is(new Set(held).size, held.length);
      }
      for (const fn of teardowns) fn();
    }),
    { numRuns: 30 },
  );
});

test('gateways find their subnets in whatever order they are given', (t) => {
  const rig = new StoreRig(t).app();
  const subnets = ['10.30.0.0/24', 'fd30::/64', '10.31.0.0/24'];
  rig.put('networks', 'x', { subnets, vni: 5000, vnis: [5001], gateways: ['fd30::fe', '10.30.0.254'] });
  t.deepEqual(rig.store.wish.networks.get('x')?.spec.gateways, ['10.30.0.254', 'fd30::fe', '10.31.0.1']);
});
