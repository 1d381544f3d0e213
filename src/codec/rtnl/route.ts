import { Reader, type Writer } from '../../base/bytes.js';
import { WeftError } from '../../base/errors.js';
import { type Ip, ipBytes, ipText } from '../../base/ip.js';
import { AttrReader, AttrWriter } from '../attr.js';
import { AF_INET, AF_INET6, addressFamily, requireFamily, requirePrefix } from './family.js';

/* linux/rtnetlink.h. */
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;

export const RT_TABLE_UNSPEC = 0;
export const RT_TABLE_MAIN = 254;
export const RT_TABLE_LOCAL = 255;

export const RTPROT_UNSPEC = 0;
export const RTPROT_KERNEL = 2;
export const RTPROT_BOOT = 3;

export const RT_SCOPE_UNIVERSE = 0;
export const RT_SCOPE_LINK = 253;
export const RT_SCOPE_HOST = 254;
/** For deleting a route of any scope. */
export const RT_SCOPE_NOWHERE = 255;

export const RTN_UNICAST = 1;
export const RTN_LOCAL = 2;
export const RTN_BROADCAST = 3;
export const RTN_MULTICAST = 5;
export const RTN_BLACKHOLE = 6;
export const RTN_UNREACHABLE = 7;
export const RTN_PROHIBIT = 8;
export const RTN_THROW = 9;

/** rtm_flags: the gateway is reachable by this device although no route says so. */
export const RTNH_F_ONLINK = 4;
/** Reported in rtm_flags and next hops: the device is down, or has no carrier. Not part of a route's identity. */
export const RTNH_F_DEAD = 1;
export const RTNH_F_LINKDOWN = 16;
/** rtm_flags, reported: a copy of a route made for one destination (path MTU exceptions). */
export const RTM_F_CLONED = 0x200;
/** rtm_flags of a lookup: answer with the table in which the route was found. */
export const RTM_F_LOOKUP_TABLE = 0x1000;
/** rtm_flags of a lookup: answer with the route that was found, not with what was learned of its path (kernel 4.13). */
export const RTM_F_FIB_MATCH = 0x2000;

/** Bits of `lock` are 1 << RTAX_*. */
export const RTAX_MTU = 2;
export const RTAX_ADVMSS = 8;
const RTAX_LOCK = 1;

const RTA_DST = 1;
const RTA_SRC = 2;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const RTA_MARK = 16;
const RTA_VIA = 18;
const RTA_IP_PROTO = 27;
const RTA_DPORT = 29;

const RTNEXTHOP_SIZE = 8;

export interface RouteMetrics {
  /** Bits 1 << RTAX_*: the kernel does not change this metric (`mtu lock`: path MTU discovery does not lower it). */
  lock?: number;
  mtu?: number;
  advmss?: number;
}

/** One leg of a multipath route. */
export interface NextHop {
  /** ifindex */
  oif: number;
  gateway?: Ip;
  /** 1 and more (the wire has one less). */
  weight: number;
  /** RTNH_F_* */
  flags: number;
}

/** struct rtmsg and its attributes: RTM_NEWROUTE, RTM_DELROUTE. */
export interface Route {
  /** AF_INET or AF_INET6. */
  family: number;
  /** Absent for a default route. */
  dst?: Ip;
  dstLength: number;
  srcLength?: number;
  /** IPv6 only: source-specific routes. */
  src?: Ip;
  tos?: number;
  /** 32 bits; the header's 8 bits and RTA_TABLE are one field here. */
  table: number;
  /** RTPROT_*, who added it. */
  protocol: number;
  /** RT_SCOPE_*; ignored for IPv6. */
  scope: number;
  /** RTN_* */
  type: number;
  /** RTNH_F_* and RTM_F_* */
  flags: number;
  /** Metric; the kernel gives an IPv6 route without one 1024. */
  priority?: number;
  /** ifindex */
  oif?: number;
  /** May be IPv6 in an IPv4 route (RTA_VIA). */
  gateway?: Ip;
  prefsrc?: Ip;
  metrics?: RouteMetrics;
  /** Reported; not written. */
  multipath?: NextHop[];
}

