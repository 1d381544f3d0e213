import type { CtKey, MetaKey } from '../expr/load.js';
import type { Expr } from '../expr.js';
import { type DataType, fieldBytes, type RawField } from '../types.js';

/*
 * What rules speak of, in nft's words: `ip.daddr`, `tcp.dport`, `ct.mark`. A term knows its type, how to load it into a register
 * and, where it can be set, how to store it.
 */

/** Conditions under which a header field is where its term looks for it; rule() puts them in front, once each. */
export type Need = 'ip' | 'ip6' | 'icmp' | 'tcp' | 'udp' | 'sctp';

export interface Term<T extends DataType | RawField = DataType | RawField> {
  readonly type: T;
  readonly needs: readonly Need[];
  load(dreg: number): Expr[];
}

/** A term that can be set. */
export interface Target<T extends DataType = DataType> extends Term<T> {
  store(sreg: number): Expr[];
}

type Base = RawField['base'];

function header<T extends DataType>(type: T, base: Base, offset: number, length: number, ...needs: Need[]): Term<T> {
  return { type, needs, load: (dreg) => [{ expr: 'payload', dreg, base, offset, length }] };
}

/** Ethernet addresses are covered by no checksum, so they can be written as they are. */
function etherAddress(offset: number): Target<'ether_addr'> {
  const store = (sreg: number): Expr[] => [
    { expr: 'payloadSet', sreg, base: 'link', offset, length: 6, csumType: 'none', csumOffset: 0, csumFlags: 0 },
  ];
  return { ...header('ether_addr', 'link', offset, 6), store };
}

/** A port that is covered by the checksum `csumOffset` bytes into the transport header. */
function portAt(offset: number, csumOffset: number, ...needs: Need[]): Target<'inet_service'> {
  const field = { base: 'transport', offset, length: 2 } as const;
  const store = (sreg: number): Expr[] => [
    { expr: 'payloadSet', sreg, ...field, csumType: 'inet', csumOffset, csumFlags: 0 },
  ];
  return { ...header('inet_service', 'transport', offset, 2, ...needs), store };
}

function metaTerm<T extends DataType>(type: T, key: MetaKey): Term<T> {
  return { type, needs: [], load: (dreg) => [{ expr: 'meta', key, dreg }] };
}

function ctTerm<T extends DataType>(type: T, key: CtKey): Term<T> {
  return { type, needs: [], load: (dreg) => [{ expr: 'ct', key, dreg }] };
}

/** struct ethhdr */
export const ether = { daddr: etherAddress(0), saddr: etherAddress(6) } as const;
/** struct iphdr (RFC 791) */
export const ip = {
  protocol: header('inet_proto', 'network', 9, 1, 'ip'),
  saddr: header('ipv4_addr', 'network', 12, 4, 'ip'),
  daddr: header('ipv4_addr', 'network', 16, 4, 'ip'),
} as const;
/** struct ipv6hdr (RFC 8200) */
export const ip6 = {
  nexthdr: header('inet_proto', 'network', 6, 1, 'ip6'),
  saddr: header('ipv6_addr', 'network', 8, 16, 'ip6'),
  daddr: header('ipv6_addr', 'network', 24, 16, 'ip6'),
} as const;
/** The ports of any transport protocol, which has to be matched besides. */
export const th = {
  sport: header('inet_service', 'transport', 0, 2),
  dport: header('inet_service', 'transport', 2, 2),
} as const;
/** struct tcphdr (RFC 9293) */
export const tcp = {
  sport: portAt(0, 16, 'tcp'),
  dport: portAt(2, 16, 'tcp'),
  flags: header('tcp_flag', 'transport', 13, 1, 'tcp'),
} as const;
export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_ACK = 0x10;
export const udp = {
  sport: portAt(0, 6, 'udp'),
  dport: portAt(2, 6, 'udp'),
} as const;
/**
 * An ICMP error (RFC 792) and the packet that it quotes from byte 8 on, whose header has no options. The ports are those of
 * the quoted packet, under the checksum of the error.
 */
export const icmp = {
  quotedProtocol: header('inet_proto', 'transport', 17, 1, 'icmp'),
  quotedDport: portAt(30, 2, 'icmp'),
} as const;

/** Packet metadata; `ibrname` needs nft_meta_bridge in the kernel. */
export const meta = {
  /** Type of the frame, ETH_P_* (0x0800 IPv4, 0x86dd IPv6, 0x0806 ARP). */
  protocol: metaTerm('ether_type', 'protocol'),
  l4proto: metaTerm('inet_proto', 'l4proto'),
  iif: metaTerm('iface_index', 'iif'),
  iifname: metaTerm('ifname', 'iifname'),
  oifname: metaTerm('ifname', 'oifname'),
  ibrname: metaTerm('ifname', 'ibrname'),
  pkttype: metaTerm('pkt_type', 'pkttype'),
  skuid: metaTerm('uid', 'skuid'),
  mark: {
    ...metaTerm('mark', 'mark'),
    store: (sreg: number): Expr[] => [{ expr: 'metaSet', key: 'mark', sreg }],
  } satisfies Target<'mark'>,
} as const;

/** Connection tracking; in the bridge family it needs nf_conntrack_bridge in the kernel. */
export const ct = {
  state: ctTerm('ct_state', 'state'),
  status: ctTerm('ct_status', 'status'),
  direction: ctTerm('ct_dir', 'direction'),
  mark: {
    ...ctTerm('mark', 'mark'),
    store: (sreg: number): Expr[] => [{ expr: 'ctSet', key: 'mark', sreg }],
  } satisfies Target<'mark'>,
} as const;
/** Bits of `ct.state`: NF_CT_STATE_BIT() of linux/netfilter/nf_conntrack_common.h. */
export const CT_INVALID = 1 << 0;
export const CT_ESTABLISHED = 1 << 1;
export const CT_RELATED = 1 << 2;
export const CT_NEW = 1 << 3;
export const CT_UNTRACKED = 1 << 6;

/** 0..modulus-1 in turn (`inc`) or by lot; typed `mark` so that maps of it can be listed and loaded by nft. */
export function numgen(mode: 'inc' | 'random', modulus: number, offset = 0): Term<'mark'> {
  return { type: 'mark', needs: [], load: (dreg) => [{ expr: 'numgen', dreg, modulus, mode, offset }] };
}

/** 0..modulus-1 by the hash of a term, nft's `jhash`; typed as `numgen` is. */
export function jhash(of: Term<DataType>, modulus: number, seed: number): Term<'mark'> {
  const length = fieldBytes(of.type);
  return {
    type: 'mark',
    needs: of.needs,
    load: (dreg) => [
      ...of.load(dreg),
      { expr: 'hash', sreg: dreg, dreg, length, modulus, seed, offset: 0, type: 'jenkins' },
    ],
  };
}

/** Bytes at a fixed place of the packet, nft's `@th,96,24` (which counts bits). */
export function raw(base: Base, offset: number, bytes: number): Term<RawField> {
  return {
    type: { base, offset, bytes },
    needs: [],
    load: (dreg) => [{ expr: 'payload', dreg, base, offset, length: bytes }],
  };
}
