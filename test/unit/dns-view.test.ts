import test from 'ava';
import { ipText } from '../../src/base/ip.js';
import { TYPE } from '../../src/dns/constants.js';
import { lookup } from '../../src/dns/lookup.js';
import type { Outcome } from '../../src/dns/outcome.js';
import { reverseIp } from '../../src/dns/reverse.js';
import { LOCAL_TTL, type View } from '../../src/dns/view.js';
import { parseView, patchView, type ViewJson } from '../../src/dns/view-json.js';

const VIEW: ViewJson = {
  revision: 7,
  upstreams: ['192.0.2.53'],
  sandboxes: {
    c1: { netns: '/run/c1', networks: ['front', 'back'] },
    c2: { netns: '/run/c2', networks: ['back'], dns: ['198.51.100.1#5353'] },
    shut: { netns: '/run/shut', networks: ['inside'] },
    half: { netns: '/run/half', networks: ['inside', 'back'] },
    alone: { netns: '/run/alone', networks: [] },
    port: { netns: '/run/port', networks: ['ingress'] },
  },
  networks: {
    front: {
      internal: false,
      names: { web: { a: ['10.0.1.2'] }, v6: { aaaa: ['fd00::1'] }, 'tasks.web': { a: ['10.0.1.4', '10.0.1.5'] } },
      ptr: { '10.0.1.4': 'web.1.front', 'fd00::1': 'v6.front' },
    },
    back: {
      internal: false,
      subnets: ['10.0.2.0/23', 'fd00:2::/64'],
      names: { web: { a: ['10.0.2.2'], aaaa: ['fd00:2::2'] }, db: { a: ['10.0.2.3'] }, gone: {} },
      ptr: { '10.0.2.3': 'db.back' },
    },
    inside: { internal: true, names: { db: { a: ['10.0.3.3'] } }, ptr: {} },
    ingress: {
      internal: false,
      ingress: true,
      names: { web: { a: ['10.0.9.9'] } },
      ptr: { '10.0.9.9': 'web.ingress' },
    },
    'Net.With.Dots': { internal: false, names: {}, ptr: {} },
  },
};
const view = parseView(VIEW);

function ask(sandbox: string, key: string, type: number = TYPE.A, on: View = view): Outcome {
  const found = on.sandboxes.get(sandbox);
  if (!found) throw new Error(`no sandbox ${sandbox}`);
  return lookup(on, found, key, type);
}

function addresses(outcome: Outcome, width: 4 | 16 = 4): string[] {
  if (outcome.kind !== 'addresses') return [outcome.kind];
  return outcome.sets.flatMap((set) =>
    Array.from({ length: set.length / width }, (_, i) => ipText(set.subarray(i * width, (i + 1) * width))),
  );
}

test('a name on several networks has the addresses of each, in the order of connection', (t) => {
  t.deepEqual(addresses(ask('c1', 'web')), ['10.0.1.2', '10.0.2.2']);
  t.deepEqual(addresses(ask('c1', 'web', TYPE.AAAA), 16), ['fd00:2::2']);
  t.deepEqual(addresses(ask('c2', 'web')), ['10.0.2.2']);
  t.deepEqual(addresses(ask('c1', 'tasks.web')), ['10.0.1.4', '10.0.1.5']);
});

test('names of other networks do not exist', (t) => {
  t.is(ask('c2', 'tasks.web').kind, 'nxdomain');
  t.is(ask('shut', 'web').kind, 'nxdomain');
});

test('NAME.NETWORK is the name on that network alone', (t) => {
  t.deepEqual(addresses(ask('c1', 'web.back')), ['10.0.2.2']);
  t.deepEqual(addresses(ask('c1', 'tasks.web.front')), ['10.0.1.4', '10.0.1.5']);
  t.deepEqual(ask('c1', 'db.front'), { kind: 'nxdomain', zone: 1 });
  t.is(ask('c2', 'web.front').kind, 'forward');
});

test('a network whose name has dots and capitals is a suffix like any other', (t) => {
  const other = patchView(view, {
    revision: 8,
    networks: { 'Net.With.Dots': { internal: false, names: { x: { a: ['10.9.9.9'] } }, ptr: {} } },
    sandboxes: { c1: { netns: '/run/c1', networks: ['Net.With.Dots'] } },
  });
  t.deepEqual(addresses(ask('c1', 'x.net.with.dots', TYPE.A, other)), ['10.9.9.9']);
});

