import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { hosts, resolvConf } from '../../src/agent/files.js';
import { LiveView } from '../../src/agent/live-view.js';
import { isBound, nameServersOf } from '../../src/agent/upstreams.js';
import type { View } from '../../src/dns/view.js';
import { type PatchJson, parseView, patchView } from '../../src/dns/view-json.js';
import type { Stored, Wish } from '../../src/model/registry.js';
import type { Change } from '../../src/network/affected.js';
import { type NameEntry, NameTable, type NetworkNames } from '../../src/network/name-table.js';
import { affectedNames, sandboxNames } from '../../src/network/names-view.js';
import { StoreRig } from '../support/store.js';

const VTEP = '192.168.72.1';

/** Network `app`, service `web` with a backend in c1 here and one on node n2, and the plain sandbox c2. */
function rig(t: ExecutionContext): StoreRig {
  const made = new StoreRig(t).app();
  made.put('services', 'web', { networks: ['app'], vips: { app: ['10.20.0.200'] }, aliases: ['www'] });
  made.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'], service: 'web', aliases: ['first'] });
  made.put('endpoints', 'c2:app', { addresses: ['10.20.0.12'] });
  made.put('nodes', 'n2', { vtep: VTEP });
  peer(made, 'b3', '10.20.0.13', { service: 'web', aliases: ['third'] });
  return made;
}

function peer(rig: StoreRig, sandbox: string, address: string, more: object = {}): void {
  rig.put('peers', `n2/${sandbox}:app`, { network: 'app', address, vtep: VTEP, sandbox, ...more });
}

function namesOf({ store }: StoreRig, network = 'app'): NetworkNames {
  return new NameTable(store.wish, store.get('networks', network) as Stored<'networks'>).whole();
}

const tasks = (...ips: string[]): NameEntry => ({ served: [{ backends: ips.map((a) => ({ a })) }] });

test('services, their tasks and aliases, endpoints here and elsewhere', (t) => {
  t.deepEqual(namesOf(rig(t)), {
    internal: false,
    subnets: ['10.20.0.0/24'],
    names: {
      web: { a: ['10.20.0.200'] },
      'tasks.web': tasks('10.20.0.11', '10.20.0.13'),
      www: { a: ['10.20.0.200'] },
      'tasks.www': tasks('10.20.0.11', '10.20.0.13'),
      c1: { a: ['10.20.0.11'] },
      first: { a: ['10.20.0.11'] },
      c2: { a: ['10.20.0.12'] },
      b3: { a: ['10.20.0.13'] },
      third: { a: ['10.20.0.13'] },
    },
    ptr: {
      '10.20.0.200': 'web.app',
      '10.20.0.11': 'c1.app',
      '10.20.0.12': 'c2.app',
      '10.20.0.13': 'b3.app',
    },
  });
});

test('a service in mode dnsrr is its active backends', (t) => {
  const made = rig(t);
  made.put('services', 'rr', { networks: ['app'], mode: 'dnsrr', aliases: ['round'] });
  made.put('endpoints', 'c2:app', { addresses: ['10.20.0.12'], service: 'rr' });
  const { names, ptr } = namesOf(made);
  for (const name of ['rr', 'round']) t.deepEqual(names[name], { a: ['10.20.0.12'] });
  for (const name of ['tasks.rr', 'tasks.round']) t.deepEqual(names[name], tasks('10.20.0.12'));
  t.deepEqual(Object.values(ptr).sort(), ['b3.app', 'c1.app', 'c2.app', 'web.app']);
});

for (const [what, change] of [
  ['draining', { state: 'draining' }],
  ['unhealthy', { state: 'unhealthy' }],
  ['of weight 0', { weight: 0 }],
] as const) {
  test(`a backend that is ${what} leaves the service and keeps its own names`, (t) => {
    const made = rig(t);
    peer(made, 'b3', '10.20.0.13', { service: 'web', ...change });
    made.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'], service: 'web', ...change });
    const { names } = namesOf(made);
    t.deepEqual(names['tasks.web'], tasks(), 'the name exists and is empty');
    t.deepEqual(names.web, { a: ['10.20.0.200'] });
    t.deepEqual(names.b3, { a: ['10.20.0.13'] });
    t.deepEqual(names.c1, { a: ['10.20.0.11'] });
  });
}

