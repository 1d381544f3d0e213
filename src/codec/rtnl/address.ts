import { Reader, type Writer } from '../../base/bytes.js';
import type { Ip } from '../../base/ip.js';
import { AttrReader, AttrWriter } from '../attr.js';
import { AF_UNSPEC, requireFamily, requirePrefix } from './family.js';

/* linux/rtnetlink.h, linux/if_addr.h. */
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;

/** IPv6: made by the kernel for privacy, for a day. IPv4 (IFA_F_SECONDARY): not the first of its subnet. */
export const IFA_F_TEMPORARY = 0x01;
/** IPv6: skip duplicate address detection. */
export const IFA_F_NODAD = 0x02;
export const IFA_F_DADFAILED = 0x08;
/** For connections that exist only. */
export const IFA_F_DEPRECATED = 0x20;
/** IPv6: not usable yet. */
export const IFA_F_TENTATIVE = 0x40;
/** Reported: the lifetime is infinite. */
export const IFA_F_PERMANENT = 0x80;
/** Add no route for the prefix. */
export const IFA_F_NOPREFIXROUTE = 0x200;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_LABEL = 3;
const IFA_BROADCAST = 4;
const IFA_CACHEINFO = 6;
const IFA_FLAGS = 8;
const IFA_TARGET_NETNSID = 10;
/** Kernel 5.18; older ones ignore it in requests and never report it. */
const IFA_PROTO = 11;

/** struct ifaddrmsg and its attributes: RTM_NEWADDR, RTM_DELADDR. */
export interface Address {
  /** AF_INET or AF_INET6. */
  family: number;
  prefixLength: number;
  /** RT_SCOPE_* */
  scope: number;
  /** ifindex */
  index: number;
  /** IFA_F_*, all 32 bits. */
  flags: number;
  /**
   * The interface's own address. IPv4 always has it; IPv6 reports it for point-to-point addresses only. In requests give
   * both it and `address`, equal unless point-to-point.
   */
  local?: Ip;
  /** The peer's address of a point-to-point link, else the same as `local`. */
  address?: Ip;
  /** IPv4 only. */
  broadcast?: Ip;
  /** IPv4 only; by default the interface's name. */
  label?: string;
  /** IFA_PROTO: who added it. */
  protocol?: number;
  /** Seconds left, 0xffffffff is forever; reported. */
  lifetime?: { preferred: number; valid: number };
  /** Reported where it was asked for. */
  targetNetnsid?: number;
}

/** Strict checking accepts the header's ifindex and a target namespace as filters of a dump, nothing else. */
export type AddressFilter = Partial<Pick<Address, 'family' | 'index' | 'targetNetnsid'>>;

/** The interface's own address, however the kernel reported it. */
export function ownAddress(a: Address): Ip | undefined {
  return a.local ?? a.address;
}

/** The body of an RTM_NEWADDR or RTM_DELADDR. Lifetimes are not written: the kernel's default is forever. */
export function writeAddress(w: Writer, m: Address): void {
  requirePrefix(m.family, m.prefixLength, 'an interface address');
  requireFamily(m.family, m.local, 'local address');
  requireFamily(m.family, m.address, 'address');
  requireFamily(m.family, m.broadcast, 'broadcast address');
  const isWide = m.flags > 0xff;
  w.u8(m.family)
    .u8(m.prefixLength)
    .u8(isWide ? 0 : m.flags)
    .u8(m.scope)
    .u32(m.index);
  new AttrWriter(w)
    .i32(IFA_TARGET_NETNSID, m.targetNetnsid)
    .ip(IFA_LOCAL, m.local)
    .ip(IFA_ADDRESS, m.address)
    .ip(IFA_BROADCAST, m.broadcast)
    .string(IFA_LABEL, m.label)
    .u32(IFA_FLAGS, isWide ? m.flags : undefined)
    .u8(IFA_PROTO, m.protocol);
}

/** The body of an RTM_GETADDR with NLM_F_DUMP. */
export function writeAddressDump(w: Writer, f: AddressFilter): void {
  w.u8(f.family ?? AF_UNSPEC)
    .pad(3)
    .u32(f.index ?? 0);
  new AttrWriter(w).i32(IFA_TARGET_NETNSID, f.targetNetnsid);
}

/** @throws WEFT_INTERNAL where the bytes are no address message. */
export function readAddress(body: Uint8Array): Address {
  const r = new Reader(body);
  const family = r.u8();
  const prefixLength = r.u8();
  const flags = r.u8();
  const scope = r.u8();
  const m: Address = { family, prefixLength, scope, index: r.u32(), flags };
  const a = new AttrReader(r.take(r.left), 'address');
  while (a.next()) {
    switch (a.type) {
      case IFA_ADDRESS:
        m.address = a.ip();
        break;
      case IFA_LOCAL:
        m.local = a.ip();
        break;
      case IFA_LABEL:
        m.label = a.string();
        break;
      case IFA_BROADCAST:
        m.broadcast = a.ip();
        break;
      case IFA_CACHEINFO: {
        const c = new Reader(a.bytes());
        m.lifetime = { preferred: c.u32(), valid: c.u32() };
        break;
      }
      case IFA_FLAGS:
        m.flags = a.u32();
        break;
      case IFA_TARGET_NETNSID:
        m.targetNetnsid = a.i32();
        break;
      case IFA_PROTO:
        m.protocol = a.u8();
        break;
    }
  }
  return m;
}