test('a name that lacks the type exists all the same', (t) => {
  t.is(ask('c1', 'db', TYPE.AAAA).kind, 'nodata');
  t.is(ask('c1', 'v6', TYPE.A).kind, 'nodata');
  t.is(ask('c2', 'gone').kind, 'nodata');
  for (const type of [TYPE.MX, TYPE.TXT, TYPE.SRV, TYPE.PTR, 65]) t.is(ask('c1', 'web', type).kind, 'nodata');
});

test('reverse names of known addresses', (t) => {
  t.deepEqual(ask('c1', '4.1.0.10.in-addr.arpa', TYPE.PTR), { kind: 'pointer', target: 'web.1.front' });
  const v6 = `1.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`;
  t.deepEqual(ask('c1', v6, TYPE.PTR), { kind: 'pointer', target: 'v6.front' });
  t.is(ask('c1', v6, TYPE.A).kind, 'nodata');
  t.is(ask('c2', v6, TYPE.PTR).kind, 'forward');
  t.is(ask('c1', '9.9.9.9.in-addr.arpa', TYPE.PTR).kind, 'forward');
});

test('ANY is one of the types that there are', (t) => {
  t.deepEqual(addresses(ask('c1', 'db', TYPE.ANY)), ['10.0.2.3']);
  t.deepEqual(addresses(ask('c1', 'v6', TYPE.ANY), 16), ['fd00::1']);
  t.is(ask('c1', 'gone', TYPE.ANY).kind, 'nodata');
});

test('what could only be ours is asked nowhere else', (t) => {
  for (const key of ['single', 'tasks.single', '_80._tcp.single', '_tcp.single', '10-0-0-1.tasks.single', 'a\\.b'])
    for (const type of [TYPE.A, TYPE.AAAA, TYPE.MX, TYPE.ANY, 65])
      t.deepEqual(ask('c1', key, type), { kind: 'nxdomain', zone: 0 }, key);
  for (const key of ['x.back', 'x.y.back', '_80._tcp.x.back'])
    for (const type of [TYPE.A, TYPE.NS, TYPE.DS])
      t.deepEqual(ask('c1', key, type), { kind: 'nxdomain', zone: 1 }, key);
  t.deepEqual(ask('c1', 'back', TYPE.NS), { kind: 'nodata', zone: 1 }, 'the zone itself');
});

test('what others may know is asked for', (t) => {
  for (const key of [
    '',
    'example.org',
    'tasks.example.org',
    '_80._tcp.example.org',
    'y.x\\.back',
    '5.0.10.in-addr.arpa',
  ])
    t.is(ask('c1', key).kind, 'forward', key);
  // A validating resolver in the sandbox would take nothing below `com` to exist.
  for (const type of [TYPE.NS, TYPE.SOA, TYPE.DS, TYPE.DNSKEY]) t.is(ask('c1', 'com', type).kind, 'forward');
});

test('addresses of our subnets that nobody has are asked for nowhere else', (t) => {
  t.deepEqual(ask('c1', '9.3.0.10.in-addr.arpa', TYPE.PTR), { kind: 'nxdomain', zone: 4 });
  t.deepEqual(ask('c1', `9.${'0.'.repeat(23)}2.0.0.0.0.0.d.f.ip6.arpa`, TYPE.PTR), { kind: 'nxdomain', zone: 18 });
  t.is(ask('c1', '9.4.0.10.in-addr.arpa', TYPE.PTR).kind, 'forward');
  t.deepEqual(ask('c2', '3.2.0.10.in-addr.arpa', TYPE.A), { kind: 'nodata', zone: 4 });
});

test('a name that has others below it exists', (t) => {
  const names = { 'web.1': { a: ['10.0.1.7'] }, 'x.y.z': {} };
  const more = patchView(view, { revision: 8, names: { front: { names } } });
  for (const key of ['1', 'z', '1.front', 'y.z.front']) t.is(ask('c1', key, TYPE.A, more).kind, 'nodata', key);
  t.is(ask('c1', 'y', TYPE.A, more).kind, 'nxdomain');
  t.is(ask('c1', 'y.z', TYPE.A, more).kind, 'forward', 'an alias `db.example.org` is no reason to hide the rest');
  t.is(ask('c2', '1', TYPE.A, more).kind, 'nxdomain', 'on networks of the sandbox');
  const dotted = patchView(view, { revision: 8, sandboxes: { c1: { netns: '/c1', networks: ['Net.With.Dots'] } } });
  t.deepEqual(ask('c1', 'dots', TYPE.A, dotted), { kind: 'nodata', zone: 0 });
  t.deepEqual(ask('c1', 'x.net.with.dots', TYPE.A, dotted), { kind: 'nxdomain', zone: 3 });
});

