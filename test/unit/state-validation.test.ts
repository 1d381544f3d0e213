import test from 'ava';
import type { WeftError } from '../../src/base/errors.js';
import { codeOf } from '../../src/base/errors.js';
import type { Table } from '../../src/model/registry.js';
import { StoreRig } from '../support/store.js';

/** What is refused, with which code, and words of the message. Every refusal says what to do. */
type Case = [what: string, table: Table, id: string, body: unknown, code: string, message: RegExp];

const net = (more: object) => ({ vni: 5000, ...more });
const subnet = (cidr: string) => net({ subnets: [cidr] });

const CASES: Case[] = [
  [
    'a resolver that asks itself',
    'sandboxes',
    'x',
    { dnsSplit: { corp: ['127.0.0.11#53'] }, dnsFrom: 'sandbox' },
    'WEFT_INVALID_ARGUMENT',
    /would ask itself/,
  ],
  ['no name server', 'sandboxes', 'x', { dnsSplit: { corp: ['10.0.0.1#0'] } }, 'WEFT_INVALID_ARGUMENT', /name server/],
  ['no domain', 'sandboxes', 'x', { dnsSplit: { 'a b': ['10.0.0.1'] } }, 'WEFT_INVALID_ARGUMENT', /dnsSplit/],
  ['everything', 'networks', 'x', subnet('0.0.0.0/0'), 'WEFT_INVALID_SUBNET', /0\.0\.0\.0\/0 has 0\.0\.0\.0\/8, which/],
  ['this network', 'networks', 'x', subnet('0.1.0.0/16'), 'WEFT_INVALID_SUBNET', /0\.1\.0\.0\/16 stands for/],
  ['loopback', 'networks', 'x', subnet('127.0.0.0/24'), 'WEFT_INVALID_SUBNET', /loopback/],
  [
    'around loopback',
    'networks',
    'x',
    subnet('126.0.0.0/7'),
    'WEFT_INVALID_SUBNET',
    /126\.0\.0\.0\/7 has 127\.0\.0\.0\/8/,
  ],
  ['link-local', 'networks', 'x', subnet('169.254.7.0/24'), 'WEFT_INVALID_SUBNET', /link-local/],
  ['multicast', 'networks', 'x', subnet('224.1.0.0/16'), 'WEFT_INVALID_SUBNET', /multicast/],
  ['broadcast', 'networks', 'x', subnet('255.255.255.0/24'), 'WEFT_INVALID_SUBNET', /broadcast/],
  ['everything, IPv6', 'networks', 'x', subnet('::/0'), 'WEFT_INVALID_SUBNET', /::\/0 has ::\/127, which/],
  ['v4-mapped', 'networks', 'x', subnet('::ffff:10.20.0.0/112'), 'WEFT_INVALID_SUBNET', /stands for IPv4/],
  ['link-local, IPv6', 'networks', 'x', subnet('fe80::/64'), 'WEFT_INVALID_SUBNET', /link-local/],
  ['multicast, IPv6', 'networks', 'x', subnet('ff15::/64'), 'WEFT_INVALID_SUBNET', /multicast/],
  [
    'a reserved address outside',
    'networks',
    'x',
    net({ subnets: ['10.30.0.0/24'], reserved: ['10.31.0.9'] }),
    'WEFT_INVALID_SUBNET',
    /reserved 10\.31\.0\.9 is not inside 10\.30\.0\.0\/24/,
  ],
  [
    'a reserved range around the subnet',
    'networks',
    'x',
    net({ subnets: ['10.30.0.0/24'], reserved: ['10.30.0.0/16'] }),
    'WEFT_INVALID_SUBNET',
    /reserved/,
  ],
  [
    'a reserved range with host bits',
    'networks',
    'x',
    net({ subnets: ['10.30.0.0/24'], reserved: ['10.30.0.9/28'] }),
    'WEFT_INVALID_SUBNET',
    /write 10\.30\.0\.0\/28/,
  ],
  [
    'everything reserved',
    'networks',
    'x',
    net({ subnets: ['10.30.0.0/24'], reserved: ['10.30.0.0/25', '10.30.0.128/25'] }),
    'WEFT_INVALID_SUBNET',
    /10\.30\.0\.0\/24 has no address left/,
  ],
  [
    'a range that is the gateway',
    'networks',
    'x',
    net({ subnets: ['10.30.0.0/24'], ipRanges: ['10.30.0.0/31'] }),
    'WEFT_INVALID_SUBNET',
    /10\.30\.0\.0\/31 has no address left/,
  ],
  [
    'an MTU too small for IPv6',
    'networks',
    'x',
    net({ subnets: ['fd30::/64'], mtu: 1279 }),
    'WEFT_INVALID_ARGUMENT',
    /1279 is too small for IPv6, which needs 1280/,
  ],
  ['a name that is none', 'networks', 'a b', subnet('10.30.0.0/24'), 'WEFT_INVALID_NAME', /"a b" is not a name/],
  ['the ingress network’s name', 'networks', 'ingress', subnet('10.30.0.0/24'), 'WEFT_INVALID_NAME', /reserved/],
  ['a name of our namespaces', 'sandboxes', 'net-x', {}, 'WEFT_INVALID_NAME', /reserved/],
  [
    'the subnet-router anycast address',
    'endpoints',
    'c1:six',
    { addresses: ['fd60::'] },
    'WEFT_INVALID_ADDRESS',
    /subnet-router anycast address \(RFC 4291\) of fd60::\/64/,
  ],
  [
    'two addresses of IPv6',
    'endpoints',
    'c1:six',
    { addresses: ['fd60::5', 'fd60::6'] },
    'WEFT_INVALID_ADDRESS',
    /one family/,
  ],
  ['the gateway’s IPv6 address', 'endpoints', 'c1:six', { addresses: ['fd60::1'] }, 'WEFT_CONFLICT', /the gateway/],
  [
    'two VIPs of a family',
    'services',
    'web',
    { networks: ['six'], vips: { six: ['fd60::5', 'fd60::6'] } },
    'WEFT_INVALID_ADDRESS',
    /one family/,
  ],
  [
    'the MAC of nobody',
    'endpoints',
    'c1:app',
    { addresses: ['10.20.0.20'], mac: '00:00:00:00:00:00' },
    'WEFT_INVALID_ADDRESS',
    /cannot be the address of an interface/,
  ],
  [
    'a peer’s MAC',
    'endpoints',
    'c1:app',
    { addresses: ['10.20.0.20'], mac: '02:42:0a:14:00:1e' },
    'WEFT_CONFLICT',
    /belongs to peer n2\/x:app/,
  ],
  [
    'a limit in megabits, as bits',
    'endpoints',
    'c1:app',
    { addresses: ['10.20.0.20'], bandwidth: { toSandbox: 50 } },
    'WEFT_INVALID_ARGUMENT',
    /bandwidth\.toSandbox/,
  ],
  [
    'a limit of another name',
    'endpoints',
    'c1:app',
    { addresses: ['10.20.0.20'], bandwidth: { in: 50e6 } },
    'WEFT_INVALID_ARGUMENT',
    /bandwidth/,
  ],
  [
    'a service that is no name, among others',
    'endpoints',
    'c1:app',
    { addresses: ['10.20.0.20'], service: ['web', 'no name'] },
    'WEFT_INVALID_NAME',
    /"no name" is not a name/,
  ],
  [
    'a service twice',
    'endpoints',
    'c1:app',
    { addresses: ['10.20.0.20'], service: ['web', 'web'] },
    'WEFT_INVALID_ARGUMENT',
    /"web" is named twice/,
  ],
  [
    'a static address that is reserved',
    'endpoints',
    'c1:app',
    { addresses: ['10.20.0.9'] },
    'WEFT_CONFLICT',
    /10\.20\.0\.9 is reserved on network "app" \(10\.20\.0\.8\/30\)/,
  ],
  [
    'a VIP that is reserved',
    'services',
    'web',
    { networks: ['app'], vips: { app: ['10.20.0.9'] } },
    'WEFT_CONFLICT',
    /reserved/,
  ],
];

