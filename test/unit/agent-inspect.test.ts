import test, { type ExecutionContext } from 'ava';
import { gatewayOf } from '../../src/agent/choices.js';
import type { Readers } from '../../src/agent/inspect/look.js';
import { inspect, inspectable } from '../../src/agent/inspect.js';
import { Verifier } from '../../src/agent/verify.js';
import type { InspectRow } from '../../src/api/agent.js';
import { backendId } from '../../src/balance/backends.js';
import type { Flow } from '../../src/codec/conntrack.js';
import { FakeKernel } from '../../src/kernel/fake/kernel.js';
import type { VirtualServerView } from '../../src/kernel/real/ipvs-state.js';
import type { Listener } from '../../src/kernel/real/listeners.js';
import { meshNumber } from '../../src/model/published.js';
import { produce, producers } from '../../src/network/produce.js';
import type { World } from '../../src/network/world.js';
import { NODE_NS } from '../../src/objects/kind.js';
import { KINDS } from '../../src/objects/registry.js';
import { Desired } from '../../src/reconcile/desired.js';
import { Loop } from '../../src/reconcile/loop.js';
import { SELF, StoreRig } from '../support/store.js';

const VIP = '10.20.0.200';
const OWN = '10.0.0.101';

/** Node n1 with network app, ingress, and service web of two backends, as a kernel in memory has it. */
class Rig {
  readonly kernel = new FakeKernel();
  readonly desired = new Desired(KINDS);
  readonly loop = new Loop(this.kernel, this.desired, () => undefined);
  readonly rig: StoreRig;
  readonly world: World;
  readonly seen: { ipvs: VirtualServerView[]; flows: Record<string, Flow[]>; listeners: Listener[] } = {
    ipvs: [],
    flows: {},
    listeners: [],
  };

  constructor(t: ExecutionContext, balancer: 'nft' | 'ipvs') {
    this.rig = new StoreRig(t);
    this.#fill();
    const { store } = this.rig;
    this.world = {
      wish: store.wish,
      self: { ...SELF, dataPathPort: 4789, addresses: { 4: SELF.vtep } },
      underlayMtu: 1500,
      smallPaths: new Map(),
      balancer: { name: balancer, bridgeConntrack: false, hash: true },
      nftInet: true,
      gateway: { 4: gatewayOf('172.31.0.0/16') },
      number: (space, name, first) => store.number(space, name, first),
      chosenPort: (name) => store.chosenPort(name),
      resolverPorts: () => undefined,
    };
    for (const name of producers(store.wish)) this.desired.set(name, produce(this.world, name));
    t.teardown(() => this.loop.stop());
  }

  #fill(): void {
    this.rig.put('networks', 'app', { subnets: ['10.20.0.0/24'], vni: 4097 });
    this.rig.put('networks', 'ingress', { subnets: ['10.0.0.0/24'], vni: 4096, ingress: true });
    this.rig.put('nodes', 'n1', { vtep: SELF.vtep, addresses: { ingress: [OWN] } });
    const publish = [{ published: 8080, target: 80 }];
    this.rig.put('services', 'web', { networks: ['app'], vips: { app: [VIP] }, publish });
    for (const [name, n] of Object.entries({ b1: 21, b2: 22 })) {
      this.rig.put('sandboxes', name);
      this.rig.put('endpoints', `${name}:app`, { addresses: [`10.20.0.${n}`], service: 'web' });
      this.rig.put('endpoints', `${name}:ingress`, { addresses: [`10.0.0.${n}`], service: 'web' });
    }
  }

  async up(): Promise<this> {
    await this.loop.sweep();
    return this;
  }

  /** Rows of a view; `query` as in a URL. */
  async rows(what: string, query = ''): Promise<InspectRow[]> {
    return (await this.listing(what, query)).items;
  }

  listing(what: string, query = '') {
    const { kernel, desired, world, seen } = this;
    const readers: Readers = {
      ipvs: async () => seen.ipvs,
      flows: async (ns, _filter, wanted, limit) => {
        const flows = (seen.flows[ns] ?? []).filter(wanted);
        return { flows: flows.slice(0, limit), more: Math.max(0, flows.length - limit) };
      },
      listeners: async (wanted) => seen.listeners.filter(wanted),
    };
    const look = { kernel, desired, held: this.loop.held, world, readers, query: new URLSearchParams(query) };
    return inspect(look, what);
  }

  /** Somebody takes away what `pick` says. */
  take(ns: string, kind: string, pick: (key: string) => boolean): void {
    const keys = [...(this.kernel.spaces.get(ns)?.get(kind)?.keys() ?? [])].filter(pick);
    for (const key of keys) this.kernel.take(ns, kind, key);
    if (keys.length === 0) throw new Error(`nothing to take from ${ns} ${kind}`);
  }
}