test('localhost is known everywhere', (t) => {
  t.deepEqual(addresses(ask('alone', 'localhost')), ['127.0.0.1']);
  t.deepEqual(addresses(ask('alone', 'a.localhost', TYPE.AAAA), 16), ['::1']);
  t.deepEqual(ask('c1', 'localhost', TYPE.MX), { kind: 'nodata', zone: 1 });
  t.deepEqual(ask('c1', '1.0.0.127.in-addr.arpa', TYPE.PTR), { kind: 'pointer', target: 'localhost' });
});

test('answers may be kept as long as the view says', (t) => {
  t.is(view.ttl, LOCAL_TTL);
  t.is(parseView({ ...VIEW, ttl: 0 }).ttl, 0);
  t.is(patchView(parseView({ ...VIEW, ttl: 600 }), { revision: 8 }).ttl, 600);
});

test('reverse names are exact', (t) => {
  t.is(reverseIp('4.1.0.10.in-addr.arpa'), '10.0.1.4');
  for (const key of [
    '1.0.10.in-addr.arpa',
    '04.1.0.10.in-addr.arpa',
    '256.1.0.10.in-addr.arpa',
    'x.4.1.0.10.in-addr.arpa',
  ]) {
    t.is(reverseIp(key), undefined, key);
  }
  t.is(reverseIp(`${'0.'.repeat(31)}ip6.arpa`), undefined);
});

test('unknown names go to the servers of the sandbox, else of the node', (t) => {
  t.deepEqual(ask('c1', 'example.org'), {
    kind: 'forward',
    servers: [{ address: '192.0.2.53', port: 53, family: 4 }],
  });
  t.deepEqual(ask('c2', 'example.net'), {
    kind: 'forward',
    servers: [{ address: '198.51.100.1', port: 5353, family: 4 }],
  });
});

test('without a way out an unknown name does not exist', (t) => {
  t.is(ask('shut', 'example.org').kind, 'nxdomain');
  t.is(ask('alone', 'example.org').kind, 'nxdomain');
  t.is(ask('half', 'example.org').kind, 'forward');
  t.deepEqual(addresses(ask('shut', 'db')), ['10.0.3.3']);
});

test('the ingress network has no names', (t) => {
  t.is(ask('port', 'web').kind, 'nxdomain');
  t.is(ask('port', 'web.ingress').kind, 'forward');
  t.is(ask('port', '9.9.0.10.in-addr.arpa', TYPE.PTR).kind, 'forward');
});

test('names of Object.prototype are names like any other', (t) => {
  for (const key of ['constructor', '__proto__', 'tostring', 'hasownproperty'])
    t.is(ask('c1', key).kind, 'nxdomain', key);
});

test('a patch replaces and deletes whole entries and leaves the old view as it was', (t) => {
  const next = patchView(view, {
    revision: 8,
    upstreams: ['fe80::1%eth0'],
    sandboxes: { c2: null, c3: { netns: '/run/c3', networks: ['front'] } },
    networks: { front: { internal: false, names: { web: { a: ['10.0.1.9'] } }, ptr: {} } },
  });
  t.deepEqual([...next.sandboxes.keys()], ['c1', 'shut', 'half', 'alone', 'port', 'c3']);
  t.deepEqual(addresses(ask('c3', 'web', TYPE.A, next)), ['10.0.1.9']);
  t.is(ask('c1', 'v6', TYPE.AAAA, next).kind, 'nxdomain');
  t.deepEqual(next.upstreams, [{ address: 'fe80::1%eth0', port: 53, family: 6 }]);
  t.is(next.networks.get('back'), view.networks.get('back'));
  t.deepEqual(addresses(ask('c1', 'web')), ['10.0.1.2', '10.0.2.2']);
  t.true(view.sandboxes.has('c2'));
});

