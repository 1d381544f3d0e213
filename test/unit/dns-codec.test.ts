import test from 'ava';
import dnsPacket from 'dns-packet';
import fc from 'fast-check';
import { canonicalIp } from '../../src/base/ip.js';
import { decodeMessage, encodeMessage, type Message } from '../../src/dns/codec.js';
import { FLAG, TYPE } from '../../src/dns/constants.js';
import type { ResourceRecord } from '../../src/dns/record.js';
import { fastest } from '../support/fastest.js';

const label = fc.stringMatching(/^[a-zA-Z0-9_-]{1,20}$/);
const name = fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join('.'));
const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffffffff);
const ip4 = fc.ipV4();
/** Canonical on purpose: what dns-packet prints for an address is not always RFC 5952's form. */
const ip6 = fc.constantFrom('::1', 'fd00::2', '2001:db8:1:2:3:4:5:6', '::ffff:10.0.0.1', 'fe80::a:0:0:1');

const record: fc.Arbitrary<ResourceRecord> = fc
  .tuple(
    name,
    u32,
    fc.oneof(
      ip4.map((address) => ({ type: TYPE.A, address }) as const),
      ip6.map((address) => ({ type: TYPE.AAAA, address }) as const),
      fc
        .tuple(fc.constantFrom(TYPE.NS, TYPE.CNAME, TYPE.PTR), name)
        .map(([type, target]) => ({ type, target }) as const),
      fc.tuple(u16, name).map(([preference, exchange]) => ({ type: TYPE.MX, preference, exchange }) as const),
      fc
        .tuple(u16, u16, u16, name)
        .map(([priority, weight, port, target]) => ({ type: TYPE.SRV, priority, weight, port, target }) as const),
      fc
        .array(fc.uint8Array({ minLength: 1, maxLength: 255 }), { minLength: 1, maxLength: 3 })
        .map((strings) => ({ type: TYPE.TXT, strings }) as const),
      fc.tuple(name, name, u32, u32).map(([primary, mailbox, serial, minimum]) => ({
        type: TYPE.SOA,
        ...{ primary, mailbox, serial, refresh: 1, retry: 2, expire: 3, minimum },
      })),
    ),
  )
  .map(([owner, ttl, data]) => ({ name: owner, class: 1, ttl, data }));

const message: fc.Arbitrary<Message> = fc
  .tuple(u16, name, fc.array(record, { maxLength: 6 }), fc.array(record, { maxLength: 3 }), fc.boolean())
  .map(([id, asked, answers, authorities, edns]) => ({
    id,
    flags: FLAG.QR | FLAG.RD,
    questions: [{ name: asked, type: TYPE.A, class: 1 }],
    answers,
    authorities,
    additionals: [],
    ...(edns && { edns: { udpSize: 1232, extendedRcode: 0, version: 0, dnssecOk: true, options: [] } }),
  }));

function oracleData(r: ResourceRecord): unknown {
  const { data } = r;
  switch (data.type) {
    case TYPE.A:
    case TYPE.AAAA:
      return data.address;
    case TYPE.NS:
    case TYPE.CNAME:
    case TYPE.PTR:
      return data.target;
    case TYPE.TXT:
      return data.strings.map((string) => Buffer.from(string));
    case TYPE.SOA: {
      const { primary, mailbox, type, ...numbers } = data;
      return { mname: primary, rname: mailbox, ...numbers };
    }
    case TYPE.MX:
    case TYPE.SRV: {
      const { type, ...fields } = data;
      return fields;
    }
    default:
      return undefined;
  }
}

test('what is encoded decodes to the same message', (t) => {
  fc.assert(fc.property(message, (m) => void t.deepEqual(plain(decodeMessage(encodeMessage(m))), plain(m))));
});

test('dns-packet reads what is encoded', (t) => {
  fc.assert(
    fc.property(message, (m) => {
      const seen = dnsPacket.decode(Buffer.from(encodeMessage(m)));
      t.is(seen.id, m.id);
      t.is(seen.questions?.[0]?.name, m.questions[0]?.name);
      const records = [...(seen.answers ?? []), ...(seen.authorities ?? [])];
      t.deepEqual(
        records.map((r) => [r.name, 'ttl' in r ? r.ttl : 0, normalAddress('data' in r ? r.data : undefined)]),
        [...m.answers, ...m.authorities].map((r) => [r.name, r.ttl, normalAddress(oracleData(r))]),
      );
      t.is(seen.additionals?.some((r) => r.type === 'OPT') ?? false, m.edns !== undefined);
    }),
  );
});

test('what dns-packet encodes is read', (t) => {
  fc.assert(
    fc.property(message, (m) => {
      const answers = m.answers.map((r) => ({
        type: TYPE_NAME[r.data.type],
        name: r.name,
        ttl: r.ttl,
        data: oracleData(r),
      }));
      const bytes = dnsPacket.encode({
        type: 'response',
        id: m.id,
        questions: [{ type: 'A', name: m.questions[0]?.name as string }],
        answers: answers as dnsPacket.Answer[],
      });
      const seen = decodeMessage(bytes);
      t.deepEqual(plain(seen.answers), plain(m.answers));
      t.deepEqual(seen.questions, m.questions);
    }),
  );
});