const up = (t: ExecutionContext, balancer: 'nft' | 'ipvs' = 'nft'): Promise<Rig> => new Rig(t, balancer).up();
const drifts = (rows: readonly InspectRow[]): string[] => [...new Set(rows.map((row) => row.drift))];

test('all views show a kernel that is as wished as ok', async (t) => {
  const rig = await up(t);
  for (const what of inspectable()) {
    const rows = await rig.rows(what);
    t.true(rows.length > 0 || ['ipvs', 'conntrack', 'fdb'].includes(what), what);
    t.true(
      drifts(rows).every((drift) => drift === 'ok'),
      `${what}: ${JSON.stringify(rows)}`,
    );
  }
});

for (const balancer of ['nft', 'ipvs'] as const) {
  test(`vips: with the backends that balancer ${balancer} has`, async (t) => {
    const rig = await up(t, balancer);
    t.deepEqual(await rig.rows('vips'), [
      { namespace: 'net-app', network: 'app', vip: VIP, service: 'web', balancer, active: 2, draining: 0, drift: 'ok' },
    ]);
  });
}

test('vips: one that is gone, one that is nobody’s, and a balancer that lost something', async (t) => {
  const rig = await up(t);
  rig.take('net-app', 'nft', (key) => key.includes(' slot4 '));
  const [damaged] = await rig.rows('vips');
  t.like(damaged, { vip: VIP, drift: 'differs' });
  t.regex(damaged?.reason ?? '', /^2 of the balancer’s \d+ objects are not as wished$/);
  rig.take('net-app', 'address', (key) => key === `br0 ${VIP}`);
  rig.kernel.put('net-app', 'address', { dev: 'br0', ip: '10.20.0.201', length: 32 });
  const rows = await rig.rows('vips');
  t.like(
    rows.find((row) => row.vip === VIP),
    { drift: 'missing', reason: 'VIP of web' },
  );
  t.like(
    rows.find((row) => row.vip === '10.20.0.201'),
    { drift: 'foreign', reason: 'nothing wishes it' },
  );
  t.false(
    rows.some((row) => row.vip === '10.20.0.1'),
    'the gateway is no VIP',
  );
});

test('rules: chains with their rules in words, jumps with their hooks, sets with their size', async (t) => {
  const rig = await up(t);
  const rows = await rig.rows('rules');
  t.like(
    rows.find((row) => row.chain === 'balance'),
    {
      ...{ namespace: 'net-app', what: 'chain', table: 'bridge weft', hook: 'prerouting -150', count: 3 },
      rules: [
        'ether daddr != 02:57:c0:a8:47:01 accept',
        'meta protocol ip jump l4-4',
        'meta mark != 0x0 meta mark set 0x0',
      ],
    },
  );
  const ingress = rows.filter((row) => row.chain === 'WEFT-INGRESS');
  t.deepEqual(ingress.map(({ what, hook }) => [what, hook]).sort(), [
    ['chain', undefined],
    ['jump', 'OUTPUT'],
    ['jump', 'PREROUTING'],
  ]);
  t.like(
    rows.find((row) => row.namespace === 'net-app' && row.chain === 'live4'),
    { what: 'set', count: 2 },
  );
  t.like(
    rows.find((row) => row.chain === 'flows4'),
    { what: 'set', drift: 'ok', count: undefined },
  );
});

test('rules: what is missing, changed or lost its elements', async (t) => {
  const rig = await up(t);
  rig.take('net-app', 'nft', (key) => key.startsWith('element bridge weft live4 '));
  rig.take(NODE_NS, 'iptables', (key) => key.startsWith('4 nat OUTPUT '));
  const chain = { what: 'chain', family: 4, table: 'nat', chain: 'WEFT-INGRESS', rules: [] };
  rig.kernel.put(NODE_NS, 'iptables', chain);
  const rows = await rig.rows('rules');
  t.like(
    rows.find((row) => row.namespace === 'net-app' && row.chain === 'live4'),
    {
      ...{ count: 0, drift: 'differs', reason: 'elements: 2 missing' },
    },
  );
  t.like(
    rows.find((row) => row.hook === 'OUTPUT' && row.namespace === NODE_NS),
    { drift: 'missing' },
  );
  t.like(
    rows.find((row) => row.chain === 'WEFT-INGRESS' && row.what === 'chain'),
    { drift: 'differs', count: 0 },
  );
});

const server = (addr: string, weight = 1) => ({
  ...{ addr, port: 0, method: 'direct' as const, weight, upper: 0, lower: 0, persistent: 0 },
  ...{ active: 3, inactive: 4 },
});
const virtual = (key: VirtualServerView['key'], ...servers: VirtualServerView['servers']): VirtualServerView => ({
  ...{ key, scheduler: 'rr', flags: 0, timeout: 0, netmask: '255.255.255.255' },
  servers,
});

