import { WeftError } from './errors.js';
import { bits, type Cidr, type Family, family, type Ip, ipBytes, ipText, tryIpBytes } from './ip.js';

/** A network in parts. `first` is the address with no host bits set. */
export interface Prefix {
  family: Family;
  first: Ip;
  length: number;
}

/** @throws WEFT_INVALID_SUBNET where the text is malformed or has host bits set. */
export function parseCidr(text: string): Prefix {
  const { ip, length } = parseInterface(text);
  const first = ipText(masked(ipBytes(ip), length));
  if (first !== ip) {
    throw new WeftError('WEFT_INVALID_SUBNET', `"${text}" has bits set beyond its prefix`, `write ${first}/${length}`);
  }
  return { family: family(ip), first, length };
}

/** `ADDRESS/LENGTH` where host bits may be set, as on an interface. @throws WEFT_INVALID_SUBNET */
export function parseInterface(text: string): { ip: Ip; length: number } {
  const slash = text.indexOf('/');
  const bytes = slash < 0 ? undefined : tryIpBytes(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  const length = /^(0|[1-9]\d{0,2})$/.test(digits) ? Number(digits) : -1;
  if (!bytes || length < 0 || length > bytes.length * 8) {
    throw new WeftError(
      'WEFT_INVALID_SUBNET',
      `"${text}" is not ADDRESS/LENGTH`,
      'for example 10.0.0.0/24 or fd00::/64',
    );
  }
  return { ip: ipText(bytes), length };
}

export function cidrText(p: Prefix): Cidr {
  return `${p.first}/${p.length}`;
}

export function contains(p: Prefix, ip: Ip): boolean {
  return family(ip) === p.family && ipText(masked(ipBytes(ip), p.length)) === p.first;
}

/** Do two prefixes share any address? One then contains the other. */
export function overlaps(a: Prefix, b: Prefix): boolean {
  return a.length <= b.length ? contains(a, b.first) : contains(b, a.first);
}

/** The n-th address of a prefix. @throws RangeError beyond its end. */
export function nth(p: Prefix, n: bigint): Ip {
  if (n < 0n || n >= size(p)) throw new RangeError(`${cidrText(p)} has no address number ${n}`);
  return fromNumber(toNumber(p.first) + n, p.family);
}

/** How many addresses a prefix has, network and broadcast address included. */
export function size(p: Prefix): bigint {
  return 1n << BigInt(bits(p.family) - p.length);
}

/** Last address: the broadcast address of an IPv4 subnet. */
export function last(p: Prefix): Ip {
  return nth(p, size(p) - 1n);
}

export function toNumber(ip: Ip): bigint {
  let n = 0n;
  for (const byte of ipBytes(ip)) n = (n << 8n) | BigInt(byte);
  return n;
}

export function fromNumber(n: bigint, of: Family): Ip {
  const out = new Uint8Array(of === 4 ? 4 : 16);
  for (let i = out.length - 1; i >= 0; i--) {
    out[i] = Number(n & 255n);
    n >>= 8n;
  }
  return ipText(out);
}

function masked(bytes: Uint8Array, length: number): Uint8Array {
  const out = Uint8Array.from(bytes);
  for (let i = 0; i < out.length; i++) {
    const keep = Math.min(8, Math.max(0, length - 8 * i));
    out[i] = (out[i] as number) & (0xff << (8 - keep));
  }
  return out;
}