test('backends of a dead node leave', (t) => {
  const made = rig(t);
  made.put('nodes', 'n2', { vtep: VTEP, alive: false });
  t.deepEqual(namesOf(made).names['tasks.web'], tasks('10.20.0.11'));
});

test('backends are told of with their weights, ports and both addresses; labels as texts', (t) => {
  const made = new StoreRig(t);
  made.put('networks', 'app', { subnets: ['10.20.0.0/24', 'fd20::/64'], vni: 4097 });
  made.put('networks', 'ingress', { subnets: ['10.0.0.0/24'], vni: 4096, ingress: true });
  for (const name of ['c1', 'c2', 'c3']) made.put('sandboxes', name);
  made.put('services', 'web', {
    ...{
      networks: ['app'],
      vips: { app: ['10.20.0.200', 'fd20::200'] },
      preferLocal: true,
      labels: { b: '2', a: 'x=y' },
    },
    ports: [{ port: 80, target: 8080, name: 'http' }],
    publish: [
      { published: 443, target: 443 },
      { published: 9000, publishedEnd: 9010, target: 90, proto: 'udp' },
    ],
  });
  made.put('endpoints', 'c1:app', { addresses: ['10.20.0.11', 'fd20::11'], service: 'web', weight: 3 });
  made.put('endpoints', 'c2:app', { addresses: ['fd20::12'], service: 'web' });
  made.put('endpoints', 'c3:app', { addresses: ['10.20.0.14'], service: 'web', state: 'draining' });
  made.put('nodes', 'n2', { vtep: VTEP });
  peer(made, 'b3', '10.20.0.13', { addressV6: 'fd20::13', service: 'web' });
  const { names } = namesOf(made);
  t.deepEqual(names.web?.txt, ['a=x=y', 'b=2']);
  t.deepEqual(names['tasks.web'], {
    served: [
      {
        backends: [
          { a: '10.20.0.11', aaaa: 'fd20::11', weight: 3 },
          { a: '10.20.0.13', aaaa: 'fd20::13', priority: 1 },
          { aaaa: 'fd20::12' },
        ],
        ports: [
          { proto: 'tcp', from: 80, to: 80, target: 8080, name: 'http' },
          { proto: 'udp', from: 9000, to: 9010, target: 90 },
        ],
      },
    ],
  });
  made.put('services', 'web', { ...made.store.get('services', 'web')?.spec, mode: 'dnsrr' });
  const here = namesOf(made).names.web;
  t.deepEqual([here?.a, here?.aaaa], [['10.20.0.11'], ['fd20::11', 'fd20::12']], 'those of this node');
});

test('services that share an alias are told of one by one', (t) => {
  const made = rig(t);
  made.put('services', 'db', {
    ...{ networks: ['app'], vips: { app: ['10.20.0.201'] }, aliases: ['www'] },
    ports: [{ port: 80, target: 81 }],
  });
  made.put('endpoints', 'c2:app', { addresses: ['10.20.0.12'], service: 'db' });
  const { names } = namesOf(made);
  t.deepEqual(names.www, { a: ['10.20.0.201', '10.20.0.200'] });
  t.deepEqual(names['tasks.www']?.served, [
    { backends: [{ a: '10.20.0.12' }], ports: [{ proto: 'tcp', from: 80, to: 80, target: 81 }] },
    { backends: [{ a: '10.20.0.11' }, { a: '10.20.0.13' }] },
  ]);
});