test('names are compressed, and an equal name in other case is not merged', (t) => {
  const records = ['web.net', 'web.net', 'WEB.net'].map((owner) => ({
    name: owner,
    class: 1,
    ttl: 5,
    data: { type: TYPE.A, address: '10.0.0.1' } as const,
  }));
  const bytes = encodeMessage({ ...EMPTY, questions: [{ name: 'web.net', type: 1, class: 1 }], answers: records });
  t.deepEqual(
    decodeMessage(bytes).answers.map((r) => r.name),
    ['web.net', 'web.net', 'WEB.net'],
  );
  // 12 header, 9 + 4 question, two owners of 2 bytes, one of 4 + 2, each with 10 + 4.
  t.is(bytes.length, 12 + 13 + 2 + 14 + 2 + 14 + 6 + 14);
});

test('a reply over the limit carries what fits, TC, and OPT', (t) => {
  const answers = Array.from({ length: 100 }, (_, i) => ({
    name: 'web',
    class: 1,
    ttl: 5,
    data: { type: TYPE.A, address: `10.0.0.${i}` } as const,
  }));
  const edns = { udpSize: 512, extendedRcode: 0, version: 0, dnssecOk: false, options: [] };
  const bytes = encodeMessage({ ...EMPTY, questions: [{ name: 'web', type: 1, class: 1 }], answers, edns }, 512);
  const seen = decodeMessage(bytes);
  t.true(bytes.length <= 512 && bytes.length > 512 - 16);
  t.is(seen.flags & FLAG.TC, FLAG.TC);
  t.deepEqual(seen.answers, answers.slice(0, seen.answers.length));
  t.deepEqual(seen.edns, edns);
});

test('additional records that do not fit are no truncation', (t) => {
  const additionals = [
    { name: 'x', class: 1, ttl: 0, data: { type: TYPE.TXT, strings: [new Uint8Array(200)] } as const },
  ];
  const seen = decodeMessage(encodeMessage({ ...EMPTY, additionals }, 100));
  t.deepEqual(seen, EMPTY);
});

test('counts of 0xffff in twelve bytes are refused at once', (t) => {
  const bytes = Buffer.from('0001000fffffffffffffffff', 'hex');
  const ms = fastest(1, () => {
    t.throws(() => decodeMessage(bytes), { code: 'WEFT_INVALID_ARGUMENT' });
  });
  t.true(ms < 50, `${ms} ms`);
});

test('65535 root questions claimed and present cost no more than reading them', (t) => {
  const bytes = Buffer.concat([Buffer.from('00010000ffff000000000000', 'hex'), Buffer.alloc(5 * 13000)]);
  t.throws(() => decodeMessage(bytes), { code: 'WEFT_INVALID_ARGUMENT' });
});

for (const [what, hex] of Object.entries({
  'a pointer to itself': 'c00c00010001',
  'a pointer forward': 'c01200010001000003777777000001',
  'a loop of two pointers': '0161c00ec00c00010001',
  'a label type of 01': '4161000001',
  'a label that runs off the end': '3f61',
})) {
  test(`${what} is refused`, (t) => {
    const bytes = Buffer.from(`000100000001000000000000${hex}`, 'hex');
    t.throws(() => decodeMessage(bytes), { code: 'WEFT_INVALID_ARGUMENT' });
  });
}

test('an A record of five bytes is refused', (t) => {
  const bytes = Buffer.from('00018000000000010000000000000100010000000000050a00000101', 'hex');
  t.throws(() => decodeMessage(bytes), { code: 'WEFT_INVALID_ARGUMENT', message: /too many/ });
});

test('two OPT records are refused', (t) => {
  const opt = '000029100000000000' + '0000';
  t.throws(() => decodeMessage(Buffer.from(`000100000000000000000002${opt}${opt}`, 'hex')), {
    code: 'WEFT_INVALID_ARGUMENT',
  });
});

test('any mutation of a message decodes or is refused, quickly', (t) => {
  const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 12 });
  let slowest = 0;
  fc.assert(
    fc.property(message, edits, fc.nat(), (m, changes, cut) => {
      const bytes = Buffer.from(encodeMessage(m));
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      const ms = fastest(20, () => {
        try {
          const seen = decodeMessage(bytes.subarray(0, cut % 3 === 0 ? cut % bytes.length : bytes.length));
          // What was read can be written again, and means the same.
          t.deepEqual(plain(decodeMessage(encodeMessage(seen))), plain(seen));
        } catch (error) {
          t.is((error as { code?: string }).code, 'WEFT_INVALID_ARGUMENT');
        }
      });
      slowest = Math.max(slowest, ms);
    }),
    { numRuns: 2000 },
  );
  // Far above what it takes, so that a loaded machine does not fail it; a hang does.
  t.true(slowest < 500, `${slowest} ms`);
});

const EMPTY: Message = { id: 1, flags: FLAG.QR, questions: [], answers: [], authorities: [], additionals: [] };

const TYPE_NAME: Record<number | string, string> = Object.fromEntries(Object.entries(TYPE).map(([k, v]) => [v, k]));

/** Buffers and Uint8Arrays compare equal by content. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, v) => (v instanceof Uint8Array ? Buffer.from(v).toString('hex') : v)),
    (_, v) => (typeof v === 'object' && v !== null && v.type === 'Buffer' ? Buffer.from(v.data).toString('hex') : v),
  );
}

/** dns-packet prints IPv4-mapped addresses and zero runs in a form of its own: compare through our canonical one. */
function normalAddress(data: unknown): unknown {
  return typeof data === 'string' && data.includes(':') ? canonicalIp(data) : plain(data);
}
