import test from 'ava';
import dnsPacket from 'dns-packet';
import { canonicalIp } from '../../src/base/ip.js';
import { Chain } from '../../src/dns/chain.js';
import { decodeMessage, encodeMessage, type Message } from '../../src/dns/codec.js';
import { FLAG, RCODE, RCODE_MASK, TYPE } from '../../src/dns/constants.js';
import type { Transport } from '../../src/dns/query.js';
import { LOCAL_TTL } from '../../src/dns/view.js';
import { parseView } from '../../src/dns/view-json.js';
import { NOBODY } from '../support/name-servers.js';

function chain(ttl?: number): Chain {
  const made = new Chain(NOBODY);
  made.view = parseView({
    revision: 1,
    ...(ttl !== undefined && { ttl }),
    upstreams: [],
    sandboxes: { c: { netns: '/c', networks: ['n', 'm'] }, shut: { netns: '/s', networks: ['inside'] } },
    networks: {
      n: {
        internal: false,
        subnets: ['10.0.0.0/16'],
        names: {
          web: { a: ['10.0.0.1', '10.0.0.2', '10.0.0.3'] },
          big: { a: Array.from({ length: 300 }, (_, i) => `10.1.${i >> 8}.${i & 255}`) },
          mapped: { aaaa: ['::ffff:10.0.0.1'] },
        },
        ptr: { '10.0.0.1': 'Web.1.n' },
      },
      m: { internal: false, names: { web: { a: ['10.0.0.3', '10.0.0.4'] } }, ptr: {} },
      inside: { internal: true, names: {}, ptr: {} },
    },
  });
  return made;
}

const QUERY: Message = { id: 0x1234, flags: FLAG.RD, questions: [], answers: [], authorities: [], additionals: [] };

function query(name: string, type: number = TYPE.A, edns?: number): Uint8Array {
  return encodeMessage({
    ...QUERY,
    questions: [{ name, type, class: 1 }],
    ...(edns !== undefined && { edns: { udpSize: edns, extendedRcode: 0, version: 0, dnssecOk: true, options: [] } }),
  });
}

function ask(on: Chain, bytes: Uint8Array, transport: Transport = 'udp', sandbox = 'c'): Message {
  const reply = on.respond(sandbox, bytes, transport);
  if (!(reply instanceof Uint8Array)) throw new Error('no immediate reply');
  return decodeMessage(reply);
}

function addressesOf(reply: Message): string[] {
  return reply.answers.map((r) => ('address' in r.data ? r.data.address : '?'));
}

test('an answer repeats id, RD and the question in its own case', (t) => {
  const reply = ask(chain(), query('WeB.N'));
  t.is(reply.id, 0x1234);
  t.is(reply.flags, FLAG.QR | FLAG.AA | FLAG.RD | FLAG.RA);
  t.deepEqual(reply.questions, [{ name: 'WeB.N', type: TYPE.A, class: 1 }]);
  t.true(reply.answers.every((r) => r.name === 'WeB.N' && r.ttl === LOCAL_TTL));
  t.is(reply.edns, undefined);
});

test('dns-packet reads the answers', (t) => {
  const reply = chain().respond('c', query('mapped', TYPE.AAAA, 1232), 'udp') as Buffer;
  const seen = dnsPacket.decode(Buffer.from(reply));
  t.true(seen.flag_aa);
  t.deepEqual(
    // It prints the mapped address in a form of its own.
    seen.answers?.map((r) => canonicalIp(String('data' in r ? r.data : ''))),
    ['::ffff:10.0.0.1'],
  );
});

test('every address comes first in turn, also when A and AAAA are asked in pairs', (t) => {
  const on = chain();
  const firsts: string[] = [];
  for (let i = 0; i < 8; i++) {
    firsts.push(addressesOf(ask(on, query('web')))[0] as string);
    ask(on, query('web', TYPE.AAAA));
  }
  for (const address of ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4']) {
    t.is(firsts.filter((first) => first === address).length, 2, address);
  }
});