test('a service hides endpoints of its name; a shared alias has the addresses of all', (t) => {
  const made = rig(t);
  peer(made, 'web', '10.20.0.14', { aliases: ['pool'] });
  made.put('endpoints', 'c2:app', { addresses: ['10.20.0.12'], aliases: ['pool', 'tasks.web'] });
  const { names, ptr } = namesOf(made);
  t.deepEqual(names.web, { a: ['10.20.0.200'] });
  t.deepEqual(names['tasks.web'], tasks('10.20.0.11', '10.20.0.13'));
  t.deepEqual(names.pool, { a: ['10.20.0.12', '10.20.0.14'] });
  t.is(ptr['10.20.0.14'], 'web.app');
});

test('names are in lower case, and the host name is one of them', (t) => {
  const made = rig(t);
  made.put('sandboxes', 'c2', { hostname: 'Host-2' });
  made.put('services', 'API', { networks: ['app'], vips: { app: ['10.20.0.201'] } });
  const { names, ptr } = namesOf(made);
  t.deepEqual(names['host-2'], { a: ['10.20.0.12'] });
  t.deepEqual(names.api, { a: ['10.20.0.201'] });
  t.is(ptr['10.20.0.201'], 'API.app');
});

test('what no DNS message can carry is left out, and the rest is served', (t) => {
  const made = rig(t);
  made.put('endpoints', 'c2:app', { addresses: ['10.20.0.12'], aliases: ['a..b', 'a.', 'a.b'] });
  const { names } = namesOf(made);
  t.deepEqual(
    ['a..b', 'a.', 'a.b'].map((name) => Object.hasOwn(names, name)),
    [false, false, true],
  );
});

test('an endpoint on the move, known here and elsewhere, goes by its name here', (t) => {
  const made = rig(t);
  const value = { network: 'app', address: '10.20.0.12', vtep: VTEP, sandbox: 'before' };
  made.gossip({ table: 'peers', op: 'set', key: 'n2/before:app', node: 'n2', ltime: 1, value });
  const { names, ptr } = namesOf(made);
  t.is(ptr['10.20.0.12'], 'c2.app');
  t.deepEqual([names.c2, names.before], [{ a: ['10.20.0.12'] }, { a: ['10.20.0.12'] }]);
});

test('the ingress network has no names', (t) => {
  const made = rig(t);
  made.put('networks', 'ingress', { subnets: ['10.0.0.0/24'], vni: 4096, ingress: true });
  made.put('endpoints', 'c1:ingress', { addresses: ['10.0.0.11'], service: 'web' });
  t.deepEqual(namesOf(made, 'ingress'), {
    internal: false,
    ingress: true,
    subnets: ['10.0.0.0/24'],
    names: {},
    ptr: {},
  });
});

test('a sandbox has its networks in the order of connection', (t) => {
  const made = rig(t);
  made.put('networks', 'aaa', { subnets: ['10.21.0.0/24'], vni: 4098, internal: true });
  made.put('sandboxes', 'c2', { dns: ['192.0.2.53'] });
  made.put('endpoints', 'c2:aaa', { addresses: ['10.21.0.12'] });
  const { store } = made;
  const found = sandboxNames(store.wish, store.get('sandboxes', 'c2') as Stored<'sandboxes'>, '/pin');
  t.deepEqual(found, { netns: '/pin', networks: ['app', 'aaa'], dns: ['192.0.2.53'] });
});

test('name servers on a network of the sandbox are asked from inside, or all, or none', (t) => {
  const made = rig(t);
  const inside = (dnsFrom: string) => {
    const dnsSplit = { 'Corp.Example.': ['192.0.2.54', '10.20.0.77#5353'] };
    made.put('sandboxes', 'c1', { dns: ['192.0.2.53', '10.20.0.77'], dnsSplit, dnsFrom });
    return sandboxNames(made.store.wish, made.store.get('sandboxes', 'c1') as Stored<'sandboxes'>, '/pin');
  };
  t.deepEqual(inside('auto').inside, ['10.20.0.77', '10.20.0.77#5353']);
  t.deepEqual(inside('node').inside, undefined);
  t.deepEqual(inside('sandbox').inside, ['192.0.2.53', '10.20.0.77', '192.0.2.54', '10.20.0.77#5353']);
  t.deepEqual(inside('auto').split, { 'corp.example': ['192.0.2.54', '10.20.0.77#5353'] });
});

