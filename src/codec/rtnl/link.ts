import { Reader, type Writer } from '../../base/bytes.js';
import { WeftError } from '../../base/errors.js';
import type { Mac } from '../../base/ip.js';
import { AttrReader, AttrWriter } from '../attr.js';
import { type BridgePort, readBridgePort, writeBridgePort } from './bridge-port.js';
import { AF_BRIDGE, AF_INET6, AF_UNSPEC } from './family.js';
import { type LinkInfo, type PeerCodec, readLinkInfo, type SlaveInfo, writeLinkInfo } from './linkinfo.js';

/* linux/rtnetlink.h, linux/if.h, linux/if_link.h. */
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_SETLINK = 19;

export const IFF_UP = 1;
export const IFF_LOOPBACK = 8;
/** Reported: the carrier is there. */
export const IFF_LOWER_UP = 1 << 16;

/** IFLA_OPERSTATE values, linux/if.h (RFC 2863). A VXLAN device and loopback stay at UNKNOWN, which counts as up. */
export const IF_OPER_UNKNOWN = 0;
export const IF_OPER_DOWN = 2;
export const IF_OPER_LOWERLAYERDOWN = 3;
export const IF_OPER_UP = 6;

/** IFLA_INET6_ADDR_GEN_MODE: no link-local address by itself. */
export const IN6_ADDR_GEN_MODE_EUI64 = 0;
export const IN6_ADDR_GEN_MODE_NONE = 1;

/** IFLA_EXT_MASK: leave the counters out, a fifth of a dump. */
export const RTEXT_FILTER_SKIP_STATS = 1 << 3;

/** IFNAMSIZ of linux/if.h is 16 with the terminating NUL. */
const IFNAMSIZ = 16;

const IFLA_ADDRESS = 1;
const IFLA_BROADCAST = 2;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_PROTINFO = 12;
const IFLA_TXQLEN = 13;
const IFLA_OPERSTATE = 16;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_STATS64 = 23;
const IFLA_AF_SPEC = 26;
const IFLA_GROUP = 27;
const IFLA_NET_NS_FD = 28;
const IFLA_EXT_MASK = 29;
const IFLA_LINK_NETNSID = 37;
const IFLA_TARGET_NETNSID = 46;

const IFLA_INET6_ADDR_GEN_MODE = 8;

/** Counters of struct rtnl_link_stats64. */
export interface LinkStats {
  rxPackets: bigint;
  txPackets: bigint;
  rxBytes: bigint;
  txBytes: bigint;
  rxDropped: bigint;
  txDropped: bigint;
}

/** struct ifinfomsg and its attributes: RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK. */
export interface Link {
  /** AF_UNSPEC, or AF_BRIDGE to set and list bridge ports. */
  family?: number;
  /** ifindex; 0 or absent where the kernel shall choose, or where the name is the key. */
  index?: number;
  /** ARPHRD_* of linux/if_arp.h, reported. */
  deviceType?: number;
  /** IFF_*. A request changes the bits set in `change` alone. */
  flags?: number;
  change?: number;
  name?: string;
  mac?: Mac;
  broadcast?: Mac;
  mtu?: number;
  txqlen?: number;
  /** ifindex of the bridge; 0 removes the link from it. */
  master?: number;
  /** At most 255 bytes; '' removes it. */
  alias?: string;
  group?: number;
  /** ifindex of the lower device, or of a veth's peer, in the namespace `linkNetnsid` (absent: this one). */
  link?: number;
  /** Namespace id of `link`, relative to the socket's namespace; −1 is a namespace without id here. */
  linkNetnsid?: number;
  /** Descriptor of the namespace to create the link in or to move it to. */
  netnsFd?: number;
  /** Namespace id to look in instead of the socket's own. Reported where it was asked for. */
  targetNetnsid?: number;
  /** IFLA_INET6_ADDR_GEN_MODE; set it before the link goes up. */
  addrGenMode?: number;
  /** RTEXT_FILTER_*, in requests for links. */
  extMask?: number;
  /** IF_OPER_*, reported. */
  operstate?: number;
  /** Reported. */
  stats?: LinkStats;
  info?: LinkInfo<Link>;
  slave?: SlaveInfo;
  /** IFLA_PROTINFO in messages of family AF_BRIDGE, which `bridge link set` sends with RTM_SETLINK. */
  bridgePort?: BridgePort;
}

/**
 * Which links to list. With strict checking a dump accepts these filters alone; ifi_index, flags and type must be 0. `family`
 * AF_BRIDGE lists bridge ports and takes no filter but `extMask`. A `kind` whose driver is not loaded filters nothing: the
 * rows lack NLM_F_DUMP_FILTERED then, and all links come.
 */
export type LinkFilter = Pick<Link, 'family' | 'master' | 'extMask' | 'targetNetnsid'> & { kind?: string };

const PEER: PeerCodec<Link> = { write: (a, peer) => writeLink(a.w, peer), read: readLink };

/**
 * The body of a link message. A single RTM_GETLINK takes `index` or `name`, `extMask` and `targetNetnsid`.
 * `operstate`, `stats` and `deviceType` are the kernel's to say and are not written.
 * @throws WEFT_INVALID_NAME, WEFT_INVALID_ADDRESS, WEFT_INVALID_ARGUMENT
 */
