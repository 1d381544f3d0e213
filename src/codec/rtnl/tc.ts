import { Reader, type Writer } from '../../base/bytes.js';
import { AttrReader, AttrWriter } from '../attr.js';

/* linux/rtnetlink.h, linux/pkt_sched.h, linux/pkt_cls.h. */
export const RTM_NEWQDISC = 36;
export const RTM_DELQDISC = 37;
export const RTM_GETQDISC = 38;
export const RTM_NEWTFILTER = 44;
export const RTM_DELTFILTER = 45;
export const RTM_GETTFILTER = 46;

/** Parent of the queueing discipline that everything leaves by. */
export const TC_H_ROOT = 0xffffffff;
/** Parent of the one that sees what comes in, and its handle. */
export const TC_H_INGRESS = 0xfffffff1;
export const INGRESS_HANDLE = 0xffff0000;
/** Parent of its filters, of kind `ingress` and `clsact` alike: TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS). */
const INGRESS_FILTERS = 0xfffffff2;

const TCA_KIND = 1;
const TCA_OPTIONS = 2;

/* linux/pkt_sched.h, TBF section. */
const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;
const TCA_TBF_BURST = 6;
/** struct tc_ratespec.linklayer: without it the kernel wants a table of 256 transmission times, made by user space. */
const TC_LINKLAYER_ETHERNET = 1;
const RATESPEC_LENGTH = 12;
/** PSCHED_SHIFT of net/pkt_sched.h: the tick of all times in messages is 64 ns. */
const TICK_NS = 64;
const NS_PER_SECOND = 1e9;
const U32_MAX = 0xffffffff;

/* linux/pkt_cls.h, U32 section, and linux/tc_act/tc_mirred.h. */
const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TC_U32_TERMINAL = 1;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
/** sizeof(struct tc_mirred) up to eaction: index, capab, action, refcnt, bindcnt. */
const TC_GEN_LENGTH = 20;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;
/** Behind the priority in tcm_info: ETH_P_ALL (3) in network byte order. */
const ETH_P_ALL = 0x0300;

/** A token bucket: what leaves waits until its bytes are earned. */
export interface Tbf {
  /** Bytes a second. */
  rate: number;
  /** Bytes that may leave at once; reported with the error of a 64 ns tick. */
  burst: number;
  /** Bytes that may wait. */
  limit: number;
}

/** struct tcmsg and its attributes: a queueing discipline. */
export interface Qdisc {
  index: number;
  /** Major number in the upper half; 0 is the kernel's own default. */
  handle: number;
  parent: number;
  kind: string;
  /** Of kind `tbf`. */
  tbf?: Tbf;
}

/** The body of an RTM_NEWQDISC or RTM_DELQDISC. */
export function writeQdisc(w: Writer, q: Qdisc): void {
  header(w, { index: q.index, handle: q.handle, parent: q.parent, info: 0 });
  const { tbf } = q;
  const a = new AttrWriter(w).string(TCA_KIND, q.kind);
  if (tbf) a.nest(TCA_OPTIONS, (a) => writeTbf(a, tbf));
}

/** The body of an RTM_GETQDISC with NLM_F_DUMP: those of all devices. */
export function writeQdiscDump(w: Writer): void {
  header(w, { index: 0, handle: 0, parent: 0, info: 0 });
}

/** @throws WEFT_INTERNAL where the bytes are no qdisc message. */
export function readQdisc(body: Uint8Array): Qdisc {
  const { index, handle, parent, attributes } = readHeader(body);
  const q: Qdisc = { index, handle, parent, kind: '' };
  let options: AttrReader | undefined;
  while (attributes.next()) {
    if (attributes.type === TCA_KIND) q.kind = attributes.string();
    else if (attributes.type === TCA_OPTIONS) options = attributes.nested('options of a qdisc');
  }
  if (q.kind === 'tbf' && options) q.tbf = readTbf(options);
  return q;
}

/** A u32 filter on what comes in that hands all of it to another device. */
export interface RedirectFilter {
  index: number;
  /** From 1; lower ones are asked first. */
  priority: number;
  /** Index of the device. Absent on reading: another kind of filter, or one that does something else. */
  to?: number;
}

/** The body of an RTM_NEWTFILTER (`to` given), or of an RTM_DELTFILTER of all filters of that priority. */
export function writeRedirect(w: Writer, f: RedirectFilter): void {
  header(w, { index: f.index, handle: 0, parent: INGRESS_FILTERS, info: ((f.priority << 16) | ETH_P_ALL) >>> 0 });
  const { to } = f;
  const a = new AttrWriter(w).string(TCA_KIND, 'u32');
  if (to === undefined) return;
  a.nest(TCA_OPTIONS, (a) =>
    a.block(TCA_U32_SEL, (a) => matchAll(a.w)).nest(TCA_U32_ACT, (a) => a.nest(1, (a) => mirred(a, to))),
  );
}