test('a change concerns the networks on which it shows', (t) => {
  const made = rig(t);
  made.put('networks', 'other', { subnets: ['10.21.0.0/24'], vni: 4098 });
  const { wish } = made.store;
  const affected = (table: Change['table'], id: string) => {
    const { networks, givers, sandboxes } = affectedNames([{ table, id }], wish, wish);
    const named = [...givers].flatMap(([network, there]) => [...there.keys()].map((giver) => `${giver} on ${network}`));
    return [...networks, ...named.sort(), ...sandboxes];
  };
  t.deepEqual(affected('peers', 'n2/b3:app'), ['peers/n2/b3:app on app', 'services/web on app']);
  t.deepEqual(affected('services', 'web'), ['services/web on app']);
  t.deepEqual(affected('endpoints', 'c1:app'), ['endpoints/c1:app on app', 'services/web on app', 'c1']);
  t.deepEqual(affected('sandboxes', 'c1'), ['endpoints/c1:app on app', 'c1']);
  t.deepEqual(affected('networks', 'other'), ['other']);
  t.deepEqual(affected('nodes', 'n2'), ['services/web on app']);
  t.deepEqual(affected('peers', 'unknown'), []);
});

const pin = (sandbox: string): string => `/pins/${sandbox}`;

/** A live view that follows a store, and the patches it gave. */
class Follower {
  readonly live = new LiveView(pin, (sandbox) => this.ports.get(sandbox), { ttl: 30 });
  readonly ports = new Map<string, { udp: number; tcp: number }>();
  readonly patches: (PatchJson | undefined)[] = [];
  view;
  #before: Wish;

