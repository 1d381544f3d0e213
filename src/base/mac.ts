import { createHash } from 'node:crypto';
import { WeftError } from './errors.js';
import { family, type Ip, ipBytes, ipText, type Mac } from './ip.js';

/** Six bytes. @throws WEFT_INVALID_ADDRESS */
export function macBytes(text: Mac): Uint8Array {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) {
    throw new WeftError('WEFT_INVALID_ADDRESS', `"${text}" is not a MAC address`, 'for example 02:42:0a:00:00:02');
  }
  return Uint8Array.from(text.split(':'), (pair) => Number.parseInt(pair, 16));
}

const DIGITS = Buffer.from('0123456789abcdef');
const TEXT = Buffer.from('00:00:00:00:00:00');

/** Canonical text of six bytes, in one piece: what `+` puts together is kept as a chain of pieces, twice as large. */
export function macText(bytes: Uint8Array): Mac {
  for (let i = 0; i < 6; i++) {
    const byte = bytes[i] as number;
    TEXT[3 * i] = DIGITS[byte >> 4] as number;
    TEXT[3 * i + 1] = DIGITS[byte & 15] as number;
  }
  return TEXT.toString('latin1');
}

/** Canonical form; refuses multicast addresses, which no interface may have. @throws WEFT_INVALID_ADDRESS */
export function canonicalMac(text: string): Mac {
  const bytes = macBytes(text);
  if ((bytes[0] as number) & 1 || bytes.every((b) => b === 0)) {
    throw new WeftError('WEFT_INVALID_ADDRESS', `"${text}" cannot be the address of an interface`, 'use a unicast MAC');
  }
  return macText(bytes);
}

/**
 * MAC of an endpoint or of a node's ingress leg: `02:42:` + the IPv4 address (Docker's rule, so that a peer's MAC
 * follows from its address and an endpoint that moves keeps it); IPv6 only: `02:43:` + four bytes of its SHA-256.
 */
export function endpointMac(ip: Ip): Mac {
  return macText(Uint8Array.of(2, family(ip) === 4 ? 0x42 : 0x43, ...fourBytes(ip)));
}

/** MAC of br0 on the node with that VTEP address: `02:57:` + four bytes, one per node so that frames name a node. */
export function bridgeMac(vtep: Ip): Mac {
  return macText(Uint8Array.of(2, 0x57, ...fourBytes(vtep)));
}

/** The link-local address that follows from a MAC (RFC 4291 appendix A, modified EUI-64). */
export function linkLocal(mac: Mac): Ip {
  const [a, b, c, d, e, f] = macBytes(mac) as unknown as [number, number, number, number, number, number];
  return ipText(Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f));
}

function fourBytes(ip: Ip): Uint8Array {
  const bytes = ipBytes(ip);
  return bytes.length === 4 ? bytes : createHash('sha256').update(bytes).digest().subarray(0, 4);
}