test('ipvs: pairs with their connections; a stranger’s, and a missing real server', async (t) => {
  const rig = await up(t, 'ipvs');
  const marks = [...(rig.kernel.spaces.get('net-app')?.get('virtual-server')?.values() ?? [])] as { fwmark: number }[];
  const fwmark = marks[0]?.fwmark ?? 0;
  rig.seen.ipvs = [
    virtual({ family: 4, fwmark }, server('10.20.0.21'), server('10.20.0.22')),
    virtual({ family: 4, protocol: 6, addr: '192.0.2.1', port: 80 }, server('192.0.2.2')),
  ];
  const rows = await rig.rows('ipvs', 'namespace=net-app');
  t.deepEqual(rows[0], {
    ...{ namespace: 'net-app', virtual: `mark ${fwmark}`, family: 4, mark: fwmark, service: 'web', scheduler: 'rr' },
    ...{ server: '10.20.0.21', method: 'direct', weight: 1, active: 3, inactive: 4, drift: 'ok' },
  });
  t.like(rows[2], { virtual: '192.0.2.1:80/tcp', server: '192.0.2.2', drift: 'foreign' });
  const others = rows.filter((row) => row.mark !== undefined && row.mark !== fwmark);
  t.true(others.length > 0 && others.every((row) => row.service === 'web'), 'wished, and not in this listing');

  rig.take('net-app', 'real-server', (key) => key === `v4 mark ${fwmark} 10.20.0.22`);
  rig.seen.ipvs = [virtual({ family: 4, fwmark }, server('10.20.0.21'))];
  const after = await rig.rows('ipvs', 'namespace=net-app');
  t.like(
    after.find((row) => row.mark === fwmark && row.server === '10.20.0.22'),
    { drift: 'missing' },
  );
});

const flow = (src: string, dst: string, dstPort: number, replySrc: string, mark = 0): Flow => ({
  ...{ family: 'ip', status: 0, mark, zone: 0, timeout: 100, tcpState: 'established' },
  original: { src, dst, protocol: 6, srcPort: 40000, dstPort },
  reply: { src: replySrc, dst: src, protocol: 6, srcPort: dstPort, dstPort: 40000 },
});

test('conntrack: flows of weft with their service, others left out', async (t) => {
  const rig = await up(t);
  rig.seen.flows = {
    [NODE_NS]: [
      flow('192.0.2.9', SELF.vtep, 8080, OWN),
      flow('192.0.2.9', SELF.vtep, 8081, OWN),
      flow('192.0.2.9', SELF.vtep, 22, SELF.vtep),
    ],
    b1: [
      flow('10.20.0.22', VIP, 80, '10.20.0.21'),
      flow('192.0.2.9', OWN, 8080, '172.31.0.2'),
      flow('10.20.0.22', '10.20.0.21', 80, '10.20.0.21'),
    ],
    'net-app': [
      flow('10.20.0.11', VIP, 80, VIP, backendId('10.20.0.21')),
      flow('10.20.0.12', VIP, 80, VIP, backendId('10.20.0.99')),
    ],
  };
  const rows = await rig.rows('conntrack');
  t.deepEqual(
    rows.map(({ namespace, port, service, backend, drift }) => [namespace, port, service, backend, drift]).sort(),
    [
      [NODE_NS, 8080, 'web', undefined, 'ok'],
      [NODE_NS, 8081, undefined, undefined, 'differs'],
      ['b1', 80, 'web', '10.20.0.21', 'ok'],
      ['b1', 8080, 'web', '172.31.0.2', 'ok'],
      ['net-app', 80, 'web', undefined, 'differs'],
      ['net-app', 80, 'web', '10.20.0.21', 'ok'],
    ],
  );
});

test('conntrack: one number of two services, each at an address of its own', async (t) => {
  const rig = await up(t);
  const other = '192.0.2.77';
  const port = (hostIp: string) => ({ published: 9000, target: 80, proto: 'tcp', hostIp }) as const;
  for (const [id, hostIp] of Object.entries({ here: SELF.vtep, there: other }))
    rig.rig.put('services', id, { networks: ['app'], mode: 'dnsrr', publish: [port(hostIp)] });
  rig.world.wish = rig.rig.store.wish;
  const mesh = meshNumber({ ...port(other), mode: 'ingress', policy: 'cluster', allow: [] });
  t.not(mesh, 9000);
  rig.seen.flows = {
    [NODE_NS]: [flow('192.0.2.9', SELF.vtep, 9000, OWN), flow('192.0.2.9', other, 9000, OWN)],
    b1: [flow('192.0.2.9', OWN, mesh, '172.31.0.2'), flow('192.0.2.9', OWN, 9000, '172.31.0.2')],
  };
  const rows = await rig.rows('conntrack');
  t.deepEqual(
    rows.map(({ namespace, destination, service }) => [namespace, destination, service]),
    [
      [NODE_NS, SELF.vtep, 'here'],
      [NODE_NS, other, 'there'],
      ['b1', OWN, 'there'],
    ],
  );
});

