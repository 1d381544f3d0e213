import { Packet } from 'dns2';
import type { DnsRecord } from '../api/names.js';
import { WeftError } from '../base/errors.js';
import { type Ip, ipBytes } from '../base/ip.js';
import { TYPE } from '../dns/constants.js';
import { typeNumber as numberOf, type Rdata, type ResourceRecord } from '../dns/record.js';

/** Number of a record type by its name, or of `TYPE65` (RFC 3597 section 5). @throws WEFT_INVALID_ARGUMENT */
export function typeNumber(text: string): number {
  const word = text.toUpperCase();
  if (Object.hasOwn(Packet.TYPE, word)) return Packet.TYPE[word as keyof typeof Packet.TYPE];
  const number = Number(/^TYPE(\d{1,5})$/.exec(word)?.[1]);
  if (number >= 1 && number <= 0xffff) return number;
  throw new WeftError('WEFT_INVALID_ARGUMENT', `"${text}" is no record type`, 'A, AAAA, PTR, SRV, TXT… or TYPE65');
}

export const typeText = (number: number): string => Packet.TYPE_NAME[number] ?? `TYPE${number}`;

/** The name under which the owner of an address is asked for (RFC 1035 section 3.5, RFC 3596 section 2.5). */
export function reverseName(ip: Ip): string {
  const bytes = [...ipBytes(ip)];
  if (bytes.length === 4) return `${bytes.reverse().join('.')}.in-addr.arpa`;
  const nibbles = bytes.flatMap((byte) => [byte >> 4, byte & 0xf]).reverse();
  return `${nibbles.map((nibble) => nibble.toString(16)).join('.')}.ip6.arpa`;
}

export function recordText({ name, ttl, data }: ResourceRecord): DnsRecord {
  return { name, ttl, type: typeText(numberOf(data)), value: valueText(data) };
}

function valueText(data: Rdata): string {
  switch (data.type) {
    case TYPE.A:
    case TYPE.AAAA:
      return data.address;
    case TYPE.NS:
    case TYPE.CNAME:
    case TYPE.PTR:
      return data.target;
    case TYPE.MX:
      return `${data.preference} ${data.exchange}`;
    case TYPE.SRV:
      return `${data.priority} ${data.weight} ${data.port} ${data.target}`;
    case TYPE.TXT:
      return data.strings.map((string) => JSON.stringify(Buffer.from(string).toString('latin1'))).join(' ');
    case TYPE.SOA: {
      const { primary, mailbox, serial, refresh, retry, expire, minimum } = data;
      return [primary, mailbox, serial, refresh, retry, expire, minimum].join(' ');
    }
    case 'raw':
      // RFC 3597 section 5.
      return `\\# ${data.raw.length} ${Buffer.from(data.raw).toString('hex')}`.trimEnd();
  }
}
