import { WeftError } from '../../base/errors.js';
import { family, type Ip } from '../../base/ip.js';
import type { AttrReader, AttrWriter } from '../attr.js';

/* IFLA_INFO_DATA of kind "vxlan", linux/if_link.h. */
const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_LINK = 3;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_TTL = 5;
const IFLA_VXLAN_TOS = 6;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_AGEING = 8;
const IFLA_VXLAN_PROXY = 11;
const IFLA_VXLAN_L2MISS = 13;
const IFLA_VXLAN_L3MISS = 14;
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_LOCAL6 = 17;
const IFLA_VXLAN_UDP_CSUM = 18;
const IFLA_VXLAN_UDP_ZERO_CSUM6_TX = 19;
const IFLA_VXLAN_UDP_ZERO_CSUM6_RX = 20;
const IFLA_VXLAN_COLLECT_METADATA = 25;
const IFLA_VXLAN_DF = 29;

export const VXLAN_DF_UNSET = 0;
export const VXLAN_DF_SET = 1;
export const VXLAN_DF_INHERIT = 2;

/** Options of a VXLAN device (RFC 7348). Most are fixed at creation: the kernel answers EOPNOTSUPP to changing them. */
export interface Vxlan {
  /** VNI, 24 bits. */
  id?: number;
  /** Source address of outer packets; its family fixes the family of the device (without one: IPv4). */
  local?: Ip;
  /** UDP destination port. Always give it: the kernel's default is 8472, not IANA's 4789. */
  port?: number;
  /** ifindex of the underlay device, in the namespace the device was created from. */
  link?: number;
  learning?: boolean;
  /** Answer ARP and ND from the neighbour table; what is unknown is swallowed. */
  proxy?: boolean;
  l2miss?: boolean;
  l3miss?: boolean;
  /** Seconds. */
  ageing?: number;
  /** Outer UDP checksum over IPv4; the kernel's default is on. */
  udpCsum?: boolean;
  udpZeroCsum6Tx?: boolean;
  udpZeroCsum6Rx?: boolean;
  ttl?: number;
  tos?: number;
  /** VXLAN_DF_*. */
  df?: number;
  /** "external": VNI and destination come from the route or from tc. */
  collectMetadata?: boolean;
}

/** @throws WEFT_INVALID_ARGUMENT where the VNI has more than 24 bits. */
export function writeVxlan(a: AttrWriter, v: Vxlan): void {
  if (v.id !== undefined && v.id > 0xffffff) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `VNI ${v.id} has more than 24 bits`);
  }
  a.u32(IFLA_VXLAN_ID, v.id).u32(IFLA_VXLAN_LINK, v.link);
  if (v.local !== undefined) a.ip(family(v.local) === 4 ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, v.local);
  a.u8(IFLA_VXLAN_TTL, v.ttl)
    .u8(IFLA_VXLAN_TOS, v.tos)
    .u8(IFLA_VXLAN_DF, v.df)
    .bool(IFLA_VXLAN_LEARNING, v.learning)
    .bool(IFLA_VXLAN_PROXY, v.proxy)
    .bool(IFLA_VXLAN_L2MISS, v.l2miss)
    .bool(IFLA_VXLAN_L3MISS, v.l3miss)
    .u32(IFLA_VXLAN_AGEING, v.ageing)
    .be16(IFLA_VXLAN_PORT, v.port)
    .bool(IFLA_VXLAN_UDP_CSUM, v.udpCsum)
    .bool(IFLA_VXLAN_UDP_ZERO_CSUM6_TX, v.udpZeroCsum6Tx)
    .bool(IFLA_VXLAN_UDP_ZERO_CSUM6_RX, v.udpZeroCsum6Rx)
    .bool(IFLA_VXLAN_COLLECT_METADATA, v.collectMetadata);
}

export function readVxlan(a: AttrReader): Vxlan {
  const v: Vxlan = {};
  while (a.next()) {
    switch (a.type) {
      case IFLA_VXLAN_ID:
        v.id = a.u32();
        break;
      case IFLA_VXLAN_LINK:
        v.link = a.u32();
        break;
      case IFLA_VXLAN_LOCAL:
      case IFLA_VXLAN_LOCAL6:
        v.local = a.ip();
        break;
      case IFLA_VXLAN_TTL:
        v.ttl = a.u8();
        break;
      case IFLA_VXLAN_TOS:
        v.tos = a.u8();
        break;
      case IFLA_VXLAN_DF:
        v.df = a.u8();
        break;
      case IFLA_VXLAN_LEARNING:
        v.learning = a.bool();
        break;
      case IFLA_VXLAN_PROXY:
        v.proxy = a.bool();
        break;
      case IFLA_VXLAN_L2MISS:
        v.l2miss = a.bool();
        break;
      case IFLA_VXLAN_L3MISS:
        v.l3miss = a.bool();
        break;
      case IFLA_VXLAN_AGEING:
        v.ageing = a.u32();
        break;
      case IFLA_VXLAN_PORT:
        v.port = a.be16();
        break;
      case IFLA_VXLAN_UDP_CSUM:
        v.udpCsum = a.bool();
        break;
      case IFLA_VXLAN_UDP_ZERO_CSUM6_TX:
        v.udpZeroCsum6Tx = a.bool();
        break;
      case IFLA_VXLAN_UDP_ZERO_CSUM6_RX:
        v.udpZeroCsum6Rx = a.bool();
        break;
      case IFLA_VXLAN_COLLECT_METADATA:
        v.collectMetadata = a.bool();
        break;
    }
  }
  return v;
}