  constructor(readonly rig: StoreRig) {
    this.view = parseView(this.live.whole(rig.store.wish));
    this.#before = rig.store.wish;
    rig.store.on('change', (changes) => {
      const after = rig.store.wish;
      this.live.mark(affectedNames(changes, this.#before, after));
      this.#before = after;
    });
  }

  follow(): PatchJson | undefined {
    const patch = this.live.patch(this.rig.store.wish);
    if (patch) this.view = patchView(this.view, patch);
    return patch;
  }
}

test('a patch names what is different, and nothing else', (t) => {
  const made = rig(t);
  const follower = new Follower(made);
  const first = follower.live.revision;
  made.put('networks', 'other', { subnets: ['10.21.0.0/24'], vni: 4098 });
  made.put('services', 'db', { networks: ['other'], vips: { other: ['10.21.0.200'] } });
  t.is(follower.follow(), undefined, 'nobody here is on that network');
  made.put('endpoints', 'c2:other', { addresses: ['10.21.0.12'] });
  const joined = follower.follow();
  t.deepEqual(Object.keys(joined?.networks ?? {}), ['other']);
  t.deepEqual(joined?.sandboxes, { c2: { netns: '/pins/c2', networks: ['app', 'other'] } });
  t.is(joined?.revision, first + 1);
  peer(made, 'b4', '10.20.0.14', { service: 'web' });
  const three = tasks('10.20.0.11', '10.20.0.13', '10.20.0.14');
  t.deepEqual(follower.follow(), {
    revision: first + 2,
    names: {
      app: {
        names: { b4: { a: ['10.20.0.14'] }, 'tasks.web': three, 'tasks.www': three },
        ptr: { '10.20.0.14': 'b4.app' },
      },
    },
  });
  made.put('nodes', 'n2', { vtep: VTEP, labels: { rack: '1' } });
  t.is(follower.follow(), undefined, 'a node’s labels are no names');
  made.store.remove('endpoints', 'c2:other');
  t.deepEqual(follower.follow(), {
    revision: first + 3,
    networks: { other: null },
    sandboxes: { c2: { netns: '/pins/c2', networks: ['app'] } },
  });
  t.false(follower.live.isDue);
});

test('name servers go with the next patch; looking again names sandboxes as they are', (t) => {
  const { live, ...follower } = new Follower(rig(t));
  live.setUpstreams(['192.0.2.1']);
  const { wish } = follower.rig.store;
  t.deepEqual(live.patch(wish), { revision: live.revision, upstreams: ['192.0.2.1'] });
  live.setUpstreams(['192.0.2.1']);
  t.is(live.patch(wish), undefined);
  live.lookAgain();
  t.deepEqual(live.patch(wish), { revision: live.revision });
  live.lookAgain(['c1', 'gone']);
  t.deepEqual(live.patch(wish), {
    revision: live.revision,
    sandboxes: { c1: { netns: '/pins/c1', networks: ['app'] } },
  });
});

test('a resolver is asked to listen where the last one did, and that alone is no news', (t) => {
  const { live, ports, ...follower } = new Follower(rig(t));
  ports.set('c1', { udp: 40001, tcp: 40002 });
  const { wish } = follower.rig.store;
  t.is(live.patch(wish), undefined);
  const view = live.whole(wish);
  t.is(view.ttl, 30);
  t.deepEqual(view.sandboxes.c1?.ports, { udp: 40001, tcp: 40002 });
  t.is(view.sandboxes.c2?.ports, undefined);
  t.deepEqual(parseView(view).sandboxes.get('c1')?.ports, { udp: 40001, tcp: 40002 });
  live.lookAgain(['c1']);
  t.deepEqual(live.patch(wish)?.sandboxes?.c1?.ports, { udp: 40001, tcp: 40002 });
  for (const port of [0, 65536, 1.5, '53']) {
    const bad = { ...view, sandboxes: { c1: { ...view.sandboxes.c1, ports: { udp: port, tcp: 1 } } } };
    t.throws(() => parseView(bad), { code: 'WEFT_INVALID_ARGUMENT', message: 'sandboxes.c1.ports.udp: not a port' });
  }
});

/** Some change of a small world; one that the store refuses changes nothing. */
const step = fc.record({
  verb: fc.constantFrom('put', 'put', 'put', 'remove'),
  kind: fc.constantFrom('endpoint', 'peer', 'peer', 'service', 'sandbox', 'node', 'node'),
  which: fc.integer({ min: 1, max: 4 }),
  network: fc.constantFrom('app', 'other'),
  state: fc.constantFrom('active', 'draining', 'unhealthy'),
  service: fc.constantFrom('s1', 's2'),
  settled: fc.boolean(),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function take(rig: StoreRig, { verb, kind, which, network, state, service }: Step): void {
  const base = network === 'app' ? '10.20.0' : '10.21.0';
  const rows = {
    endpoint: ['endpoints', `c${which}:${network}`, { addresses: [`${base}.${10 + which}`], service, state }],
    peer: [
      'peers',
      `n2/p${which}:${network}`,
      {
        network,
        address: `${base}.${20 + (which % 3)}`,
        vtep: VTEP,
        service,
        state,
        sandbox: service,
        aliases: ['pool'],
      },
    ],
    service: ['services', `s${which % 3}`, { networks: [network], mode: which > 2 ? 'dnsrr' : 'vip', vips: {} }],
    sandbox: ['sandboxes', `c${which}`, { hostname: `${service}-${which}` }],
    node: ['nodes', 'n2', { vtep: VTEP, alive: which > 2 }],
  } as const;
  const [table, id, body] = rows[kind];
  try {
    if (verb === 'remove') rig.store.remove(table, id);
    else rig.put(table, id, body);
  } catch (error) {
    if ((error as { code?: string }).code === undefined) throw error;
  }
}

/** In which order a view came to its entries and names does not matter: they are looked up. */
function ordered(view: View): object {
  const byName = <T>(map: ReadonlyMap<string, T>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
  const networks = byName(view.networks).map(([id, { names, pointers, ...rest }]) => {
    return [id, { ...rest, names: byName(names), pointers: byName(pointers) }];
  });
  return { ...view, networks, sandboxes: byName(view.sandboxes) };
}

test('patches add up to the whole view', (t) => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 10, maxLength: 40, size: 'max' }), (steps) => {
      const torn: (() => void)[] = [];
      const made = new StoreRig({ teardown: (fn) => void torn.push(fn) }).app();
      try {
        made.put('networks', 'other', { subnets: ['10.21.0.0/24'], vni: 4098, ipRanges: ['10.21.0.128/29'] });
        const follower = new Follower(made);
        for (const one of steps) {
          take(made, one);
          if (one.settled) follower.follow();
        }
        follower.follow();
        const { revision } = follower.view;
        const whole = new LiveView(pin, () => undefined, { ttl: 30 }).whole(made.store.wish);
        t.deepEqual(ordered(follower.view), ordered(parseView({ ...whole, revision })));
      } finally {
        for (const fn of torn) fn();
      }
    }),
    { numRuns: 60 },
  );
});

