import { Reader, type Writer } from '../../base/bytes.js';
import type { Ip } from '../../base/ip.js';
import { AttrReader, AttrWriter } from '../attr.js';
import { requireFamily, requirePrefix } from './family.js';

/* linux/rtnetlink.h, linux/fib_rules.h. */
export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
export const RTM_GETRULE = 34;

export const FR_ACT_TO_TBL = 1;
export const FR_ACT_NOP = 3;
export const FR_ACT_BLACKHOLE = 6;
export const FR_ACT_UNREACHABLE = 7;
export const FR_ACT_PROHIBIT = 8;

const FRA_DST = 1;
const FRA_SRC = 2;
const FRA_IIFNAME = 3;
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_SUPPRESS_PREFIXLEN = 14;
const FRA_TABLE = 15;
const FRA_FWMASK = 16;
const FRA_OIFNAME = 17;
/** These three: kernel 4.17. */
const FRA_PROTOCOL = 21;
const FRA_IP_PROTO = 22;
const FRA_SPORT_RANGE = 23;

/** fib_rules.h has no name for it: every bit set is the kernel's "do not suppress". */
const NO_SUPPRESSION = 0xffffffff;

/** struct fib_rule_hdr and its attributes: RTM_NEWRULE, RTM_DELRULE. */
export interface Rule {
  /** AF_INET or AF_INET6. */
  family: number;
  /** FR_ACT_* */
  action: number;
  /** 32 bits; the header's 8 bits and FRA_TABLE are one field here. 0 for other actions than FR_ACT_TO_TBL. */
  table: number;
  /** FIB_RULE_*: 2 inverts the selector; reported 8 and 16: the named interface does not exist now. */
  flags?: number;
  /** Rules of equal priority are kept in the order of their arrival. */
  priority?: number;
  fwmark?: number;
  /** The kernel takes 0xffffffff where a mark comes without mask. */
  fwmask?: number;
  /** Names, not indexes: a rule outlives its interface. */
  iif?: string;
  oif?: string;
  dst?: Ip;
  dstLength?: number;
  src?: Ip;
  srcLength?: number;
  tos?: number;
  /** IPPROTO_* (linux/in.h). */
  ipProto?: number;
  /** struct fib_rule_port_range. */
  sourcePorts?: { start: number; end: number };
  /** FRA_PROTOCOL: who added it. A delete that names it removes no other's rule. */
  protocol?: number;
  /** Ignore routes found by this rule whose prefix is at most this long: 0 hides default routes. */
  suppressPrefixLength?: number;
}

/** The body of an RTM_NEWRULE or RTM_DELRULE. @throws WEFT_INVALID_ADDRESS, WEFT_INVALID_ARGUMENT */
export function writeRule(w: Writer, m: Rule): void {
  requirePrefix(m.family, m.dstLength ?? 0, 'a rule');
  requirePrefix(m.family, m.srcLength ?? 0, 'a rule');
  requireFamily(m.family, m.dst, 'destination');
  requireFamily(m.family, m.src, 'source');
  w.u8(m.family)
    .u8(m.dstLength ?? 0)
    .u8(m.srcLength ?? 0)
    .u8(m.tos ?? 0)
    .u8(m.table > 0xff ? 0 : m.table)
    .pad(2)
    .u8(m.action)
    .u32(m.flags ?? 0);
  const a = new AttrWriter(w)
    .u32(FRA_PRIORITY, m.priority)
    .ip(FRA_SRC, m.src)
    .ip(FRA_DST, m.dst)
    .u32(FRA_FWMARK, m.fwmark)
    .u32(FRA_FWMASK, m.fwmask)
    .string(FRA_IIFNAME, m.iif)
    .string(FRA_OIFNAME, m.oif)
    .u8(FRA_PROTOCOL, m.protocol)
    .u8(FRA_IP_PROTO, m.ipProto)
    .u32(FRA_SUPPRESS_PREFIXLEN, m.suppressPrefixLength);
  if (m.table > 0xff) a.u32(FRA_TABLE, m.table);
  const { sourcePorts } = m;
  if (sourcePorts) a.block(FRA_SPORT_RANGE, ({ w }) => w.u16(sourcePorts.start).u16(sourcePorts.end));
}

/** The body of an RTM_GETRULE with NLM_F_DUMP; strict checking accepts no filter but the family. */
export function writeRuleDump(w: Writer, f: Pick<Rule, 'family'>): void {
  w.u8(f.family).pad(11);
}

/** @throws WEFT_INTERNAL where the bytes are no rule message. */
export function readRule(body: Uint8Array): Rule {
  const r = new Reader(body);
  const family = r.u8();
  const dstLength = r.u8();
  const srcLength = r.u8();
  const tos = r.u8();
  const table = r.u8();
  r.skip(2);
  const action = r.u8();
  const m: Rule = { family, dstLength, srcLength, tos, table, action, flags: r.u32() };
  const a = new AttrReader(r.take(r.left), 'rule');
  while (a.next()) readAttribute(a, m);
  return m;
}

function readAttribute(a: AttrReader, m: Rule): void {
  switch (a.type) {
    case FRA_DST:
      m.dst = a.ip();
      break;
    case FRA_SRC:
      m.src = a.ip();
      break;
    case FRA_IIFNAME:
      m.iif = a.string();
      break;
    case FRA_OIFNAME:
      m.oif = a.string();
      break;
    case FRA_PRIORITY:
      m.priority = a.u32();
      break;
    case FRA_FWMARK:
      m.fwmark = a.u32();
      break;
    case FRA_FWMASK:
      m.fwmask = a.u32();
      break;
    case FRA_TABLE:
      m.table = a.u32();
      break;
    case FRA_PROTOCOL:
      m.protocol = a.u8();
      break;
    case FRA_IP_PROTO:
      m.ipProto = a.u8();
      break;
    case FRA_SPORT_RANGE: {
      const r = new Reader(a.bytes());
      m.sourcePorts = { start: r.u16(), end: r.u16() };
      break;
    }
    case FRA_SUPPRESS_PREFIXLEN: {
      const length = a.u32();
      if (length !== NO_SUPPRESSION) m.suppressPrefixLength = length;
      break;
    }
  }
}
