import { WeftError } from '../base/errors.js';
import { family as familyOf, type Ip } from '../base/ip.js';
import type { AttrReader, AttrWriter } from './attr.js';

/* The tuple of conntrack, linux/netfilter/nfnetlink_conntrack.h: ctattr_tuple, ctattr_ip, ctattr_l4proto. */
export const CTA_TUPLE_IP = 1;
export const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
export const CTA_IP_V4_DST = 2;
const CTA_IP_V6_SRC = 3;
const CTA_IP_V6_DST = 4;
export const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const CTA_PROTO_ICMP_ID = 4;
const CTA_PROTO_ICMP_TYPE = 5;
const CTA_PROTO_ICMP_CODE = 6;
const CTA_PROTO_ICMPV6_ID = 7;
const CTA_PROTO_ICMPV6_TYPE = 8;
const CTA_PROTO_ICMPV6_CODE = 9;
const IPPROTO_ICMPV6 = 58;

/** One direction of a flow. */
export interface Tuple {
  src: Ip;
  dst: Ip;
  /** IPPROTO_*: 6 TCP, 17 UDP, 132 SCTP, 1 ICMP, 58 ICMPv6. */
  protocol: number;
  /** Of protocols that have ports. */
  srcPort?: number;
  dstPort?: number;
  /** Of ICMP and ICMPv6. */
  icmp?: { id: number; type: number; code: number };
}

/** As v4 or v6 attribute, whichever the address is. */
function writeAddress(a: AttrWriter, v4: number, v6: number, ip: Ip): void {
  a.ip(familyOf(ip) === 4 ? v4 : v6, ip);
}

/** The contents of a CTA_TUPLE_*. @throws WEFT_INVALID_ARGUMENT */
export function writeTuple(a: AttrWriter, t: Tuple): void {
  a.nest(CTA_TUPLE_IP, (ip) => {
    writeAddress(ip, CTA_IP_V4_SRC, CTA_IP_V6_SRC, t.src);
    writeAddress(ip, CTA_IP_V4_DST, CTA_IP_V6_DST, t.dst);
  });
  a.nest(CTA_TUPLE_PROTO, (p) => {
    p.u8(CTA_PROTO_NUM, t.protocol).be16(CTA_PROTO_SRC_PORT, t.srcPort).be16(CTA_PROTO_DST_PORT, t.dstPort);
    const [id, type, code] = icmpAttributes(t.protocol);
    p.be16(id, t.icmp?.id).u8(type, t.icmp?.type).u8(code, t.icmp?.code);
  });
}

function icmpAttributes(protocol: number): readonly [id: number, type: number, code: number] {
  return protocol === IPPROTO_ICMPV6
    ? [CTA_PROTO_ICMPV6_ID, CTA_PROTO_ICMPV6_TYPE, CTA_PROTO_ICMPV6_CODE]
    : [CTA_PROTO_ICMP_ID, CTA_PROTO_ICMP_TYPE, CTA_PROTO_ICMP_CODE];
}

/** The contents of a CTA_TUPLE_*. @throws WEFT_INTERNAL */
export function readTuple(a: AttrReader): Tuple {
  let src: Ip | undefined;
  let dst: Ip | undefined;
  let proto: Omit<Tuple, 'src' | 'dst'> | undefined;
  while (a.next()) {
    if (a.type === CTA_TUPLE_IP) {
      const ip = a.nested('conntrack addresses');
      while (ip.next()) {
        if (ip.type === CTA_IP_V4_SRC || ip.type === CTA_IP_V6_SRC) src = ip.ip();
        else if (ip.type === CTA_IP_V4_DST || ip.type === CTA_IP_V6_DST) dst = ip.ip();
      }
    } else if (a.type === CTA_TUPLE_PROTO) proto = readProtocol(a.nested('conntrack ports'));
  }
  if (src === undefined || dst === undefined || proto === undefined) {
    throw new WeftError('WEFT_INTERNAL', 'conntrack: an incomplete tuple');
  }
  return { src, dst, ...proto };
}

function readProtocol(a: AttrReader): Omit<Tuple, 'src' | 'dst'> {
  const out: Omit<Tuple, 'src' | 'dst'> = { protocol: 0 };
  const icmp = { id: 0, type: 0, code: 0 };
  while (a.next()) {
    switch (a.type) {
      case CTA_PROTO_NUM:
        out.protocol = a.u8();
        break;
      case CTA_PROTO_SRC_PORT:
        out.srcPort = a.be16();
        break;
      case CTA_PROTO_DST_PORT:
        out.dstPort = a.be16();
        break;
      case CTA_PROTO_ICMP_ID:
      case CTA_PROTO_ICMPV6_ID:
        icmp.id = a.be16();
        out.icmp = icmp;
        break;
      case CTA_PROTO_ICMP_TYPE:
      case CTA_PROTO_ICMPV6_TYPE:
        icmp.type = a.u8();
        break;
      case CTA_PROTO_ICMP_CODE:
      case CTA_PROTO_ICMPV6_CODE:
        icmp.code = a.u8();
        break;
    }
  }
  return out;
}
