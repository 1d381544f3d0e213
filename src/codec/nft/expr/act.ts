import { nfproto } from '../../nfnl.js';
import { always, bit, data, named, oneOf, optional, u8, u32, u64 } from '../fields.js';
import { kind } from './kind.js';

/* Expressions that do something with the packet. */

/** nft_immediate_attributes: loads a value, or with `dreg` 0 executes a verdict. */
export const IMMEDIATE = kind('immediate', 'immediate', { dreg: u32(1), data: data(2) });

/** nft_counter_attributes. */
export const COUNTER = kind('counter', 'counter', { bytes: u64(1, 0), packets: u64(2, 0) });

/** nft_limit_attributes: a token bucket of `rate` per `unit` seconds with `burst` more. */
export const LIMIT = kind('limit', 'limit', {
  rate: u64(1),
  unit: u64(2),
  burst: u32(3, 0),
  type: oneOf(4, ['packets', 'bytes'], 'packets'),
  inverted: bit(5, 1),
});

/** nft_reject_attributes. Not a verdict: it sends the refusal and drops. `code` is ICMP's (3 port), for icmpx NFT_REJECT_ICMPX_* (1 port). */
export const REJECT = kind('reject', 'reject', {
  type: oneOf(1, ['icmp', 'tcpReset', 'icmpx']),
  code: always(u8(2, 0)),
});

/** The packet and its flow get no conntrack entry; only useful before priority -200. */
export const NOTRACK = kind('notrack', 'notrack', {});

/** NF_NAT_RANGE_* of linux/netfilter/nf_nat.h. */
export const NF_NAT_RANGE_MAP_IPS = 1;
export const NF_NAT_RANGE_PROTO_SPECIFIED = 2;
const NAT_FAMILIES: ReadonlyMap<'ip' | 'ip6', number> = new Map([
  ['ip', nfproto('ip')],
  ['ip6', nfproto('ip6')],
]);
/** nft_nat_attributes: registers with addresses and ports (big endian). */
export const NAT = kind('nat', 'nat', {
  type: oneOf(1, ['snat', 'dnat']),
  family: named(2, NAT_FAMILIES),
  addrMin: optional(u32(3)),
  addrMax: optional(u32(4)),
  protoMin: optional(u32(5)),
  protoMax: optional(u32(6)),
  flags: u32(7, 0),
});

export const MASQ = kind('masq', 'masq', { flags: u32(1, 0), protoMin: optional(u32(2)), protoMax: optional(u32(3)) });

export const REDIR = kind('redir', 'redir', {
  protoMin: optional(u32(1)),
  protoMax: optional(u32(2)),
  flags: u32(3, 0),
});