export function writeLink(w: Writer, l: Link): void {
  if (l.name !== undefined && (l.name === '' || Buffer.byteLength(l.name) >= IFNAMSIZ)) {
    throw new WeftError('WEFT_INVALID_NAME', `"${l.name}" is no interface name: it needs 1 to ${IFNAMSIZ - 1} bytes`);
  }
  w.u8(l.family ?? AF_UNSPEC)
    .pad(1)
    .u16(0)
    .i32(l.index ?? 0)
    .u32(l.flags ?? 0)
    .u32(l.change ?? 0);
  const a = new AttrWriter(w);
  a.i32(IFLA_TARGET_NETNSID, l.targetNetnsid)
    .string(IFLA_IFNAME, l.name)
    .mac(IFLA_ADDRESS, l.mac)
    .mac(IFLA_BROADCAST, l.broadcast)
    .u32(IFLA_MTU, l.mtu)
    .u32(IFLA_TXQLEN, l.txqlen)
    .u32(IFLA_MASTER, l.master)
    .u32(IFLA_GROUP, l.group)
    .text(IFLA_IFALIAS, l.alias)
    .u32(IFLA_LINK, l.link)
    .i32(IFLA_LINK_NETNSID, l.linkNetnsid)
    .u32(IFLA_NET_NS_FD, l.netnsFd)
    .u32(IFLA_EXT_MASK, l.extMask);
  const { addrGenMode, bridgePort } = l;
  if (addrGenMode !== undefined) {
    a.nest(IFLA_AF_SPEC, (a) => a.nest(AF_INET6, (a) => a.u8(IFLA_INET6_ADDR_GEN_MODE, addrGenMode)));
  }
  if (bridgePort) a.nest(IFLA_PROTINFO, (a) => writeBridgePort(a, bridgePort));
  if (l.info || l.slave) a.nest(IFLA_LINKINFO, (a) => writeLinkInfo(a, l, PEER));
}

/** The body of an RTM_GETLINK with NLM_F_DUMP. */
export function writeLinkDump(w: Writer, f: LinkFilter): void {
  const { kind, ...rest } = f;
  writeLink(w, kind === undefined ? rest : { ...rest, info: { kind: 'other', name: kind } });
}

/** @throws WEFT_INTERNAL where the bytes are no link message. */
export function readLink(body: Uint8Array): Link {
  const r = new Reader(body);
  const family = r.u8();
  r.skip(1);
  const l: Link = { family, deviceType: r.u16(), index: r.i32(), flags: r.u32(), change: r.u32() };
  const a = new AttrReader(r.take(r.left), 'link');
  while (a.next()) readAttribute(a, l);
  return l;
}

function readAttribute(a: AttrReader, l: Link): void {
  switch (a.type) {
    case IFLA_ADDRESS:
      setMac(l, 'mac', a);
      break;
    case IFLA_BROADCAST:
      setMac(l, 'broadcast', a);
      break;
    case IFLA_IFNAME:
      l.name = a.string();
      break;
    case IFLA_MTU:
      l.mtu = a.u32();
      break;
    case IFLA_LINK:
      l.link = a.u32();
      break;
    case IFLA_MASTER:
      l.master = a.u32();
      break;
    case IFLA_TXQLEN:
      l.txqlen = a.u32();
      break;
    case IFLA_OPERSTATE:
      l.operstate = a.u8();
      break;
    case IFLA_IFALIAS:
      l.alias = a.string();
      break;
    case IFLA_STATS64:
      l.stats = readStats(a.bytes());
      break;
    case IFLA_GROUP:
      l.group = a.u32();
      break;
    case IFLA_LINK_NETNSID:
      l.linkNetnsid = a.i32();
      break;
    case IFLA_NET_NS_FD:
      l.netnsFd = a.u32();
      break;
    case IFLA_EXT_MASK:
      l.extMask = a.u32();
      break;
    case IFLA_TARGET_NETNSID:
      l.targetNetnsid = a.i32();
      break;
    case IFLA_LINKINFO:
      Object.assign(l, readLinkInfo(a.nested('link info'), PEER));
      break;
    case IFLA_AF_SPEC:
      // In AF_BRIDGE messages the same number carries the VLANs of a port.
      if (l.family === AF_UNSPEC) readAfSpec(a.nested('link af_spec'), l);
      break;
    case IFLA_PROTINFO:
      // In AF_INET6 messages it carries the device's IPv6 settings; an old bridge sends one byte instead of a nest.
      if (l.family === AF_BRIDGE && a.isNested) l.bridgePort = readBridgePort(a.nested('bridge port'));
      break;
  }
}

function setMac(l: Link, key: 'mac' | 'broadcast', a: AttrReader): void {
  const mac = a.mac();
  if (mac !== undefined) l[key] = mac;
}

function readAfSpec(families: AttrReader, l: Link): void {
  while (families.next()) {
    if (families.type !== AF_INET6) continue;
    const a = families.nested('link af_spec inet6');
    while (a.next()) if (a.type === IFLA_INET6_ADDR_GEN_MODE) l.addrGenMode = a.u8();
  }
}

/** The struct grows at its end (24 counters, 25 since kernel 5.19), so only its start is asked for. */
function readStats(bytes: Uint8Array): LinkStats {
  const r = new Reader(bytes);
  const rxPackets = r.u64();
  const txPackets = r.u64();
  const rxBytes = r.u64();
  const txBytes = r.u64();
  r.skip(16); // rx_errors, tx_errors
  return { rxPackets, txPackets, rxBytes, txBytes, rxDropped: r.u64(), txDropped: r.u64() };
}
