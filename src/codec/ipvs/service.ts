import { Reader } from '../../base/bytes.js';
import { fromNumber, toNumber } from '../../base/cidr.js';
import { WeftError } from '../../base/errors.js';
import { bits, type Family, type Ip, ipText } from '../../base/ip.js';
import { AttrReader, type AttrWriter } from '../attr.js';
import { afOf, expectFamily, familyOf, readUnion, unionIp, writeUnion } from './address.js';
import { type IpvsStats, readStats } from './stats.js';

/* linux/ip_vs.h, IPVS_SVC_ATTR_*; the receiving side is net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_genl_parse_service. */
const IPVS_SVC_ATTR_AF = 1;
const IPVS_SVC_ATTR_PROTOCOL = 2;
const IPVS_SVC_ATTR_ADDR = 3;
const IPVS_SVC_ATTR_PORT = 4;
const IPVS_SVC_ATTR_FWMARK = 5;
const IPVS_SVC_ATTR_SCHED_NAME = 6;
const IPVS_SVC_ATTR_FLAGS = 7;
const IPVS_SVC_ATTR_TIMEOUT = 8;
const IPVS_SVC_ATTR_NETMASK = 9;
const IPVS_SVC_ATTR_PE_NAME = 11;
const IPVS_SVC_ATTR_STATS64 = 12;

/** A client keeps its real server for `timeout` seconds. */
export const IP_VS_SVC_F_PERSISTENT = 0x0001;
/** The kernel's own bookkeeping, set on everything it lists; neither sent nor decoded, so that want and have compare. */
const IP_VS_SVC_F_HASHED = 0x0002;
/** Each UDP datagram is scheduled anew. */
export const IP_VS_SVC_F_ONEPACKET = 0x0004;
/** For `sh` and `mh`: another real server is tried where the chosen one takes no more (SCHED_SH_FALLBACK). */
export const IP_VS_SVC_F_SCHED1 = 0x0008;
/** For `sh` and `mh`: the port is hashed too (SCHED_SH_PORT). */
export const IP_VS_SVC_F_SCHED2 = 0x0010;

/** IP_VS_SCHEDNAME_MAXLEN and IP_VS_PENAME_MAXLEN, terminator included. */
const NAME_MAXLEN = 16;

/** IPPROTO_TCP, _UDP, _SCTP, linux/in.h. */
const PROTOCOLS = [6, 17, 132];

/** A virtual server by firewall mark (host order, never 0): everything that carries the mark, of one address family. */
export interface MarkKey {
  family: Family;
  fwmark: number;
}

/** A virtual server by address. */
export interface AddressKey {
  family: Family;
  /** IPPROTO_* (linux/in.h); u16 in host order on the wire, unlike the port. */
  protocol: number;
  addr: Ip;
  /** be16; 0 is every port, and works with persistence only, though the kernel does not insist. */
  port: number;
}

export type ServiceKey = MarkKey | AddressKey;

/** What a service is apart from its key; all of it travels with NEW and SET. */
export interface VirtualServer {
  key: ServiceKey;
  /** `rr`, `wrr`, `sh`, `mh`, …; `none` has no scheduler and refuses all. 15 bytes at most. */
  scheduler: string;
  /** IP_VS_SVC_F_* */
  flags: number;
  /** Seconds of persistence. */
  timeout: number;
  /** Clients that share this much of their address are one for persistence; `fullNetmask` where it does not matter. */
  netmask: Ip;
  /** Persistence engine (`sip`). */
  engine?: string;
}

/** As observed. */
export interface VirtualServerState extends VirtualServer {
  stats?: IpvsStats;
}

/** The netmask of a service without persistence: ipvsadm's default too. */
export function fullNetmask(of: Family): Ip {
  return of === 4 ? '255.255.255.255' : 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff';
}

/** Payload of IPVS_CMD_ATTR_SERVICE that only names a service: enough for DEL, GET and all commands on real servers. */
export function writeServiceKey(a: AttrWriter, key: ServiceKey): void {
  a.u16(IPVS_SVC_ATTR_AF, afOf(key.family));
  if ('fwmark' in key) {
    if (key.fwmark === 0) throw new WeftError('WEFT_INVALID_ARGUMENT', 'an IPVS service cannot have the fwmark 0');
    a.u32(IPVS_SVC_ATTR_FWMARK, key.fwmark);
    return;
  }
  expectFamily(key.addr, key.family);
  // The kernel would take any number, and the service would never match a packet.
  if (!PROTOCOLS.includes(key.protocol)) {
    throw new WeftError('WEFT_INVALID_PORT', `IPVS cannot balance IP protocol ${key.protocol} by address`);
  }
  a.u16(IPVS_SVC_ATTR_PROTOCOL, key.protocol);
  writeUnion(a, IPVS_SVC_ATTR_ADDR, key.addr);
  a.be16(IPVS_SVC_ATTR_PORT, key.port);
}

/**
 * The whole service. The kernel insists on scheduler, flags, timeout and netmask for NEW and SET alike, and SET replaces all
 * of them; a SET without engine removes the engine.
 * @throws WEFT_INVALID_ARGUMENT, WEFT_INVALID_ADDRESS
 */
