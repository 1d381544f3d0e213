import { Reader, type Writer } from '../../base/bytes.js';
import type { Ip, Mac } from '../../base/ip.js';
import { AttrReader, AttrWriter } from '../attr.js';
import { AF_BRIDGE, requireFamily } from './family.js';

/* linux/rtnetlink.h, linux/neighbour.h. */
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;

export const NUD_INCOMPLETE = 0x01;
export const NUD_REACHABLE = 0x02;
export const NUD_STALE = 0x04;
export const NUD_DELAY = 0x08;
export const NUD_PROBE = 0x10;
export const NUD_FAILED = 0x20;
export const NUD_NOARP = 0x40;
export const NUD_PERMANENT = 0x80;
export const NUD_NONE = 0;

export const NTF_USE = 0x01;
/** AF_BRIDGE: the row of the device itself (a VXLAN device's MAC → VTEP). */
export const NTF_SELF = 0x02;
/** AF_BRIDGE: the row of the bridge the device is a port of (MAC → port). */
export const NTF_MASTER = 0x04;
/** AF_INET, AF_INET6: answer for this address (ip neigh add proxy); such rows are listed apart. */
export const NTF_PROXY = 0x08;
/** Programmed from outside: the bridge neither ages nor learns it away. */
export const NTF_EXT_LEARNED = 0x10;
/** AF_BRIDGE with NTF_MASTER: the MAC does not roam to another port. */
export const NTF_STICKY = 0x40;
export const NTF_ROUTER = 0x80;

const NDA_DST = 1;
const NDA_LLADDR = 2;
const NDA_VLAN = 5;
const NDA_PORT = 6;
const NDA_VNI = 7;
const NDA_IFINDEX = 8;
const NDA_MASTER = 9;
const NDA_SRC_VNI = 11;
const NDA_PROTOCOL = 12;
const NDA_FLAGS_EXT = 15;

/**
 * struct ndmsg and its attributes: RTM_NEWNEIGH, RTM_DELNEIGH. Family AF_INET and AF_INET6 are neighbours (`dst` is the key),
 * AF_BRIDGE is forwarding database rows (`lladdr` is the key; with NTF_SELF on a VXLAN device `dst` is the remote VTEP).
 */
export interface Neighbour {
  family: number;
  /** ifindex of the device. */
  ifindex: number;
  /**
   * NUD_*. A VXLAN row needs NUD_PERMANENT or NUD_REACHABLE; what `bridge` calls permanent is NUD_PERMANENT | NUD_NOARP and is
   * reported so. A bridge row with NUD_PERMANENT is local (ends at the bridge), with NUD_NOARP static (reported as exactly that,
   * whatever NUD_REACHABLE it was written with), with NUD_REACHABLE alone dynamic.
   */
  state: number;
  /**
   * NTF_*. AF_BRIDGE with both NTF_SELF and NTF_MASTER writes (and deletes) the VXLAN row and the bridge row in one message, with
   * one state for both: NUD_NOARP | NUD_REACHABLE is static in both. NUD_PERMANENT would make the bridge row local.
   */
  flags: number;
  /** ndm_type, a RTN_*; reported. */
  type?: number;
  dst?: Ip;
  lladdr?: Mac;
  vlan?: number;
  /** UDP port of the VTEP where it is not the device's. */
  port?: number;
  /** VNI to send with where it is not the device's. */
  vni?: number;
  /** FDB of a collect_metadata device: the VNI a frame carries. */
  srcVni?: number;
  /** FDB with NTF_SELF: ifindex of the device to send the outer packet by. */
  viaIfindex?: number;
  /** ifindex of the bridge, reported for its rows. */
  master?: number;
  /** Who added it; AF_INET and AF_INET6 only, and 0 is not reported. */
  protocol?: number;
  /** NTF_EXT_* */
  flagsExt?: number;
}

/**
 * Which neighbours to list. Only a socket with NETLINK_GET_STRICT_CHK (kernel 4.20) is sure to filter; the kernel then sets
 * NLM_F_DUMP_FILTERED on each row. An ifindex that does not exist is answered with an empty list.
 */
export interface NeighbourFilter {
  /** AF_INET, AF_INET6 or AF_UNSPEC (both). */
  family: number;
  ifindex?: number;
  /** Neighbours on ports of this bridge. */
  master?: number;
  /** The NTF_PROXY rows instead of the others. */
  proxy?: boolean;
}

/**
 * Which FDB rows to list. The kernel filters on a socket with NETLINK_GET_STRICT_CHK only, and never
 * sets NLM_F_DUMP_FILTERED here, so that an answer does not tell which it was. Rows come back in two shapes:
 * a device's own have NTF_SELF (multicast addresses it listens to included), a bridge's have flags 0 and `master`.
 */
export interface FdbFilter {
  /** Rows of this device: its own and, where it is a port, the bridge's for it. One that does not exist has no rows. */
  ifindex?: number;
  /** Rows of this bridge and its ports. ENODEV where it does not exist. */
  master?: number;
}