/** The body of an RTM_GETTFILTER with NLM_F_DUMP: those of one device on what comes in. */
export function writeFilterDump(w: Writer, f: { index: number }): void {
  header(w, { index: f.index, handle: 0, parent: INGRESS_FILTERS, info: 0 });
}

/**
 * One row of a dump of filters. The kernel answers several for one u32 filter: its table, then its rules.
 * @throws WEFT_INTERNAL where the bytes are no filter message.
 */
export function readFilter(body: Uint8Array): RedirectFilter {
  const { index, info, attributes } = readHeader(body);
  const f: RedirectFilter = { index, priority: info >>> 16 };
  let options: AttrReader | undefined;
  let kind = '';
  while (attributes.next()) {
    if (attributes.type === TCA_KIND) kind = attributes.string();
    else if (attributes.type === TCA_OPTIONS) options = attributes.nested('options of a filter');
  }
  const to = kind === 'u32' && options && (info & 0xffff) === ETH_P_ALL ? readMatchAll(options) : undefined;
  if (to !== undefined) f.to = to;
  return f;
}

interface Header {
  index: number;
  handle: number;
  parent: number;
  info: number;
}

function header(w: Writer, h: Header): void {
  w.u8(0).pad(3).u32(h.index).u32(h.handle).u32(h.parent).u32(h.info);
}

function readHeader(body: Uint8Array): Header & { attributes: AttrReader } {
  const r = new Reader(body);
  r.skip(4);
  const h = { index: r.u32(), handle: r.u32(), parent: r.u32(), info: r.u32() };
  return { ...h, attributes: new AttrReader(r.take(r.left), 'traffic control') };
}

function writeTbf(a: AttrWriter, { rate, burst, limit }: Tbf): void {
  const ticks = Math.min(U32_MAX, Math.round((burst / rate) * (NS_PER_SECOND / TICK_NS)));
  a.block(TCA_TBF_PARMS, ({ w }) => {
    w.u8(0).u8(TC_LINKLAYER_ETHERNET).pad(6).u32(Math.min(rate, U32_MAX));
    w.pad(RATESPEC_LENGTH).u32(limit).u32(ticks).u32(0);
  });
  // Ticks round the burst, and the kernel counts bytes where it gets them.
  a.u32(TCA_TBF_BURST, burst);
  if (rate >= U32_MAX) a.u64(TCA_TBF_RATE64, BigInt(rate));
}

function readTbf(a: AttrReader): Tbf {
  let [rate, limit, ticks] = [0, 0, 0];
  let rate64: bigint | undefined;
  while (a.next()) {
    if (a.type === TCA_TBF_RATE64) rate64 = a.u64();
    if (a.type !== TCA_TBF_PARMS) continue;
    const r = new Reader(a.bytes());
    r.skip(RATESPEC_LENGTH - 4);
    rate = r.u32();
    r.skip(RATESPEC_LENGTH);
    limit = r.u32();
    ticks = r.u32();
  }
  if (rate64 !== undefined) rate = Number(rate64);
  return { rate, limit, burst: Math.round((ticks * TICK_NS * rate) / NS_PER_SECOND) };
}

/** struct tc_u32_sel with one struct tc_u32_key that matches every packet, as `match u32 0 0`. */
function matchAll(w: Writer): void {
  w.u8(TC_U32_TERMINAL).u8(0).u8(1).pad(13).pad(16);
}

/** @returns the index to which all that comes in goes, where that is what the rule does */
function readMatchAll(a: AttrReader): number | undefined {
  let all = false;
  let to: number | undefined;
  while (a.next()) {
    if (a.type === TCA_U32_SEL) {
      const r = new Reader(a.bytes());
      r.skip(2);
      const keys = r.u8();
      r.skip(13);
      all = keys === 1 && r.u32() === 0;
    } else if (a.type === TCA_U32_ACT) {
      const actions = a.nested('actions of a filter');
      if (actions.next()) to = readMirred(actions.nested('action'));
    }
  }
  return all ? to : undefined;
}

function mirred(a: AttrWriter, to: number): void {
  a.string(TCA_ACT_KIND, 'mirred').nest(TCA_ACT_OPTIONS, (a) =>
    a.block(TCA_MIRRED_PARMS, ({ w }) => w.pad(8).u32(TC_ACT_STOLEN).pad(8).u32(TCA_EGRESS_REDIR).u32(to)),
  );
}

function readMirred(a: AttrReader): number | undefined {
  let kind = '';
  let to: number | undefined;
  while (a.next()) {
    if (a.type === TCA_ACT_KIND) kind = a.string();
    if (a.type !== TCA_ACT_OPTIONS) continue;
    const options = a.nested('options of an action');
    while (options.next()) {
      if (options.type !== TCA_MIRRED_PARMS) continue;
      const r = new Reader(options.bytes());
      r.skip(TC_GEN_LENGTH);
      const redirects = r.u32() === TCA_EGRESS_REDIR;
      const index = r.u32();
      if (redirects) to = index;
    }
  }
  return kind === 'mirred' ? to : undefined;
}