export function writeService(a: AttrWriter, service: VirtualServer): void {
  writeServiceKey(a, service.key);
  a.string(IPVS_SVC_ATTR_SCHED_NAME, shortName('scheduler', service.scheduler));
  if (service.engine !== undefined) a.string(IPVS_SVC_ATTR_PE_NAME, shortName('persistence engine', service.engine));
  // struct ip_vs_flags {u32 flags, u32 mask}: a mask of all ones sets every flag; a narrower one would keep old flags.
  a.block(IPVS_SVC_ATTR_FLAGS, (block) => block.w.u32(service.flags & ~IP_VS_SVC_F_HASHED).u32(0xffffffff));
  a.u32(IPVS_SVC_ATTR_TIMEOUT, service.timeout);
  writeNetmask(a, service.netmask, service.key.family);
}

/** Reads the payload of IPVS_CMD_ATTR_SERVICE as the kernel fills it. @throws WEFT_INTERNAL */
export function readService(attributes: Uint8Array): VirtualServerState {
  const a = new AttrReader(attributes, 'ipvs service');
  const seen: SeenKey = {};
  let netmask = new Uint8Array(4);
  const out = { scheduler: '', flags: 0, timeout: 0 };
  let engine: string | undefined;
  let stats: IpvsStats | undefined;
  while (a.next()) {
    switch (a.type) {
      case IPVS_SVC_ATTR_SCHED_NAME:
        out.scheduler = a.string();
        break;
      case IPVS_SVC_ATTR_FLAGS:
        out.flags = new Reader(a.bytes()).u32() & ~IP_VS_SVC_F_HASHED;
        break;
      case IPVS_SVC_ATTR_TIMEOUT:
        out.timeout = a.u32();
        break;
      case IPVS_SVC_ATTR_NETMASK:
        netmask = Uint8Array.from(a.bytes());
        break;
      case IPVS_SVC_ATTR_PE_NAME:
        engine = a.string();
        break;
      case IPVS_SVC_ATTR_STATS64:
        stats = readStats(a.nested('ipvs service stats'));
        break;
      default:
        readKeyAttribute(a, seen);
    }
  }
  const key = toKey(seen);
  return {
    key,
    ...out,
    netmask: netmaskText(netmask, key.family),
    ...(engine !== undefined && { engine }),
    ...(stats !== undefined && { stats }),
  };
}

interface SeenKey {
  af?: number;
  fwmark?: number;
  protocol?: number;
  addr?: Uint8Array;
  port?: number;
}

function readKeyAttribute(a: AttrReader, seen: SeenKey): void {
  switch (a.type) {
    case IPVS_SVC_ATTR_AF:
      seen.af = a.u16();
      break;
    case IPVS_SVC_ATTR_PROTOCOL:
      seen.protocol = a.u16();
      break;
    case IPVS_SVC_ATTR_ADDR:
      seen.addr = readUnion(a);
      break;
    case IPVS_SVC_ATTR_PORT:
      seen.port = a.be16();
      break;
    case IPVS_SVC_ATTR_FWMARK:
      seen.fwmark = a.u32();
      break;
  }
}

function toKey(seen: SeenKey): ServiceKey {
  const of = familyOf(seen.af ?? 0);
  if (seen.fwmark !== undefined) return { family: of, fwmark: seen.fwmark };
  const { protocol, addr, port } = seen;
  if (protocol === undefined || addr === undefined || port === undefined) {
    throw new WeftError('WEFT_INTERNAL', 'ipvs service: came without mark and without address');
  }
  return { family: of, protocol, addr: unionIp(addr, of), port };
}

function shortName(what: string, name: string): string {
  if (name === '' || Buffer.byteLength(name) >= NAME_MAXLEN) {
    throw new WeftError(
      'WEFT_INVALID_ARGUMENT',
      `"${name}" is not the name of an IPVS ${what}`,
      'it has 1 to 15 bytes',
    );
  }
  return name;
}

/**
 * One u32 with two meanings (ip_vs_ctl.c, ip_vs_add_service): for IPv4 the mask itself, in network order; for IPv6 the
 * prefix *length*, in host order, 1 to 128. Both are a mask here.
 */
function writeNetmask(a: AttrWriter, netmask: Ip, of: Family): void {
  expectFamily(netmask, of);
  if (of === 4) {
    a.ip(IPVS_SVC_ATTR_NETMASK, netmask);
    return;
  }
  const length = toNumber(netmask).toString(2).indexOf('0');
  const prefix = length < 0 ? 128 : length;
  if (prefix === 0 || lengthMask(prefix) !== netmask) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `"${netmask}" is not an IPv6 netmask of 1 to 128 bits`);
  }
  a.u32(IPVS_SVC_ATTR_NETMASK, prefix);
}

function netmaskText(payload: Uint8Array, of: Family): Ip {
  if (payload.length !== 4) throw new WeftError('WEFT_INTERNAL', `ipvs service: a netmask of ${payload.length} bytes`);
  if (of === 4) return ipText(payload);
  const length = new Reader(payload).u32();
  if (length > 128) throw new WeftError('WEFT_INTERNAL', `ipvs service: an IPv6 netmask of ${length} bits`);
  return lengthMask(length);
}

function lengthMask(length: number): Ip {
  const all = bits(6);
  return fromNumber(((1n << BigInt(length)) - 1n) << BigInt(all - length), 6);
}
