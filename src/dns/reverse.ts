import { type Ip, ipText } from '../base/ip.js';

/**
 * The address that a reverse name is about (RFC 1035 section 3.5, RFC 3596 section 2.5), undefined for any other name.
 * @param key name in lower case, without final dot
 */
export function reverseIp(key: string): Ip | undefined {
  if (key.endsWith('.in-addr.arpa')) {
    const parts = key.slice(0, -'.in-addr.arpa'.length).split('.');
    if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256))
      return undefined;
    return parts.reverse().join('.');
  }
  if (!/^([0-9a-f]\.){32}ip6\.arpa$/.test(key)) return undefined;
  const bytes = new Uint8Array(16);
  for (let i = 0; i < 16; i++) {
    const at = 60 - 4 * i;
    // Nibbles stand in reverse, so a byte's low one comes first.
    bytes[i] = Number.parseInt(`${key[at + 2]}${key[at]}`, 16);
  }
  return ipText(bytes);
}