/**
 * Strict checking accepts these as filters of a dump; scope, lengths and tos must be 0. A table that does not exist (a table
 * exists while it has routes) is answered with ENOENT where `family` is given and with an empty list for AF_UNSPEC; an
 * interface that does not exist with ENODEV.
 */
export type RouteFilter = Pick<Route, 'family'> & Partial<Pick<Route, 'table' | 'protocol' | 'type' | 'oif'>>;

/** Which route would a packet take? */
export interface RouteLookup {
  dst: Ip;
  src?: Ip;
  oif?: number;
  mark?: number;
  /** IPPROTO_UDP and the like, for rules that ask for it; with it the port. */
  ipProto?: number;
  dport?: number;
  /** RTM_F_LOOKUP_TABLE, RTM_F_FIB_MATCH. */
  flags?: number;
}

/**
 * The body of an RTM_NEWROUTE or RTM_DELROUTE.
 * @throws WEFT_INVALID_ADDRESS, WEFT_INVALID_ARGUMENT; WEFT_NOT_SUPPORTED for `multipath`.
 */
export function writeRoute(w: Writer, m: Route): void {
  if (m.multipath) throw new WeftError('WEFT_NOT_SUPPORTED', 'multipath routes are read, not written');
  requirePrefix(m.family, m.dstLength, 'a route');
  requirePrefix(m.family, m.srcLength ?? 0, 'a route');
  requireFamily(m.family, m.dst, 'destination');
  requireFamily(m.family, m.src, 'source');
  requireFamily(m.family, m.prefsrc, 'preferred source');
  header(w, m);
  const a = new AttrWriter(w).ip(RTA_DST, m.dst).ip(RTA_SRC, m.src);
  if (m.gateway !== undefined) writeGateway(a, m.family, m.gateway);
  a.ip(RTA_PREFSRC, m.prefsrc).u32(RTA_OIF, m.oif).u32(RTA_PRIORITY, m.priority);
  if (m.table > 0xff) a.u32(RTA_TABLE, m.table);
  const { metrics } = m;
  if (metrics) {
    a.nest(RTA_METRICS, (a) =>
      a.u32(RTAX_LOCK, metrics.lock).u32(RTAX_MTU, metrics.mtu).u32(RTAX_ADVMSS, metrics.advmss),
    );
  }
}

/** The body of an RTM_GETROUTE with NLM_F_DUMP. */
export function writeRouteDump(w: Writer, f: RouteFilter): void {
  header(w, { dstLength: 0, table: 0, protocol: 0, scope: 0, type: 0, flags: 0, ...f });
  const a = new AttrWriter(w).u32(RTA_OIF, f.oif);
  if (f.table !== undefined && f.table > 0xff) a.u32(RTA_TABLE, f.table);
}

/** The body of an RTM_GETROUTE without NLM_F_DUMP; the answer is one RTM_NEWROUTE. */
export function writeRouteLookup(w: Writer, q: RouteLookup): void {
  const family = addressFamily(q.dst);
  requireFamily(family, q.src, 'source');
  const full = family === AF_INET ? 32 : 128;
  const srcLength = q.src === undefined ? 0 : full;
  const flags = q.flags ?? 0;
  header(w, { family, dstLength: full, srcLength, table: 0, protocol: 0, scope: 0, type: 0, flags });
  new AttrWriter(w)
    .ip(RTA_DST, q.dst)
    .ip(RTA_SRC, q.src)
    .u32(RTA_OIF, q.oif)
    .u32(RTA_MARK, q.mark)
    .u8(RTA_IP_PROTO, q.ipProto)
    .be16(RTA_DPORT, q.dport);
}

