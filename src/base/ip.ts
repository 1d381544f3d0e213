import { WeftError } from './errors.js';

/**
 * Addresses travel as canonical text: dotted quad, or RFC 5952 for IPv6. Equal text is an equal address,
 * so they serve as map keys without a class; bytes exist only inside codecs.
 */
export type Ip = string;
/** `ADDRESS/LENGTH`, canonical, with no host bits set. */
export type Cidr = string;
/** Six lower-case hex pairs with colons. */
export type Mac = string;
export type Family = 4 | 6;

/** 4 or 16 bytes in network order, or undefined where the text is no address. */
export function tryIpBytes(text: string): Uint8Array | undefined {
  return text.includes(':') ? parse6(text) : parse4(text);
}

/** 4 or 16 bytes in network order. @throws WEFT_INVALID_ADDRESS */
export function ipBytes(text: Ip): Uint8Array {
  const bytes = tryIpBytes(text);
  if (!bytes) throw new WeftError('WEFT_INVALID_ADDRESS', `"${text}" is not an IP address`);
  return bytes;
}

/** Canonical text of 4 or 16 bytes in network order. */
export function ipText(bytes: Uint8Array): Ip {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16) throw new RangeError(`an address has 4 or 16 bytes, not ${bytes.length}`);
  return text6(bytes);
}

/** Canonical form of any spelling. @throws WEFT_INVALID_ADDRESS */
export function canonicalIp(text: string): Ip {
  return ipText(ipBytes(text));
}

export function family(ip: Ip): Family {
  return ip.includes(':') ? 6 : 4;
}

/** Of the addresses of one interface the one that names it: the IPv4 address where there is one. */
export function primary(addresses: readonly Ip[]): Ip | undefined {
  return addresses.find((ip) => family(ip) === 4) ?? addresses[0];
}

/** `ADDRESS:PORT`, an IPv6 address in brackets. */
export function withPort(ip: Ip, port: number): string {
  return family(ip) === 4 ? `${ip}:${port}` : `[${ip}]:${port}`;
}

/** Number of bits of an address of that family: 32 or 128. */
export function bits(of: Family): 32 | 128 {
  return of === 4 ? 32 : 128;
}

function parse4(text: string): Uint8Array | undefined {
  const out = new Uint8Array(4);
  let part = -1;
  let digits = 0;
  let at = 0;
  for (let i = 0; i <= text.length; i++) {
    const c = i < text.length ? text.charCodeAt(i) : 0x2e;
    if (c === 0x2e) {
      if (part < 0 || at > 3) return undefined;
      out[at++] = part;
      part = -1;
      digits = 0;
    } else if (c >= 0x30 && c <= 0x39) {
      // A leading zero is refused: inet_aton reads it as octal, people read it as decimal.
      if (digits > 0 && part === 0) return undefined;
      part = (part < 0 ? 0 : part * 10) + (c - 0x30);
      digits++;
      if (part > 255) return undefined;
    } else return undefined;
  }
  return at === 4 ? out : undefined;
}

function parse6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = groups(halves[0] as string, halves.length === 1);
  const tail = halves.length === 2 ? groups(halves[1] as string, true) : [];
  if (!head || !tail) return undefined;
  const gap = 8 - head.length - tail.length;
  if (halves.length === 2 ? gap < 1 : gap !== 0) return undefined;
  const all = [...head, ...new Array<number>(gap).fill(0), ...tail];
  const out = new Uint8Array(16);
  all.forEach((group, i) => {
    out[2 * i] = group >> 8;
    out[2 * i + 1] = group & 255;
  });
  return out;
}

/** @param atEnd whether the text ends the address: only there RFC 4291 allows a dotted quad. */
function groups(text: string, atEnd: boolean): number[] | undefined {
  if (text === '') return [];
  const out: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (part.includes('.')) {
      const quad = atEnd && i === parts.length - 1 ? parse4(part) : undefined;
      if (!quad) return undefined;
      out.push(((quad[0] as number) << 8) | (quad[1] as number), ((quad[2] as number) << 8) | (quad[3] as number));
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) out.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return out;
}

/** RFC 5952: lower case, the longest run of two or more zero groups shortened, the first of equals. */
function text6(bytes: Uint8Array): string {
  const g: number[] = [];
  for (let i = 0; i < 16; i += 2) g.push(((bytes[i] as number) << 8) | (bytes[i + 1] as number));
  let best = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let j = i;
    while (j < 8 && g[j] === 0) j++;
    if (j - i > length) {
      best = i;
      length = j - i;
    }
    if (j > i) i = j;
  }
  const hex = (from: number, to: number) =>
    g
      .slice(from, to)
      .map((n) => n.toString(16))
      .join(':');
  // RFC 5952 section 5: a v4-mapped address shows its last 32 bits as a dotted quad.
  if (best === 0 && length === 5 && g[5] === 0xffff) return `::ffff:${ipText(bytes.subarray(12))}`;
  return best < 0 ? hex(0, 8) : [hex(0, best), hex(best + length, 8)].join('::');
}
