import { bit, oneOf, oneOfU8, optional, text, u8, u32 } from '../fields.js';
import { kind } from './kind.js';

/* Expressions that bring something of the packet into a register, and those that write it back; linux/netfilter/nf_tables.h. */

/** enum nft_payload_bases. `network` and `transport` are only valid where the packet has such a header. */
const BASES = ['link', 'network', 'transport', 'inner'] as const;

/** nft_payload_attributes, load: `length` bytes at `offset` from `base`. */
export const PAYLOAD = kind(
  'payload',
  'payload',
  { dreg: u32(1), base: oneOf(2, BASES), offset: u32(3), length: u32(4) },
  [5],
);

/** nft_payload_attributes, store. `csumType` none is right for link headers; IP and above need a checksum update. */
export const PAYLOAD_SET = kind('payloadSet', 'payload', {
  sreg: u32(5),
  base: oneOf(2, BASES),
  offset: u32(3),
  length: u32(4),
  csumType: oneOf(6, ['none', 'inet', 'sctp'], 'none'),
  csumOffset: u32(7, 0),
  csumFlags: u32(8, 0),
});

/** enum nft_meta_keys, in order. */
const META_KEYS = [
  'len',
  'protocol',
  'priority',
  'mark',
  'iif',
  'oif',
  'iifname',
  'oifname',
  'iiftype',
  'oiftype',
  'skuid',
  'skgid',
  'nftrace',
  'rtclassid',
  'secmark',
  'nfproto',
  'l4proto',
  'ibrname',
  'obrname',
  'pkttype',
  'cpu',
  'iifgroup',
  'oifgroup',
  'cgroup',
  'random',
  'secpath',
  'iifkind',
  'oifkind',
  'ibrpvid',
  'ibrvproto',
  'time',
  'day',
  'hour',
  'sdif',
  'sdifname',
] as const;
export type MetaKey = (typeof META_KEYS)[number];

export const META = kind('meta', 'meta', { key: oneOf(2, META_KEYS), dreg: u32(1) }, [3]);
export const META_SET = kind('metaSet', 'meta', { key: oneOf(2, META_KEYS), sreg: u32(3) });

/** enum nft_ct_keys, in order. */
const CT_KEYS = [
  'state',
  'direction',
  'status',
  'mark',
  'secmark',
  'expiration',
  'helper',
  'l3protocol',
  'src',
  'dst',
  'protocol',
  'protoSrc',
  'protoDst',
  'labels',
  'packets',
  'bytes',
  'avgpkt',
  'zone',
  'eventmask',
  'srcIp',
  'dstIp',
  'srcIp6',
  'dstIp6',
  'id',
] as const;
export type CtKey = (typeof CT_KEYS)[number];

/** `direction` only for keys of one tuple (src, protoDst, packets, …): enum ip_conntrack_dir. */
export const CT = kind(
  'ct',
  'ct',
  { key: oneOf(2, CT_KEYS), dreg: u32(1), direction: optional(oneOfU8(3, ['original', 'reply'])) },
  [4],
);
export const CT_SET = kind('ctSet', 'ct', {
  key: oneOf(2, CT_KEYS),
  direction: optional(oneOfU8(3, ['original', 'reply'])),
  sreg: u32(4),
});

/** enum nft_fib_flags (1 source, 2 destination, 4 mark, 8 iif, 16 oif, 32 presence only): what is looked up and what counts. */
export const FIB_DADDR = 2;
/** What the routing table says about the packet; result `type` is an RTN_* (2 is local), u32 in host order. */
export const FIB = kind('fib', 'fib', {
  flags: u32(3),
  result: oneOf(2, ['unspec', 'oif', 'oifname', 'type']),
  dreg: u32(1),
});

/** A number `offset`..`offset + modulus - 1`, u32 in host order; `inc` counts up per rule and restarts when it is replaced. */
export const NUMGEN = kind('numgen', 'numgen', {
  dreg: u32(1),
  modulus: u32(2),
  mode: oneOf(3, ['inc', 'random']),
  offset: u32(4, 0),
});

/** The same from a hash: `jenkins` of `length` bytes from `sreg`, or the flow's symmetric hash. Without `seed` it is random. */
export const HASH = kind(
  'hash',
  'hash',
  {
    sreg: optional(u32(1)),
    dreg: u32(2),
    length: optional(u32(3)),
    modulus: u32(4),
    seed: optional(u32(5)),
    offset: u32(6, 0),
    type: oneOf(7, ['jenkins', 'symmetric'], 'jenkins'),
  },
  [8, 9],
);

const EXTHDR_OPS = ['ipv6', 'tcpopt', 'ipv4', 'sctp', 'dccp'] as const;

/**
 * `length` bytes at `offset` of an IPv6 extension header, IPv4 or TCP option or SCTP chunk of that type; `present`
 * (NFT_EXTHDR_F_PRESENT) asks only whether it is there, and without it the rule ends where it is not.
 */
export const EXTHDR = kind(
  'exthdr',
  'exthdr',
  { dreg: u32(1), type: u8(2), offset: u32(3), length: u32(4), present: bit(5, 1), op: oneOf(6, EXTHDR_OPS, 'ipv6') },
  [7],
);
/** Overwrites part of a TCP option; of `maxseg` only where the new value is smaller. */
export const EXTHDR_SET = kind('exthdrSet', 'exthdr', {
  sreg: u32(7),
  type: u8(2),
  offset: u32(3),
  length: u32(4),
  op: oneOf(6, EXTHDR_OPS),
});

/** A stateful object by name (nft's `counter name X`); only with a fixed name. */
export const OBJREF = kind('objref', 'objref', { type: u32(1), name: text(2) }, [3, 4, 5]);
