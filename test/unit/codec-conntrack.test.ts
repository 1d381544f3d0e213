import { readFileSync } from 'node:fs';
import test from 'ava';
import fc from 'fast-check';
import { fromNumber } from '../../src/base/cidr.js';
import { codeOf } from '../../src/base/errors.js';
import {
  deleteFlows,
  type Flow,
  flowMatches,
  getFlows,
  IPCTNL_MSG_CT_DELETE,
  IPS_ASSURED,
  IPS_CONFIRMED,
  IPS_SEEN_REPLY,
  readFlow,
} from '../../src/codec/conntrack.js';
import type { Tuple } from '../../src/codec/conntrack-tuple.js';
import { type Message, parseMessages } from '../../src/codec/netlink.js';

/*
 * The kernel's answer to `conntrack -L` (1.4.7, kernel 6.18) for flows made by `conntrack -I`, and the request by which
 * `conntrack -D` deletes one of them.
 */
const GOLDEN: { dump: string[]; delete: string[] } = JSON.parse(
  readFileSync(new URL('../../../test/golden/conntrack/flows.json', import.meta.url), 'utf8'),
);

function messages(hex: string): Message[] {
  return [...parseMessages(Buffer.from(hex, 'hex'))];
}

function only(bytes: Uint8Array): Message {
  const [first, ...others] = parseMessages(bytes);
  if (first === undefined || others.length > 0) throw new Error('not one message');
  return first;
}

const CLIENT = '10.0.0.21';
const VIP = '10.0.0.200';

function tuple(src: string, dst: string, protocol: number, more: Partial<Tuple> = {}): Tuple {
  return { src, dst, protocol, ...more };
}

function icmp(id: number, type: number): Partial<Tuple> {
  return { icmp: { id, type, code: 0 } };
}

function ports(srcPort: number, dstPort: number): Partial<Tuple> {
  return { srcPort, dstPort };
}

const FLOWS: Flow[] = [
  {
    family: 'ip',
    original: tuple(CLIENT, VIP, 1, icmp(4711, 8)),
    reply: tuple(VIP, CLIENT, 1, icmp(4711, 0)),
    status: IPS_CONFIRMED,
    mark: 0,
    zone: 0,
    timeout: 49,
    id: 3329229622,
  },
  {
    family: 'ip',
    original: tuple(CLIENT, '10.0.0.201', 132, ports(6000, 36412)),
    reply: tuple('10.0.0.201', CLIENT, 132, ports(36412, 6000)),
    status: IPS_CONFIRMED,
    mark: 0,
    zone: 0,
    timeout: 499,
    id: 459640934,
  },
  {
    family: 'ip',
    original: tuple(CLIENT, VIP, 47, ports(1, 2)),
    reply: tuple(VIP, CLIENT, 47, ports(2, 1)),
    status: IPS_CONFIRMED,
    mark: 0,
    zone: 0,
    timeout: 99,
    id: 3677249784,
  },
  {
    family: 'ip',
    original: tuple(CLIENT, VIP, 6, ports(40000, 80)),
    reply: tuple('10.0.0.12', CLIENT, 6, ports(8080, 40000)),
    status: IPS_CONFIRMED | IPS_ASSURED,
    mark: 4,
    zone: 0,
    timeout: 6999,
    id: 2279374919,
    tcpState: 'established',
  },
  {
    family: 'ip6',
    original: tuple('fd00::21', 'fd00::200', 58, icmp(77, 128)),
    reply: tuple('fd00::200', 'fd00::21', 58, icmp(77, 129)),
    status: IPS_CONFIRMED,
    mark: 0,
    zone: 0,
    timeout: 49,
    id: 3916433677,
  },
  {
    family: 'ip',
    original: tuple(CLIENT, VIP, 17, ports(5001, 53)),
    reply: tuple(VIP, CLIENT, 17, ports(53, 5001)),
    status: IPS_CONFIRMED,
    mark: 0,
    zone: 0,
    timeout: 99,
    id: 3539480304,
  },
  {
    family: 'ip6',
    original: tuple('fd00::21', 'fd00::200', 17, ports(5000, 53)),
    reply: tuple('fd00::200', 'fd00::21', 17, ports(53, 5000)),
    status: IPS_CONFIRMED | IPS_SEEN_REPLY,
    mark: 2,
    zone: 9,
    timeout: 99,
    id: 1696838969,
  },
];

test('the flows of a dump are read', (t) => {
  t.deepEqual(GOLDEN.dump.flatMap(messages).map(readFlow), FLOWS);
});

test('a delete names the tuple, the zone and the id', (t) => {
  const theirs = only(Buffer.from(GOLDEN.delete.join(''), 'hex'));
  const flow = FLOWS[5] as Flow;
  const ours = only(deleteFlows([flow], 1));
  t.is(ours.type, theirs.type);
  t.is(ours.flags, theirs.flags);
  // nfgenmsg and CTA_TUPLE_ORIG are the same bytes; then conntrack adds what it read, and we the id.
  const shared = 4 + 52;
  t.deepEqual(ours.body.subarray(0, shared), theirs.body.subarray(0, shared));
  t.is(Buffer.from(ours.body.subarray(shared)).toString('hex'), `08000c00${flow.id?.toString(16)}`);
  const zoned = only(deleteFlows([FLOWS[6] as Flow], 1));
  t.true(Buffer.from(zoned.body).includes(Buffer.from('0600120000090000', 'hex')), 'CTA_ZONE 9');
});

