import test from 'ava';
import { endpointBody } from '../../src/model/endpoint.js';
import type { Stored } from '../../src/model/registry.js';
import { bandwidthLimits } from '../../src/network/bandwidth.js';
import { Wants } from '../../src/network/world.js';

/** What the limits of an endpoint with a host end wf0123 at that MTU are in the kernel. */
function limits(bandwidth: object, mtu = 1450): [kind: string, object: unknown][] {
  const spec = { ...endpointBody.parse({ bandwidth }), sandbox: 'c1', network: 'app', mac: '', ifname: 'eth0' };
  const endpoint: Stored<'endpoints'> = { table: 'endpoints', id: 'c1:app', origin: 'api', revision: 1, spec };
  const wants = new Wants('endpoint/c1:app');
  bandwidthLimits(endpoint, { ns: 'net-app', dev: 'wf0123', mtu }, wants);
  return wants.list.map(({ kind, object }) => [kind, object]);
}

const shaper = (dev: string, rate: number, burst: number, limit: number) => [
  'qdisc',
  { what: 'shaper', dev, rate, burst, limit },
];

test('without a limit there is nothing', (t) => {
  t.deepEqual(limits({}), []);
});

test('into the sandbox: a bucket at the host end, three hundredths of a second deep', (t) => {
  t.deepEqual(limits({ toSandbox: 50e6 }), [shaper('wf0123', 6_250_000, 187_500, 812_500)]);
});

test('out of the sandbox: what comes in goes through a device of its own', (t) => {
  t.deepEqual(limits({ fromSandbox: 50e6 }), [
    ['link', { type: 'ifb', name: 'wi0123', up: true, mtu: 1450, alias: 'weft:endpoint/c1:app' }],
    shaper('wi0123', 6_250_000, 187_500, 812_500),
    ['qdisc', { what: 'redirect', dev: 'wf0123', to: 'wi0123' }],
  ]);
});

test('a bucket takes whole packets, however low the rate and large the MTU, and what the kernel can count', (t) => {
  t.deepEqual(limits({ toSandbox: 8000 }, 9000), [shaper('wf0123', 1000, 18_036, 108_216)]);
  t.deepEqual(limits({ toSandbox: 1e12 }), [shaper('wf0123', 125e9, 3_750_000_000, 2 ** 32 - 1)]);
});