test('an address on two networks is named once', (t) => {
  t.deepEqual(addressesOf(ask(chain(), query('web'))).sort(), ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4']);
});

test('replies are truncated to what the client takes', (t) => {
  const on = chain();
  const cases: [edns: number | undefined, transport: Transport, limit: number][] = [
    [undefined, 'udp', 512],
    [100, 'udp', 512],
    [1232, 'udp', 1232],
    [65535, 'udp', 4096],
    [undefined, 'tcp', 65535],
  ];
  for (const [edns, transport, limit] of cases) {
    const bytes = on.respond('c', query('big', TYPE.A, edns), transport) as Uint8Array;
    const reply = decodeMessage(bytes);
    const whole = limit > 300 * 16 + 32;
    t.is((reply.flags & FLAG.TC) !== 0, !whole);
    t.true(bytes.length <= limit);
    if (!whole) t.true(bytes.length > limit - 16, `${bytes.length} of ${limit}`);
    t.is(new Set(addressesOf(reply)).size, reply.answers.length);
    t.is(reply.edns?.dnssecOk, edns === undefined ? undefined : true);
  }
});

test('reverse answers', (t) => {
  const reply = ask(chain(), query('1.0.0.10.in-addr.arpa', TYPE.PTR));
  t.deepEqual(
    reply.answers.map((r) => r.data),
    [{ type: TYPE.PTR, target: 'Web.1.n' }],
  );
});

test('NODATA and NXDOMAIN, with the SOA of the zone that says so', (t) => {
  const soa = (name: string, seconds: number) => ({
    name,
    class: 1,
    ttl: seconds,
    data: {
      ...{ type: TYPE.SOA, primary: name, mailbox: 'nobody.invalid' },
      ...{ serial: 1, refresh: 3600, retry: 1200, expire: 604_800, minimum: seconds },
    },
  });
  const none = FLAG.QR | FLAG.AA | FLAG.RD | FLAG.RA;
  for (const [ttl, seconds] of [
    [600, LOCAL_TTL],
    [0, 0],
  ] as const) {
    const on = chain(ttl);
    for (const [name, type, sandbox, rcode, zone] of [
      ['web', TYPE.AAAA, 'c', RCODE.NOERROR, ''],
      ['Web.N', TYPE.MX, 'c', RCODE.NOERROR, 'N'],
      ['no.where.N', TYPE.A, 'c', RCODE.NXDOMAIN, 'N'],
      ['nowhere', TYPE.A, 'c', RCODE.NXDOMAIN, ''],
      ['example.org', TYPE.A, 'shut', RCODE.NXDOMAIN, ''],
      ['9.0.0.10.In-Addr.arpa', TYPE.PTR, 'c', RCODE.NXDOMAIN, '0.10.In-Addr.arpa'],
    ] as const) {
      for (const edns of [undefined, 1232]) {
        const reply = ask(on, query(name, type, edns), 'udp', sandbox);
        t.is(reply.flags, none | rcode, name);
        t.deepEqual([reply.answers, reply.authorities, reply.additionals], [[], [soa(zone, seconds)], []], name);
        t.is(reply.edns === undefined, edns === undefined);
      }
    }
  }
});

test('a negative answer of the longest name fits, with OPT', (t) => {
  const longest = [63, 63, 63, 59].map((length) => 'x'.repeat(length)).join('.');
  const bytes = chain().respond('c', query(`${longest}.n`, TYPE.A, 512), 'udp') as Uint8Array;
  t.true(bytes.length <= 512);
  const { authorities, questions } = decodeMessage(bytes);
  t.deepEqual([authorities[0]?.name, questions[0]?.name], ['n', `${longest}.n`]);
});

test('answers may be kept as long as the view says', (t) => {
  for (const ttl of [0, 1, 86_400]) {
    const on = chain(ttl);
    const replies = [query('web'), query('mapped', TYPE.AAAA), query('1.0.0.10.in-addr.arpa', TYPE.PTR)].map((asked) =>
      ask(on, asked),
    );
    t.deepEqual([...new Set(replies.flatMap(({ answers }) => answers.map((r) => r.ttl)))], [ttl]);
  }
});

test('without name servers the answer is SERVFAIL', async (t) => {
  const reply = decodeMessage((await chain().respond('c', query('example.org'), 'udp')) as Uint8Array);
  t.is(reply.flags & RCODE_MASK, RCODE.SERVFAIL);
  t.is(reply.questions[0]?.name, 'example.org');
});

test('what is no query is not answered', (t) => {
  const on = chain();
  t.is(on.respond('c', new Uint8Array(11), 'udp'), undefined);
  const response = query('web');
  response[2] = 0x80;
  t.is(on.respond('c', response, 'udp'), undefined);
  t.is(on.respond('unknown', query('web'), 'udp'), undefined);
  t.is(on.counters.ignored, 3);
});

test('what cannot be answered is rejected with the code that says why', (t) => {
  const on = chain();
  const rcodeOf = (bytes: Uint8Array) => {
    const reply = ask(on, bytes);
    t.is(reply.id, 0x1234);
    return (reply.flags & RCODE_MASK) | ((reply.edns?.extendedRcode ?? 0) << 4);
  };
  t.is(rcodeOf(Buffer.from('12340100ffffffffffffffff', 'hex')), RCODE.FORMERR);
  t.is(rcodeOf(encodeMessage({ ...QUERY, flags: 0x2000 })), RCODE.NOTIMP);
  t.is(rcodeOf(encodeMessage(QUERY)), RCODE.FORMERR);
  t.is(rcodeOf(query('web').subarray(0, 20)), RCODE.FORMERR);
  t.is(rcodeOf(query('web', TYPE.AXFR)), RCODE.REFUSED);
  t.is(
    rcodeOf(encodeMessage({ ...QUERY, questions: [{ name: 'version.bind', type: TYPE.TXT, class: 3 }] })),
    RCODE.REFUSED,
  );
  const halfOption = [query('web', TYPE.A, 1232).subarray(0, -2), Buffer.from('0003000a00', 'hex')];
  t.is(rcodeOf(Buffer.concat(halfOption)), RCODE.FORMERR);
  const edns = { udpSize: 1232, extendedRcode: 0, version: 1, dnssecOk: false, options: [] };
  t.is(rcodeOf(encodeMessage({ ...QUERY, questions: [{ name: 'web', type: 1, class: 1 }], edns })), RCODE.BADVERS);
});

/** Type A, class IN; a whole question; an OPT record. In hexadecimal. */
const A_IN = '00010001';
const WEB = `0377656200${A_IN}`;
const OPT = '00002904d0000000000000';
for (const [what, counts, rest] of [
  ['nothing behind its header', '0001000000000000', ''],
  ['two questions', '0002000000000000', WEB + WEB],
  ['a name that breaks off', '0001000000000000', '0377'],
  ['no class', '0001000000000000', '03776562000001'],
  ['a pointer to itself', '0001000000000000', `c00c${A_IN}`],
  ['a pointer into its header', '0001000000000000', `c000${A_IN}`],
  ['two pointers in a circle', '0001000000000000', `0161c00ec00c${A_IN}`],
  ['a label of 64 octets', '0001000000000000', `40${'61'.repeat(64)}00${A_IN}`],
  ['a label of an unknown type', '0001000000000000', `8161${A_IN}`],
  ['a name of 256 octets', '0001000000000000', `${`3f${'61'.repeat(63)}`.repeat(3)}3e${'61'.repeat(62)}00${A_IN}`],
  ['records that are not there', '0001ffffffffffff', WEB],
  ['a record longer than the message', '0001000000000001', `${WEB}00000100010000000000ff`],
  ['two OPT records', '0001000000000002', WEB + OPT + OPT],
  ['an OPT record that is no additional one', '0001000000010000', WEB + OPT],
  ['an OPT record with a name', '0001000000000001', `${WEB}0161${OPT}`],
] as const) {
  test(`a query with ${what} is FORMERR`, (t) => {
    const reply = ask(chain(), Buffer.from(`12340100${counts}${rest}`, 'hex'));
    t.deepEqual([reply.id, reply.flags & RCODE_MASK], [0x1234, RCODE.FORMERR]);
  });
}

test('a client cookie does no harm', (t) => {
  const options = [{ code: 10, value: new Uint8Array(8) }];
  const edns = { udpSize: 1232, extendedRcode: 0, version: 0, dnssecOk: false, options };
  const reply = ask(chain(), encodeMessage({ ...QUERY, questions: [{ name: 'web', type: 1, class: 1 }], edns }));
  t.is(reply.answers.length, 4);
  t.deepEqual(reply.edns?.options, []);
});