for (const [what, table, id, body, code, message] of CASES) {
  test(`${what}: ${code}`, (t) => {
    const rig = new StoreRig(t).app();
    rig.put('networks', 'app', {
      subnets: ['10.20.0.0/24'],
      vni: 4097,
      ipRanges: ['10.20.0.128/29'],
      reserved: ['10.20.0.8/30'],
    });
    rig.put('networks', 'six', { subnets: ['fd60::/64'], vni: 4099 });
    const value = { network: 'app', address: '10.20.0.30', vtep: '192.168.72.1' };
    rig.gossip({ table: 'peers', op: 'set', key: 'n2/x:app', node: 'n2', ltime: 1, value });
    const before = rig.store.revision;
    const error = t.throws(() => rig.put(table, id, body)) as WeftError;
    t.is(codeOf(error), code as never);
    t.regex(`${error.message} (${error.hint})`, message);
    t.truthy(error.hint);
    t.is(rig.store.revision, before);
  });
}

test('what an object had before it was reserved it keeps, and may state again', (t) => {
  const rig = new StoreRig(t).app();
  const body = { addresses: ['10.20.0.9'] };
  const { stored } = rig.put('endpoints', 'c1:app', body);
  rig.put('networks', 'app', { subnets: ['10.20.0.0/24'], vni: 4097, reserved: ['10.20.0.9'] });
  t.is(rig.put('endpoints', 'c1:app', body).stored.revision, stored.revision);
});

test('an endpoint comes from another node with its address and MAC while its old row is still about', (t) => {
  const rig = new StoreRig(t).app();
  const value = { network: 'app', address: '10.20.0.30', vtep: '192.168.72.1' };
  rig.gossip({ table: 'peers', op: 'set', key: 'n2/c1:app', node: 'n2', ltime: 1, value });
  t.throws(() => rig.put('endpoints', 'c2:app', { addresses: ['10.20.0.30'] }), {
    message: /belongs to peer n2\/c1:app/,
  });
  t.notThrows(() => rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.30'] }));
});