function header(w: Writer, m: Omit<Route, 'dst' | 'src'>): void {
  w.u8(m.family)
    .u8(m.dstLength)
    .u8(m.srcLength ?? 0)
    .u8(m.tos ?? 0)
    .u8(m.table > 0xff ? RT_TABLE_UNSPEC : m.table)
    .u8(m.protocol)
    .u8(m.scope)
    .u8(m.type)
    .u32(m.flags);
}

function writeGateway(a: AttrWriter, family: number, gateway: Ip): void {
  const of = addressFamily(gateway);
  if (of === family) a.ip(RTA_GATEWAY, gateway);
  // struct rtvia: u16 family, then the address; the kernel knows it for IPv4 routes through an IPv6 gateway.
  else if (family === AF_INET) a.block(RTA_VIA, (a) => a.w.u16(of).raw(ipBytes(gateway)));
  else requireFamily(family, gateway, 'gateway');
}

/** @throws WEFT_INTERNAL where the bytes are no route message. */
export function readRoute(body: Uint8Array): Route {
  const r = new Reader(body);
  const family = r.u8();
  const dstLength = r.u8();
  const srcLength = r.u8();
  const tos = r.u8();
  const table = r.u8();
  const protocol = r.u8();
  const scope = r.u8();
  const type = r.u8();
  const m: Route = { family, dstLength, srcLength, tos, table, protocol, scope, type, flags: r.u32() };
  const a = new AttrReader(r.take(r.left), 'route');
  while (a.next()) {
    switch (a.type) {
      case RTA_DST:
        m.dst = a.ip();
        break;
      case RTA_SRC:
        m.src = a.ip();
        break;
      case RTA_OIF:
        m.oif = a.u32();
        break;
      case RTA_GATEWAY:
        m.gateway = a.ip();
        break;
      case RTA_VIA:
        m.gateway = readVia(a.bytes());
        break;
      case RTA_PRIORITY:
        m.priority = a.u32();
        break;
      case RTA_PREFSRC:
        m.prefsrc = a.ip();
        break;
      case RTA_METRICS:
        m.metrics = readMetrics(a.nested('route metrics'));
        break;
      case RTA_MULTIPATH:
        m.multipath = readMultipath(a.bytes());
        break;
      case RTA_TABLE:
        m.table = a.u32();
        break;
    }
  }
  return m;
}

function readVia(bytes: Uint8Array): Ip {
  const r = new Reader(bytes);
  return ipText(r.u16() === AF_INET6 ? r.take(16) : r.take(4));
}

function readMetrics(a: AttrReader): RouteMetrics {
  const out: RouteMetrics = {};
  while (a.next()) {
    switch (a.type) {
      case RTAX_LOCK:
        out.lock = a.u32();
        break;
      case RTAX_MTU:
        out.mtu = a.u32();
        break;
      case RTAX_ADVMSS:
        out.advmss = a.u32();
        break;
    }
  }
  return out;
}

/** struct rtnexthop: u16 length, u8 flags, u8 hops, i32 ifindex, then attributes; aligned to 4. */
function readMultipath(bytes: Uint8Array): NextHop[] {
  const out: NextHop[] = [];
  const r = new Reader(bytes);
  while (r.left >= RTNEXTHOP_SIZE) {
    const length = r.u16();
    if (length < RTNEXTHOP_SIZE) throw new WeftError('WEFT_INTERNAL', `route: a next hop claims ${length} bytes`);
    const flags = r.u8();
    const weight = r.u8() + 1;
    const hop: NextHop = { oif: r.i32(), weight, flags };
    const a = new AttrReader(r.take(length - RTNEXTHOP_SIZE), 'route next hop');
    while (a.next()) {
      if (a.type === RTA_GATEWAY) hop.gateway = a.ip();
      else if (a.type === RTA_VIA) hop.gateway = readVia(a.bytes());
    }
    r.skip(Math.min(-length & 3, r.left));
    out.push(hop);
  }
  return out;
}