test('deletes are numbered one by one and never lack the tuple or the id', (t) => {
  const sent = [...parseMessages(deleteFlows(FLOWS, 0xfffffffe))];
  t.deepEqual(
    sent.map((m) => m.seq),
    [0xfffffffe, 0xffffffff, 0, 1, 2, 3, 4],
  );
  t.true(sent.every((m) => (m.type & 0xff) === IPCTNL_MSG_CT_DELETE && (m.body[6] as number) === 1));
  const { id: _, ...rest } = FLOWS[0] as Flow;
  t.is(codeOf(t.throws(() => deleteFlows([rest], 1))), 'WEFT_INVALID_ARGUMENT');
});

test('a dump is asked for with its filters', (t) => {
  const hex = (filter: Parameters<typeof getFlows>[1]) => Buffer.from(only(getFlows(1, filter)).body).toString('hex');
  t.is(hex({}), '00000000');
  t.is(hex({ family: 'ip6' }), '0a000000');
  t.is(hex({ mark: { value: 7, mask: 0xff } }), '00000000' + '0800080000000007' + '08001500000000ff');
  t.is(hex({ zone: 9 }), '00000000' + '0600120000090000');
  t.is(
    hex({ originalDst: VIP, protocol: 17 }),
    '02000000' +
      '1c000180' +
      '0c000180' +
      '080002000a0000c8' +
      '0c000280' +
      '0500010011000000' +
      '0c001980' +
      '080001000a000000',
  );
  t.is(hex({ protocol: 17 }), '00000000', 'a tuple filter needs a family');
  t.is(hex({ originalDst: 'fd00::200' }), '0a000000', 'the kernel turns a filter by IPv6 address round');
  t.is(codeOf(t.throws(() => getFlows(1, { family: 'ip6', originalDst: VIP }))), 'WEFT_INVALID_ARGUMENT');
});

test('flowMatches applies every filter', (t) => {
  const count = (filter: Parameters<typeof flowMatches>[1]) => FLOWS.filter((f) => flowMatches(f, filter)).length;
  t.is(count({}), 7);
  t.is(count({ family: 'ip6' }), 2);
  t.is(count({ zone: 9 }), 1);
  t.is(count({ zone: 0 }), 6);
  t.is(count({ protocol: 17 }), 2);
  t.is(count({ originalDst: VIP }), 4);
  t.is(count({ mark: { value: 4, mask: 0xff } }), 1);
  t.is(count({ mark: { value: 0x80000000, mask: 0x80000000 } }), 0);
  t.true(flowMatches({ ...(FLOWS[0] as Flow), mark: 0x80000001 }, { mark: { value: 0x80000000, mask: 0xf0000000 } }));
});

test('any tuple survives being sent and read', (t) => {
  const word = fc.integer({ min: 0, max: 0xffff });
  const byte = fc.integer({ min: 0, max: 0xff });
  const v4 = fc.bigInt({ min: 0n, max: 2n ** 32n - 1n }).map((n) => fromNumber(n, 4));
  const v6 = fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }).map((n) => fromNumber(n, 6));
  const proto = fc.oneof(
    fc.record({ protocol: fc.constantFrom(6, 17, 132), srcPort: word, dstPort: word }),
    fc.record({ protocol: fc.constantFrom(1, 58), icmp: fc.record({ id: word, type: byte, code: byte }) }),
  );
  const tuples = fc.oneof(fc.tuple(v4, v4, proto), fc.tuple(v6, v6, proto));
  fc.assert(
    fc.property(tuples, fc.nat(0xffffffff), ([src, dst, rest], id) => {
      const original: Tuple = { src, dst, ...rest };
      const family = src.includes(':') ? 'ip6' : 'ip';
      const flow: Flow = { family, original, reply: original, status: 0, mark: 0, zone: 0, id };
      const { type, flags, seq, pid, body } = only(deleteFlows([flow], 1));
      // A delete has one tuple; given twice it is a flow.
      const length = (body[4] as number) | ((body[5] as number) << 8);
      const reply = Buffer.from(body.subarray(4, 4 + length));
      reply[2] = 2;
      const read = readFlow({ type, flags, seq, pid, body: Buffer.concat([body, reply]) });
      t.deepEqual(read, flow);
    }),
  );
});

test('damaged flows are refused, never misread beyond their end', (t) => {
  const all = GOLDEN.dump.map((hex) => Buffer.from(hex, 'hex'));
  fc.assert(
    fc.property(fc.constantFrom(...all), fc.nat(255), fc.nat(255), fc.nat(300), (bytes, at, value, length) => {
      const bad = Buffer.from(bytes.subarray(0, Math.max(16, length)));
      bad[at % bad.length] = value;
      try {
        for (const m of parseMessages(bad)) readFlow(m);
      } catch (error) {
        t.is(codeOf(error), 'WEFT_INTERNAL');
      }
    }),
    { numRuns: 2000 },
  );
  t.pass();
});
