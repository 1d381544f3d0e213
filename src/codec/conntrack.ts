import { Writer } from '../base/bytes.js';
import { WeftError } from '../base/errors.js';
import { family as familyOf, type Ip } from '../base/ip.js';
import type { AttrReader, AttrWriter } from './attr.js';
import {
  CTA_IP_V4_DST,
  CTA_PROTO_NUM,
  CTA_TUPLE_IP,
  CTA_TUPLE_PROTO,
  readTuple,
  type Tuple,
  writeTuple,
} from './conntrack-tuple.js';
import { type Message, NLM_F_ACK, NLM_F_DUMP } from './netlink.js';
import { NFNL_SUBSYS_CTNETLINK, type NfFamily, nfBody, nfMessage } from './nfnl.js';

/*
 * Connection tracking, linux/netfilter/nfnetlink_conntrack.h: flows are read and single ones deleted. All integers are big
 * endian. A delete without tuple flushes the whole namespace in the kernel; it is not offered here.
 */
export const IPCTNL_MSG_CT_NEW = 0;
export const IPCTNL_MSG_CT_GET = 1;
export const IPCTNL_MSG_CT_DELETE = 2;

/* ctattr_type */
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_PROTOINFO = 4;
const CTA_TIMEOUT = 7;
const CTA_MARK = 8;
const CTA_ID = 12;
const CTA_ZONE = 18;
const CTA_MARK_MASK = 21;
const CTA_FILTER = 25;
/* ctattr_protoinfo, ctattr_protoinfo_tcp, ctattr_filter */
const CTA_PROTOINFO_TCP = 1;
const CTA_PROTOINFO_TCP_STATE = 1;
const CTA_FILTER_ORIG_FLAGS = 1;
/** CTA_FILTER_F_* of the kernel's net/netfilter/nf_internals.h (kernel 5.8): the parts of the tuple that count. */
const CTA_FILTER_F_CTA_IP_DST = 1 << 1;
const CTA_FILTER_F_CTA_PROTO_NUM = 1 << 3;

/** enum ip_conntrack_status of linux/netfilter/nf_conntrack_common.h. */
export const IPS_SEEN_REPLY = 1 << 1;
export const IPS_ASSURED = 1 << 2;
export const IPS_CONFIRMED = 1 << 3;

/** enum tcp_conntrack of linux/netfilter/nf_conntrack_tcp.h. */
const TCP_STATES = [
  'none',
  'synSent',
  'synRecv',
  'established',
  'finWait',
  'closeWait',
  'lastAck',
  'timeWait',
  'close',
  'synSent2',
] as const;
export type TcpState = (typeof TCP_STATES)[number];

export interface Flow {
  family: 'ip' | 'ip6';
  /** As the first packet came, before any NAT. */
  original: Tuple;
  /** As replies come: its `src` is who really answers. */
  reply: Tuple;
  /** IPS_* */
  status: number;
  /** 0 where the kernel has no marks. */
  mark: number;
  zone: number;
  /** Seconds left; missing in flows that are handed to hardware. */
  timeout?: number;
  tcpState?: TcpState;
  /** Identity of the entry: a new flow with the same tuples has another. */
  id?: number;
}

/**
 * Which flows a dump shall give. The kernel may give more: IPv6 destinations it does not filter, and one that does not know a
 * filter ignores it (destination and protocol: before 5.8, zone: before 6.8). So `flowMatches` has to look at what comes.
 */
export interface FlowFilter {
  family?: 'ip' | 'ip6';
  mark?: { value: number; mask: number };
  zone?: number;
  protocol?: number;
  /** Destination before NAT, a VIP for example. */
  originalDst?: Ip;
}

/** Dump of the flows of the namespace. @throws WEFT_INVALID_ARGUMENT where family and address disagree */
export function getFlows(seq: number, filter: FlowFilter = {}): Buffer {
  const { mark, zone, protocol, originalDst } = filter;
  const family = filter.family ?? (originalDst === undefined ? 'unspec' : ipFamily(originalDst));
  if (originalDst !== undefined && family !== ipFamily(originalDst)) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `${originalDst} is no address of family ${family}`);
  }
  const w = new Writer(128);
  ctMessage(w, IPCTNL_MSG_CT_GET, NLM_F_DUMP, family, seq, (a) => {
    a.be32(CTA_MARK, mark?.value).be32(CTA_MARK_MASK, mark?.mask).be16(CTA_ZONE, zone);
    writeTupleFilter(a, family, protocol, originalDst);
  });
  return w.done();
}

/**
 * What the kernel can filter by the tuple. Not without a family, which its filter is bound to; and not by IPv6 address:
 * ctnetlink_filter_match_tuple() takes ipv6_addr_cmp() for a test of equality and gives all flows but those asked for (seen in
 * 6.18). flowMatches does the rest.
 */
