import test from 'ava';
import fc from 'fast-check';
import { Writer } from '../../src/base/bytes.js';
import { ipText } from '../../src/base/ip.js';
import { macText } from '../../src/base/mac.js';
import { type Address, readAddress, writeAddress } from '../../src/codec/rtnl/address.js';
import { type Link, readLink, writeLink } from '../../src/codec/rtnl/link.js';
import { type Neighbour, readNeighbour, writeNeighbour } from '../../src/codec/rtnl/neigh.js';
import { type Nsid, readNsid, writeNsid } from '../../src/codec/rtnl/nsid.js';
import { type Route, readRoute, writeRoute } from '../../src/codec/rtnl/route.js';
import { type Rule, readRule, writeRule } from '../../src/codec/rtnl/rule.js';
import { completeLink } from '../support/netlink-golden.js';

/* Whatever can be said can be written and is read back the same. */

const u8 = fc.integer({ min: 0, max: 0xff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const i32 = fc.integer({ min: -0x80000000, max: 0x7fffffff });
const index = fc.integer({ min: 0, max: 0x7fffffff });
const bool = fc.boolean();
const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(macText);
const ip4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map(ipText);
const ip6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(ipText);
const ip = fc.oneof(ip4, ip6);
const name = fc.stringMatching(/^[a-z][a-z0-9.-]{0,14}$/);
const text = fc.string({ maxLength: 60 }).filter((s) => !s.includes('\0'));
/** Address family, its addresses and its prefix lengths. */
const families = fc.constantFrom(
  { family: 2, ip: ip4, length: fc.integer({ min: 0, max: 32 }) },
  { family: 10, ip: ip6, length: fc.integer({ min: 0, max: 128 }) },
);

/** Every field may be absent, none is `undefined`. */
function some<T>(fields: { [K in keyof T]?: fc.Arbitrary<Exclude<T[K], undefined>> }): fc.Arbitrary<Partial<T>> {
  return fc.record(fields as Record<string, fc.Arbitrary<unknown>>, { requiredKeys: [] }) as fc.Arbitrary<Partial<T>>;
}

function roundTrip<T>(write: (w: Writer, value: T) => void, read: (body: Uint8Array) => T, value: T): T {
  const w = new Writer(16);
  write(w, value);
  return read(w.done());
}

const bridgePort = some({
  state: u8,
  hairpin: bool,
  learning: bool,
  unicastFlood: bool,
  mcastFlood: bool,
  bcastFlood: bool,
  neighSuppress: bool,
  isolated: bool,
});
const bridge = some({
  forwardDelay: u32,
  ageingTime: u32,
  stpState: u32,
  vlanFiltering: bool,
  vlanDefaultPvid: u16,
  mcastSnooping: bool,
  nfCallIptables: bool,
  nfCallIp6tables: bool,
  nfCallArptables: bool,
});
const vxlan = some({
  id: fc.integer({ min: 0, max: 0xffffff }),
  local: ip,
  port: u16,
  link: index,
  learning: bool,
  proxy: bool,
  l2miss: bool,
  l3miss: bool,
  ageing: u32,
  udpCsum: bool,
  udpZeroCsum6Tx: bool,
  udpZeroCsum6Rx: bool,
  ttl: u8,
  tos: u8,
  df: u8,
  collectMetadata: bool,
});
const plainFields = {
  index,
  flags: u32,
  change: u32,
  name,
  mac,
  broadcast: mac,
  mtu: u32,
  txqlen: u32,
  master: index,
  alias: text,
  group: u32,
  link: index,
  linkNetnsid: i32,
  netnsFd: index,
  targetNetnsid: i32,
  addrGenMode: u8,
  extMask: u32,
};
const raw = fc.uint8Array({ maxLength: 40 });
const info: fc.Arbitrary<NonNullable<Link['info']>> = fc.oneof(
  bridge.map((b) => ({ kind: 'bridge' as const, ...b })),
  vxlan.map((v) => ({ kind: 'vxlan' as const, ...v })),
  some<Link>(plainFields).map((peer) => ({ kind: 'veth' as const, peer })),
  fc.constant({ kind: 'veth' as const }),
  fc.constant({ kind: 'dummy' as const }),
  fc.record({ kind: fc.constant('macvlan' as const), mode: u32 }),
  fc.record({ kind: fc.constant('ipvlan' as const), mode: u16, flags: u16 }),
  fc.record({ kind: fc.constant('other' as const), name: fc.constantFrom('geneve', 'wireguard', 'bond'), raw }),
);
const slave: fc.Arbitrary<NonNullable<Link['slave']>> = fc.oneof(
  bridgePort.map((p) => ({ kind: 'bridge' as const, ...p })),
  fc.record({ kind: fc.constant('other' as const), name: fc.constant('bond'), raw }),
);

test('link', (t) => {
  fc.assert(
    fc.property(some<Link>({ ...plainFields, info, slave }), (link) => {
      t.deepEqual(roundTrip(writeLink, readLink, link), completeLink(link));
    }),
  );
});

test('link of family AF_BRIDGE', (t) => {
  fc.assert(
    fc.property(bridgePort, index, (port, index) => {
      const link: Link = { family: 7, index, bridgePort: port };
      t.deepEqual(roundTrip(writeLink, readLink, link), completeLink(link));
    }),
  );
});

test('address', (t) => {
  const address = families.chain((f) =>
    fc
      .tuple(
        fc.record({ family: fc.constant(f.family), prefixLength: f.length, scope: u8, index, flags: u32 }),
        some<Address>({
          local: f.ip,
          address: f.ip,
          broadcast: f.ip,
          label: name,
          protocol: u8,
          targetNetnsid: i32,
        }),
      )
      .map(([required, optional]): Address => ({ ...required, ...optional })),
  );
  fc.assert(fc.property(address, (a) => t.deepEqual(roundTrip(writeAddress, readAddress, a), a)));
});

test('route', (t) => {
  const route = families.chain((f) =>
    fc
      .tuple(
        fc.record({
          family: fc.constant(f.family),
          dstLength: f.length,
          srcLength: f.length,
          tos: u8,
          table: u32,
          protocol: u8,
          scope: u8,
          type: u8,
          flags: u32,
        }),
        some<Route>({
          dst: f.ip,
          src: f.ip,
          priority: u32,
          oif: index,
          gateway: f.family === 2 ? ip : ip6,
          prefsrc: f.ip,
          metrics: some({ lock: u32, mtu: u32, advmss: u32 }),
        }),
      )
      .map(([required, optional]): Route => ({ ...required, ...optional })),
  );
  fc.assert(fc.property(route, (r) => t.deepEqual(roundTrip(writeRoute, readRoute, r), r)));
});

test('rule', (t) => {
  const rule = families.chain((f) =>
    fc
      .tuple(
        fc.record({
          family: fc.constant(f.family),
          dstLength: f.length,
          srcLength: f.length,
          tos: u8,
          table: u32,
          action: u8,
          flags: u32,
        }),
        some<Rule>({
          priority: u32,
          fwmark: u32,
          fwmask: u32,
          iif: name,
          oif: name,
          dst: f.ip,
          src: f.ip,
          protocol: u8,
          // All ones is the kernel's "none", which is read as absent.
          suppressPrefixLength: fc.integer({ min: 0, max: 128 }),
          ipProto: u8,
          sourcePorts: fc.record({ start: u16, end: u16 }),
        }),
      )
      .map(([required, optional]): Rule => ({ ...required, ...optional })),
  );
  fc.assert(fc.property(rule, (r) => t.deepEqual(roundTrip(writeRule, readRule, r), r)));
});

test('neighbour and forwarding database row', (t) => {
  const kinds = fc.constantFrom({ family: 2, ip: ip4 }, { family: 10, ip: ip6 }, { family: 7, ip });
  const row = kinds.chain((f) =>
    fc
      .tuple(
        fc.record({ family: fc.constant(f.family), ifindex: index, state: u16, flags: u8 }),
        some<Neighbour>({
          dst: f.ip,
          lladdr: mac,
          vlan: u16,
          port: u16,
          vni: u32,
          srcVni: u32,
          viaIfindex: index,
          protocol: u8,
          flagsExt: u32,
        }),
      )
      .map(([required, optional]): Neighbour => ({ ...required, ...optional })),
  );
  fc.assert(fc.property(row, (n) => t.deepEqual(roundTrip(writeNeighbour, readNeighbour, n), { ...n, type: 0 })));
});

test('namespace id', (t) => {
  fc.assert(
    fc.property(some<Nsid>({ nsid: i32, fd: index }), (n) => t.deepEqual(roundTrip(writeNsid, readNsid, n), n)),
  );
});