/**
 * The body of an RTM_NEWNEIGH or RTM_DELNEIGH. No closure, no array, no intermediate buffer but the addresses' bytes: tens of
 * thousands of rows go through here at start.
 * @throws WEFT_INVALID_ADDRESS, WEFT_INVALID_ARGUMENT
 */
export function writeNeighbour(w: Writer, n: Neighbour): void {
  if (n.family !== AF_BRIDGE) requireFamily(n.family, n.dst, 'neighbour');
  header(w, n.family, n.ifindex, n.state, n.flags);
  new AttrWriter(w)
    .mac(NDA_LLADDR, n.lladdr)
    .ip(NDA_DST, n.dst)
    .u16(NDA_VLAN, n.vlan)
    .be16(NDA_PORT, n.port)
    .u32(NDA_VNI, n.vni)
    .u32(NDA_SRC_VNI, n.srcVni)
    .u32(NDA_IFINDEX, n.viaIfindex)
    .u8(NDA_PROTOCOL, n.protocol)
    .u32(NDA_FLAGS_EXT, n.flagsExt);
}

/** The body of an RTM_GETNEIGH with NLM_F_DUMP: with strict checking the header must be 0 except for NTF_PROXY. */
export function writeNeighbourDump(w: Writer, f: NeighbourFilter): void {
  header(w, f.family, 0, 0, f.proxy ? NTF_PROXY : 0);
  new AttrWriter(w).u32(NDA_IFINDEX, f.ifindex).u32(NDA_MASTER, f.master);
}

/** The body of an RTM_GETNEIGH without NLM_F_DUMP: one neighbour by its key; ENOENT where there is none. */
export function writeNeighbourGet(w: Writer, key: { family: number; ifindex: number; dst: Ip; proxy?: boolean }): void {
  requireFamily(key.family, key.dst, 'neighbour');
  header(w, key.family, key.ifindex, 0, key.proxy ? NTF_PROXY : 0);
  new AttrWriter(w).ip(NDA_DST, key.dst);
}

/**
 * The body of an RTM_GETNEIGH with NLM_F_DUMP and family AF_BRIDGE. Strict checking wants state, flags and type to be 0, and
 * takes the device from the header or from NDA_IFINDEX; the header is what `bridge` uses.
 */
export function writeFdbDump(w: Writer, f: FdbFilter): void {
  header(w, AF_BRIDGE, f.ifindex ?? 0, 0, 0);
  new AttrWriter(w).u32(NDA_MASTER, f.master);
}

/**
 * The body of an RTM_GETNEIGH without NLM_F_DUMP and family AF_BRIDGE: one row by MAC, ENOENT where there is none. `flags` says
 * whose row: NTF_SELF the device's, NTF_MASTER (or 0) its bridge's. Of several destinations of one MAC (the zero MAC's list of
 * VTEPs) only the first is answered: list those. Only bridge and VXLAN devices can be asked, others answer EOPNOTSUPP.
 */
export function writeFdbGet(
  w: Writer,
  key: { ifindex: number; lladdr: Mac; flags: number; vlan?: number; vni?: number },
): void {
  header(w, AF_BRIDGE, key.ifindex, 0, key.flags);
  new AttrWriter(w).mac(NDA_LLADDR, key.lladdr).u16(NDA_VLAN, key.vlan).u32(NDA_VNI, key.vni);
}

/** struct ndmsg: u8 family, 3 bytes of padding, s32 ifindex, u16 state, u8 flags, u8 type. */
function header(w: Writer, family: number, ifindex: number, state: number, flags: number): void {
  w.u8(family).pad(3).i32(ifindex).u16(state).u8(flags).u8(0);
}

/**
 * The body is read in place: a pass over 10,000 peers reads 30,000 rows, 1 us each.
 * @throws WEFT_INTERNAL where the bytes are no neighbour message
 */
export function readNeighbour(body: Uint8Array): Neighbour {
  const r = new Reader(body);
  const family = r.u8();
  r.skip(3);
  const n: Neighbour = { family, ifindex: r.i32(), state: r.u16(), flags: r.u8(), type: r.u8() };
  const a = new AttrReader(body, 'neighbour', r.at);
  while (a.next()) readAttribute(a, n);
  return n;
}

function readAttribute(a: AttrReader, n: Neighbour): void {
  switch (a.type) {
    case NDA_DST:
      n.dst = a.ip();
      break;
    case NDA_LLADDR: {
      const mac = a.mac();
      if (mac !== undefined) n.lladdr = mac;
      break;
    }
    case NDA_VLAN:
      n.vlan = a.u16();
      break;
    case NDA_PORT:
      n.port = a.be16();
      break;
    case NDA_VNI:
      n.vni = a.u32();
      break;
    case NDA_IFINDEX:
      n.viaIfindex = a.u32();
      break;
    case NDA_MASTER:
      n.master = a.u32();
      break;
    case NDA_SRC_VNI:
      n.srcVni = a.u32();
      break;
    case NDA_PROTOCOL:
      n.protocol = a.u8();
      break;
    case NDA_FLAGS_EXT:
      n.flagsExt = a.u32();
      break;
  }
}