function writeTupleFilter(
  a: AttrWriter,
  family: NfFamily,
  protocol: number | undefined,
  originalDst: Ip | undefined,
): void {
  const dst = family === 'ip' ? originalDst : undefined;
  if (family === 'unspec' || (protocol === undefined && dst === undefined)) return;
  a.nest(CTA_TUPLE_ORIG, (t) => {
    if (dst !== undefined) t.nest(CTA_TUPLE_IP, (ip) => ip.ip(CTA_IP_V4_DST, dst));
    if (protocol !== undefined) t.nest(CTA_TUPLE_PROTO, (p) => p.u8(CTA_PROTO_NUM, protocol));
  });
  const flags =
    (dst === undefined ? 0 : CTA_FILTER_F_CTA_IP_DST) | (protocol === undefined ? 0 : CTA_FILTER_F_CTA_PROTO_NUM);
  // Host byte order, unlike all else here: ctnetlink_parse_filter() reads it with nla_get_u32().
  a.nest(CTA_FILTER, (f) => f.u32(CTA_FILTER_ORIG_FLAGS, flags));
}

/** Is a flow what the filter asked for? */
export function flowMatches(flow: Flow, { family, mark, zone, protocol, originalDst }: FlowFilter): boolean {
  return (
    (family === undefined || family === flow.family) &&
    (mark === undefined || ((flow.mark & mark.mask) ^ (mark.value & mark.mask)) === 0) &&
    (zone === undefined || zone === flow.zone) &&
    (protocol === undefined || protocol === flow.original.protocol) &&
    (originalDst === undefined || originalDst === flow.original.dst)
  );
}

/**
 * Deletes exactly these entries; each is acknowledged, flow n under `seq + n`. ENOENT (it ended by itself, or another flow has its
 * tuple now) is what was wanted. @throws WEFT_INVALID_ARGUMENT where a flow has no id, so that never a newer flow is hit
 */
export function deleteFlows(flows: readonly Flow[], seq: number): Buffer {
  const w = new Writer(128 * flows.length);
  for (const [i, flow] of flows.entries()) {
    const { id, zone } = flow;
    if (id === undefined) throw new WeftError('WEFT_INVALID_ARGUMENT', 'a flow without id cannot be deleted');
    ctMessage(w, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, flow.family, (seq + i) >>> 0, (a) => {
      a.nest(CTA_TUPLE_ORIG, (t) => writeTuple(t, flow.original));
      if (zone !== 0) a.be16(CTA_ZONE, zone);
      a.be32(CTA_ID, id);
    });
  }
  return w.done();
}

/** Body of an IPCTNL_MSG_CT_NEW, which dumps consist of, or an IPCTNL_MSG_CT_DELETE notification. @throws WEFT_INTERNAL */
export function readFlow(message: Message): Flow {
  const { family, attrs } = nfBody(message, 'conntrack');
  if (family !== 'ip' && family !== 'ip6')
    throw new WeftError('WEFT_INTERNAL', `conntrack: a flow of family ${family}`);
  let original: Tuple | undefined;
  let reply: Tuple | undefined;
  const rest: Omit<Flow, 'family' | 'original' | 'reply'> = { status: 0, mark: 0, zone: 0 };
  while (attrs.next()) {
    switch (attrs.type) {
      case CTA_TUPLE_ORIG:
        original = readTuple(attrs.nested('conntrack tuple'));
        break;
      case CTA_TUPLE_REPLY:
        reply = readTuple(attrs.nested('conntrack tuple'));
        break;
      case CTA_STATUS:
        rest.status = attrs.be32();
        break;
      case CTA_MARK:
        rest.mark = attrs.be32();
        break;
      case CTA_ZONE:
        rest.zone = attrs.be16();
        break;
      case CTA_TIMEOUT:
        rest.timeout = attrs.be32();
        break;
      case CTA_ID:
        rest.id = attrs.be32();
        break;
      case CTA_PROTOINFO: {
        const state = readTcpState(attrs.nested('conntrack protocol'));
        if (state !== undefined) rest.tcpState = state;
        break;
      }
    }
  }
  if (original === undefined || reply === undefined)
    throw new WeftError('WEFT_INTERNAL', 'conntrack: a flow without tuples');
  return { family, original, reply, ...rest };
}

function ctMessage(
  w: Writer,
  operation: number,
  flags: number,
  family: NfFamily,
  seq: number,
  write: (a: AttrWriter) => void,
): void {
  nfMessage(w, { subsystem: NFNL_SUBSYS_CTNETLINK, operation, flags, family }, seq, write);
}

function ipFamily(ip: Ip): 'ip' | 'ip6' {
  return familyOf(ip) === 4 ? 'ip' : 'ip6';
}

function readTcpState(a: AttrReader): TcpState | undefined {
  while (a.next()) {
    if (a.type !== CTA_PROTOINFO_TCP) continue;
    const tcp = a.nested('conntrack tcp');
    while (tcp.next()) if (tcp.type === CTA_PROTOINFO_TCP_STATE) return TCP_STATES[tcp.u8()];
  }
  return undefined;
}
