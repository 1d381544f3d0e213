import test from 'ava';
import fc from 'fast-check';
import { WeftError } from '../../src/base/errors.js';
import { type Family, ipText } from '../../src/base/ip.js';
import { decodeFamily } from '../../src/codec/genl.js';
import * as ipvs from '../../src/codec/ipvs/commands.js';
import type { RealServer } from '../../src/codec/ipvs/dest.js';
import { readService, type ServiceKey, type VirtualServer } from '../../src/codec/ipvs/service.js';
import { type Message, parseMessages } from '../../src/codec/netlink.js';
import {
  answers,
  bytes,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  only,
  part,
  SERVICE,
  written,
} from '../support/ipvs-messages.js';

const anyV4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((b) => ipText(b));
const anyV6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((b) => ipText(b));
const anyIp = (of: Family) => (of === 4 ? anyV4 : anyV6);
const anyU32 = fc.integer({ min: 0, max: 0xffffffff });
const anyPort = fc.integer({ min: 0, max: 65535 });
const anyName = fc.stringMatching(/^[a-z][a-z0-9_-]{0,14}$/);
const anyFamily = fc.constantFrom<Family>(4, 6);
const plain = { noNullPrototype: true };
const anyKey: fc.Arbitrary<ServiceKey> = anyFamily.chain((family) =>
  fc.oneof(
    fc.record({ family: fc.constant(family), fwmark: fc.integer({ min: 1, max: 0xffffffff }) }, plain),
    fc.record(
      {
        family: fc.constant(family),
        protocol: fc.constantFrom(IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP),
        addr: anyIp(family),
        port: anyPort,
      },
      plain,
    ),
  ),
);
const anyService: fc.Arbitrary<VirtualServer> = anyKey.chain((key) =>
  fc.record(
    {
      key: fc.constant(key),
      scheduler: anyName,
      flags: fc.constantFrom(0, 1, 4, 0x18, 0x3d),
      timeout: anyU32,
      netmask:
        key.family === 4
          ? anyV4
          : fc.integer({ min: 1, max: 128 }).map((n) => {
              const ones = ((1n << BigInt(n)) - 1n) << BigInt(128 - n);
              return ipText(Buffer.from(ones.toString(16).padStart(32, '0'), 'hex'));
            }),
      engine: anyName,
    },
    { requiredKeys: ['key', 'scheduler', 'flags', 'timeout', 'netmask'], noNullPrototype: true },
  ),
);
const anyDest: fc.Arbitrary<RealServer> = anyFamily.chain((of) =>
  fc.record(
    {
      addr: anyIp(of),
      port: anyPort,
      method: fc.constantFrom('masq', 'local', 'tunnel', 'direct', 'bypass'),
      weight: fc.integer({ min: 0, max: 0x7fffffff }),
      upper: fc.integer({ min: 1000, max: 0xffffffff }),
      lower: fc.integer({ min: 0, max: 1000 }),
    },
    plain,
  ),
);

test('services and real servers survive a round trip', (t) => {
  fc.assert(
    fc.property(anyService, anyDest, (wish, real) => {
      const sent = only(written((w, to) => ipvs.newService(w, to, wish)).toString('hex'));
      t.deepEqual(ipvs.decodeService(sent), wish);
      const request = only(written((w, to) => ipvs.newDest(w, to, wish.key, real)).toString('hex'));
      t.deepEqual(readService(part(request, SERVICE)).key, wish.key);
      t.like(ipvs.decodeDest(request, wish.key.family), real);
    }),
  );
});

test('damaged answers are refused in words, or read as something else', (t) => {
  const decoders: Record<string, (m: Message) => unknown> = {
    'dump-services': ipvs.decodeService,
    'dump-dests-m4': (m) => ipvs.decodeDest(m, 4),
    getconfig: ipvs.decodeConfig,
    getinfo: ipvs.decodeInfo,
    'family nlctrl': decodeFamily,
  };
  let refused = 0;
  let read = 0;
  for (const [name, decode] of Object.entries(decoders)) {
    const clean = bytes(answers[name] as string);
    const anyCut = fc.option(fc.nat(clean.length), { nil: clean.length });
    fc.assert(
      fc.property(fc.nat(clean.length - 1), fc.integer({ min: 0, max: 255 }), anyCut, (at, to, cut) => {
        const damaged = Buffer.from(clean);
        damaged[at] = to;
        try {
          for (const m of parseMessages(damaged.subarray(0, cut)))
            if (m.type === only(clean.toString('hex')).type) decode(m);
          read++;
        } catch (error) {
          if (!(error instanceof WeftError)) throw error;
          refused++;
        }
      }),
      { numRuns: 1000 },
    );
  }
  t.true(refused > 500 && read > 200, `${refused} refused, ${read} read`);
});