test('conntrack: bounded, and it says what it left out', async (t) => {
  const rig = await up(t);
  const many = (n: number) => Array.from({ length: n }, () => flow('192.0.2.9', SELF.vtep, 8080, OWN));
  rig.seen.flows = { [NODE_NS]: many(5), b1: [flow('10.20.0.22', VIP, 80, '10.20.0.21')] };
  const listing = await rig.listing('conntrack', 'limit=3');
  t.is(listing.items.length, 3);
  t.is(listing.more, 3);
  t.is((await rig.listing('conntrack')).more, undefined);
  for (const limit of ['0', '-1', 'x', '1000000'])
    await t.throwsAsync(rig.listing('conntrack', `limit=${limit}`), { code: 'WEFT_INVALID_ARGUMENT' });
});

test('ports: where they lead, whether the rule is there, and who else listens', async (t) => {
  const rig = await up(t);
  const row = { port: '8080', proto: 'tcp', service: 'web', mode: 'ingress', target: 80, via: OWN };
  t.deepEqual(await rig.rows('ports'), [{ ...row, active: 2, draining: 0, drift: 'ok' }]);
  rig.seen.listeners = [
    { proto: 'tcp', address: '0.0.0.0', port: 8080, inode: 1, pid: 4711, program: 'nginx' },
    { proto: 'tcp', address: '0.0.0.0', port: 8081, inode: 2 },
  ];
  const [taken] = await rig.rows('ports');
  t.deepEqual(taken?.listeners, [{ address: '0.0.0.0', pid: 4711, program: 'nginx' }]);
  rig.take(NODE_NS, 'iptables', (key) => key.startsWith('4 nat PREROUTING '));
  t.like((await rig.rows('ports'))[0], { drift: 'missing', reason: 'no jump from PREROUTING to WEFT-INGRESS' });
  rig.take(NODE_NS, 'iptables', (key) => key === '4 nat WEFT-INGRESS');
  t.like((await rig.rows('ports'))[0], { drift: 'missing', reason: 'no rule for it in WEFT-INGRESS' });
});

test('one namespace only, by its name or as the ingress one', async (t) => {
  const rig = await up(t);
  t.deepEqual([...new Set((await rig.rows('rules', 'namespace=b1')).map((row) => row.namespace))], ['b1']);
  t.deepEqual(
    [...new Set((await rig.rows('vteps', 'namespace=ingress')).map((row) => row.namespace))],
    ['net-ingress'],
  );
  await t.throwsAsync(rig.rows('rules', 'namespace=nope'), { code: 'WEFT_NOT_FOUND', message: /"nope"/ });
  await t.throwsAsync(rig.rows('nope'), { code: 'WEFT_NOT_FOUND' });
});

test('what the gate holds back is marked held', async (t) => {
  const rig = await up(t);
  rig.kernel.put('net-app', 'fdb', { dev: 'vxlan0', mac: '02:42:0a:14:00:63', bridge: true, dst: '192.168.72.1' });
  const odd = async () => (await rig.rows('fdb')).find(({ drift }) => drift !== 'ok');
  t.like(await odd(), { drift: 'foreign', reason: 'nothing wishes it' });
  const shut = new Loop(rig.kernel, rig.desired, () => 'shut');
  t.teardown(() => shut.stop());
  await shut.sweep();
  rig.loop.held = shut.held;
  const held = await odd();
  t.is(held?.drift, 'held');
  t.regex(held?.reason ?? '', /: shut$/);
});

test('verify: each difference once, with the time when it was first seen', async (t) => {
  const rig = await up(t);
  const verifier = new Verifier(rig.loop);
  t.deepEqual(await verifier.differences(), []);
  rig.take('net-app', 'address', (key) => key === `br0 ${VIP}`);
  rig.kernel.put('net-app', 'fdb', { dev: 'vxlan0', mac: '02:42:0a:14:00:63', bridge: true, dst: '192.168.72.1' });
  const first = await verifier.differences();
  t.deepEqual(first.map(({ difference, kind, key, object }) => [difference, kind, key, object]).sort(), [
    ['missing', 'address', `br0 ${VIP}`, 'service/web'],
    ['surplus', 'fdb', 'vxlan0 02:42:0a:14:00:63', undefined],
  ]);
  t.is(first.find(({ kind }) => kind === 'address')?.why, 'VIP of web');
  await new Promise((resolve) => setTimeout(resolve, 5));
  t.deepEqual(await verifier.differences(), first, 'later it is the same difference, as old as it was');
  await rig.loop.sweep();
  t.deepEqual(await verifier.differences(), []);
});
