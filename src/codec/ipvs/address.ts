import { WeftError } from '../../base/errors.js';
import { type Family, family, type Ip, ipBytes, ipText } from '../../base/ip.js';
import type { AttrReader, AttrWriter } from '../attr.js';

/** linux/socket.h; IPVS sends them as u16 in host order. */
const AF_INET = 2;
const AF_INET6 = 10;

/** sizeof(union nf_inet_addr), linux/netfilter.h: IPv4 sits in the first four bytes, the rest is zero. */
const UNION_LENGTH = 16;

export function afOf(of: Family): number {
  return of === 4 ? AF_INET : AF_INET6;
}

/** @throws WEFT_INTERNAL for any other address family: IPVS has none. */
export function familyOf(af: number): Family {
  if (af === AF_INET) return 4;
  if (af === AF_INET6) return 6;
  throw new WeftError('WEFT_INTERNAL', `ipvs: address family ${af}`);
}

/**
 * Always 16 bytes, network order: the kernel copies no more than the attribute holds and ipvsadm sends the whole union.
 * @throws WEFT_INVALID_ADDRESS
 */
export function writeUnion(a: AttrWriter, type: number, ip: Ip): void {
  const payload = new Uint8Array(UNION_LENGTH);
  payload.set(ipBytes(ip));
  a.bytes(type, payload);
}

/** The raw union; which part counts is only known with the address family, which may follow it. */
export function readUnion(a: AttrReader): Uint8Array {
  const payload = a.bytes();
  if (payload.length !== UNION_LENGTH) {
    throw new WeftError('WEFT_INTERNAL', `${a.where}: an address of ${payload.length} bytes, ${UNION_LENGTH} expected`);
  }
  return payload;
}

export function unionIp(payload: Uint8Array, of: Family): Ip {
  return ipText(of === 4 ? payload.subarray(0, 4) : payload);
}

/** @throws WEFT_INVALID_ADDRESS where the address is not of that family. */
export function expectFamily(ip: Ip, of: Family): void {
  if (family(ip) !== of) throw new WeftError('WEFT_INVALID_ADDRESS', `"${ip}" is not an IPv${of} address`);
}
