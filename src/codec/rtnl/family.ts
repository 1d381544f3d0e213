import { WeftError } from '../../base/errors.js';
import { family, type Ip } from '../../base/ip.js';

/** Address families of rtnetlink headers, linux/socket.h. */
export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;

/** AF_INET or AF_INET6. */
export function addressFamily(ip: Ip): number {
  return family(ip) === 4 ? AF_INET : AF_INET6;
}

/**
 * Refuses an address of another family than the header says: the kernel would read the first bytes of it, or answer
 * EINVAL without a word.
 * @throws WEFT_INVALID_ADDRESS
 */
export function requireFamily(of: number, ip: Ip | undefined, what: string): void {
  if (ip !== undefined && addressFamily(ip) !== of) {
    throw new WeftError('WEFT_INVALID_ADDRESS', `${what} ${ip} is not of address family ${of}`);
  }
}

/** A prefix length of an address family. @throws WEFT_INVALID_ADDRESS */
export function requirePrefix(of: number, length: number, what: string): void {
  if (!Number.isInteger(length) || length < 0 || length > (of === AF_INET ? 32 : 128)) {
    throw new WeftError('WEFT_INVALID_ADDRESS', `${length} is no prefix length of ${what} in address family ${of}`);
  }
}