test('resolv.conf names the resolver, and the search domains', (t) => {
  const made = rig(t);
  const conf = () => resolvConf(made.store.get('sandboxes', 'c1') as Stored<'sandboxes'>);
  t.is(conf(), 'nameserver 127.0.0.11\noptions ndots:0\n');
  made.put('sandboxes', 'c1', { dnsSearch: ['corp.example', 'example.'] });
  t.is(conf(), 'nameserver 127.0.0.11\nsearch corp.example example.\noptions ndots:0\n');
  t.throws(() => made.put('sandboxes', 'c1', { dnsSearch: ['a\nnameserver 192.0.2.1'] }), {
    code: 'WEFT_INVALID_ARGUMENT',
  });
});

test('hosts has the sandbox’s own names at its addresses, but those of the ingress network', (t) => {
  const made = rig(t);
  made.put('networks', 'ingress', { subnets: ['10.0.0.0/24'], vni: 4096, ingress: true });
  made.put('endpoints', 'c1:ingress', { addresses: ['10.0.0.11'] });
  made.put('sandboxes', 'c1', { hostname: 'host1' });
  const lines = hosts(made.store.wish, made.store.get('sandboxes', 'c1') as Stored<'sandboxes'>).split('\n');
  t.deepEqual(lines, ['127.0.0.1\tlocalhost', '::1\tlocalhost ip6-localhost ip6-loopback', '10.20.0.11\thost1 c1', '']);
});

test('whether somebody listens at a stub of the node', (t) => {
  const sockets = [
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops',
    ' 1234: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 21 2 0000000000000000 0',
    ' 1235: 3600007F:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 22 2 0000000000000000 0',
  ].join('\n');
  t.true(isBound(sockets, '127.0.0.53'));
  t.false(isBound(sockets, '127.0.0.54'));
  t.true(isBound(sockets.replace('3600007F:0044', '00000000:0035'), '127.0.0.54'));
});

test('name servers of a resolv.conf, as the libraries read it', (t) => {
  t.deepEqual(nameServersOf('# nameserver 1.1.1.1\nnameserver 192.0.2.1\nnameserver\t2001:DB8::1 \nsearch x\n'), [
    '192.0.2.1',
    '2001:db8::1',
  ]);
  t.deepEqual(nameServersOf('nameserver fe80::1%eth0\nnameserver nonsense\n'), ['fe80::1%eth0']);
  t.deepEqual(nameServersOf([1, 2, 3, 4].map((n) => `nameserver 192.0.2.${n}\n`).join('')).length, 3);
  t.deepEqual(nameServersOf('options ndots:2\n'), ['127.0.0.1']);
});
