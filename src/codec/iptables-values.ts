import { bits, canonicalIp, type Family, ipText, tryIpBytes } from '../base/ip.js';

/*
 * Values of iptables options as iptables-save 1.8.9 prints them, legacy and nft alike (the two were compared rule by rule).
 * What a function does not understand comes back as it was: it compares unequal rather than being refused.
 */

/** Order in which xt_conntrack's extension prints, not the order of the bits. */
const CTSTATE = ['INVALID', 'NEW', 'RELATED', 'ESTABLISHED', 'UNTRACKED', 'SNAT', 'DNAT'];
const CTSTATUS = ['EXPECTED', 'SEEN_REPLY', 'ASSURED', 'CONFIRMED'];
/** RTN_* of linux/rtnetlink.h. */
const ADDRTYPE =
  'UNSPEC UNICAST LOCAL BROADCAST ANYCAST MULTICAST BLACKHOLE UNREACHABLE PROHIBIT THROW NAT XRESOLVE'.split(' ');
const TCP_FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG'];

/** Names that libxtables knows by itself; others come from /etc/protocols and would differ between machines. */
const PROTOCOLS: ReadonlyMap<string, string> = new Map([
  ['1', 'icmp'],
  ['6', 'tcp'],
  ['17', 'udp'],
  ['50', 'esp'],
  ['51', 'ah'],
  ['58', 'ipv6-icmp'],
  ['icmpv6', 'ipv6-icmp'],
  ['132', 'sctp'],
  ['136', 'udplite'],
]);

const MASK_ALL = 0xffffffff;

export const ctstate = (list: string): string => inOrder(list, CTSTATE);
export const ctstatus = (list: string): string => inOrder(list, CTSTATUS);
export const addrtype = (list: string): string => inOrder(list, ADDRTYPE);

export function tcpFlags(list: string): string {
  const upper = list.toUpperCase();
  if (upper === 'NONE') return upper;
  return upper === 'ALL' ? TCP_FLAGS.join(',') : inOrder(upper, TCP_FLAGS);
}

function inOrder(list: string, order: readonly string[]): string {
  const given = new Set(list.toUpperCase().split(','));
  const known = order.filter((one) => given.has(one));
  return known.length === given.size ? known.join(',') : list;
}

/** The protocol's name, or undefined for "all", which is not printed. */
export function protocol(text: string): string | undefined {
  const lower = text.toLowerCase();
  return lower === 'all' || lower === '0' ? undefined : (PROTOCOLS.get(lower) ?? lower);
}

/** `80`, `1000:2000`, with open ends filled in. */
export function portRange(text: string): string {
  const parts = /^(\d*):(\d*)$/.exec(text);
  if (!parts) return text;
  const from = parts[1] || '0';
  const to = parts[2] || '65535';
  return from === to ? from : `${from}:${to}`;
}

/** The same for TCP and UDP (not SCTP), where all ports are not printed. */
export function somePorts(text: string): string | undefined {
  const range = portRange(text);
  return range === '0:65535' ? undefined : range;
}

/** Two numbers of 32 bits; a `/` separates them. Bases as strtoul(…, 0) has them. */
export function markPair(text: string): { value: number; mask: number | undefined } | undefined {
  const [value, mask, ...rest] = text.split('/').map(u32);
  if (value === undefined || rest.length > 0 || (text.includes('/') && mask === undefined)) return undefined;
  return { value, mask };
}

/** Operand of `-m mark` and `-m connmark`: a full mask is not printed. */
export function markMatch(text: string): string {
  const pair = markPair(text);
  if (!pair) return text;
  return pair.mask === undefined || pair.mask === MASK_ALL ? hex(pair.value) : `${hex(pair.value)}/${hex(pair.mask)}`;
}

/** Operand of --set-xmark: `(old & ~mask) ^ value`, mask always printed. */
export function xmark(value: number, mask = MASK_ALL): string {
  return `${hex(value)}/${hex(mask)}`;
}

/** 0x and lower case digits; takes negative results of JavaScript's bit operators too. */
export function hex(n: number): string {
  return `0x${(n >>> 0).toString(16)}`;
}

export function u32(text: string): number | undefined {
  let n = Number.NaN;
  if (/^0[0-7]+$/.test(text)) n = Number.parseInt(text, 8);
  else if (/^(0[xX][0-9a-fA-F]+|\d+)$/.test(text)) n = Number(text);
  return n >= 0 && n <= MASK_ALL ? n : undefined;
}

/** Every number of a u32 expression in hex and no spaces. */
export function u32Tests(text: string): string {
  return text.replace(/\s+/g, '').replace(/0[xX][0-9a-fA-F]+|\d+/g, (n) => {
    const value = u32(n);
    return value === undefined ? n : hex(value);
  });
}

/**
 * Operand of -s and -d: always with a prefix, host bits cleared; undefined for "any", which is not printed. A mask with gaps
 * stays a mask, and then the address keeps its host bits.
 */
export function source(text: string): string | undefined {
  const [address, mask] = split(text, '/');
  const bytes = tryIpBytes(address);
  if (!bytes) return text;
  const of: Family = bytes.length === 4 ? 4 : 6;
  const length = mask === undefined ? bits(of) : prefixLength(mask, of);
  if (length === undefined) return `${ipText(bytes)}/${mask}`;
  if (length === 0) return undefined;
  const cleared = bytes.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))));
  return `${ipText(cleared)}/${length}`;
}

/** Operand of --ctorigdst and its kin: a full prefix is not printed, host bits are. */
export function hostOrNet(text: string): string {
  const [address, mask] = split(text, '/');
  const bytes = tryIpBytes(address);
  if (!bytes) return text;
  const of: Family = bytes.length === 4 ? 4 : 6;
  const length = mask === undefined ? bits(of) : (prefixLength(mask, of) ?? mask);
  return length === bits(of) ? ipText(bytes) : `${ipText(bytes)}/${length}`;
}

function prefixLength(mask: string, of: Family): number | undefined {
  if (/^\d{1,3}$/.test(mask)) return Number(mask) <= bits(of) ? Number(mask) : undefined;
  const bytes = tryIpBytes(mask);
  if (!bytes || bytes.length * 8 !== bits(of)) return undefined;
  const ones = Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0')).join('');
  const length = ones.indexOf('0') < 0 ? ones.length : ones.indexOf('0');
  return ones.includes('1', length) ? undefined : length;
}

/** Operand of --to-destination and --to-source: `[ADDRESS[-ADDRESS]][:PORT[-PORT]]`, IPv6 in brackets where a port follows. */
export function natRange(text: string): string {
  const parts = /^\[([^\]]*)\](?::(.*))?$/.exec(text) ?? /^([^:]*)(?::([^:]*))?$/.exec(text) ?? [text, text];
  const addresses = pair(parts[1] ?? '', (one) => (tryIpBytes(one) ? canonicalIp(one) : one));
  const ports = parts[2];
  if (ports === undefined) return addresses;
  const host = addresses.includes(':') ? `[${addresses}]` : addresses;
  return `${host}:${pair(ports, (one) => one)}`;
}

/** `5-5` is printed `5`. */
export function portDash(text: string): string {
  return pair(text, (one) => one);
}

function pair(text: string, each: (one: string) => string): string {
  const [from, to] = split(text, '-');
  const first = each(from);
  const second = to === undefined ? first : each(to);
  return first === second ? first : `${first}-${second}`;
}

function split(text: string, at: string): [string, string | undefined] {
  const i = text.indexOf(at);
  return i < 0 ? [text, undefined] : [text.slice(0, i), text.slice(i + 1)];
}