test('a patch of names changes those, and leaves the rest and the old view as they were', (t) => {
  const next = patchView(view, {
    revision: 8,
    names: {
      front: {
        names: { web: { a: ['10.0.1.9'] }, v6: null, new: { a: ['10.0.1.10'] } },
        ptr: { '10.0.1.4': null, 'FD00:0::1': 'new.front' },
      },
    },
  });
  t.deepEqual(addresses(ask('c1', 'web.front', TYPE.A, next)), ['10.0.1.9']);
  t.deepEqual(addresses(ask('c1', 'new', TYPE.A, next)), ['10.0.1.10']);
  t.is(ask('c1', 'v6', TYPE.AAAA, next).kind, 'nxdomain');
  t.deepEqual(addresses(ask('c1', 'tasks.web', TYPE.A, next)), ['10.0.1.4', '10.0.1.5']);
  t.deepEqual(ask('c1', '4.1.0.10.in-addr.arpa', TYPE.PTR, next).kind, 'forward');
  t.deepEqual([...(next.networks.get('front')?.pointers ?? [])], [['fd00::1', 'new.front']]);
  t.is(next.networks.get('back'), view.networks.get('back'));
  t.deepEqual(addresses(ask('c1', 'web.front')), ['10.0.1.2']);
  t.deepEqual(ask('c1', '4.1.0.10.in-addr.arpa', TYPE.PTR), { kind: 'pointer', target: 'web.1.front' });
});

for (const [what, names, message] of [
  ['of a network that is not there', { nope: {} }, /names\.nope: network "nope" is not in the view/],
  ['with capitals', { front: { names: { Web: null } } }, /"Web" is not in lower case/],
  ['with an address of the other family', { front: { names: { web: { a: ['fd00::1'] } } } }, /front\.names\.web\.a/],
  ['for a malformed address', { front: { ptr: { '10.0.0.256': null } } }, /10\.0\.0\.256/],
] as const) {
  test(`a patch of names ${what} is refused`, (t) => {
    t.throws(() => patchView(view, { revision: 8, names }), { message });
  });
}

const broken: [what: string, change: Record<string, unknown>, message: RegExp][] = [
  ['an unknown field', { extra: 1 }, /"extra" is not known/],
  ['a missing field', { upstreams: undefined }, /"upstreams" is missing/],
  ['a negative revision', { revision: -1 }, /revision/],
  ['a TTL over a day', { ttl: 86_401 }, /view\.ttl: not a number from 0 to 86400/],
  [
    'a subnet that is none',
    { networks: { n: { internal: false, subnets: ['10.0.0.1/24'], names: {}, ptr: {} } }, sandboxes: {} },
    /10\.0\.0\.1\/24/,
  ],
  ['an upstream that is no address', { upstreams: ['dns.example'] }, /dns\.example/],
  ['an upstream port out of range', { upstreams: ['10.0.0.1#65536'] }, /65536/],
  ['a relative namespace path', { sandboxes: { s: { netns: 'x', networks: [] } } }, /sandboxes\.s\.netns/],
  ['a network that is not there', { sandboxes: { s: { netns: '/x', networks: ['nope'] } } }, /"nope"/],
  ['an address of the other family', withNames({ web: { a: ['fd00::1'] } }), /names\.web\.a/],
  ['a malformed address', withNames({ web: { a: ['10.0.0.256'] } }), /10\.0\.0\.256/],
  ['a name with capitals', withNames({ Web: {} }), /"Web"/],
  ['a name with a final dot', withNames({ 'web.': {} }), /"web\."/],
  ['a label over 63 octets', withNames({ ['a'.repeat(64)]: {} }), /domain name/],
  [
    'a reverse target that is no name',
    { networks: { n: { internal: false, names: {}, ptr: { '10.0.0.1': 'a..b' } } }, sandboxes: {} },
    /a\.\.b/,
  ],
  ['a list for an object', { networks: [] }, /networks/],
];
for (const [what, change, message] of broken) {
  test(`a view with ${what} is refused`, (t) => {
    const json = JSON.parse(JSON.stringify({ ...VIEW, ...change }));
    const error = t.throws(() => parseView(json));
    t.regex(error?.message ?? '', message);
    t.regex((error as unknown as { code: string }).code, /^WEFT_INVALID_/);
  });
}

test('a patch that removes a network in use is refused', (t) => {
  t.throws(() => patchView(view, { revision: 8, networks: { front: null } }), { message: /c1.*"front"/ });
});

function withNames(names: Record<string, unknown>): Record<string, unknown> {
  return { networks: { n: { internal: false, names, ptr: {} } }, sandboxes: {} };
}
