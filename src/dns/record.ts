import { Reader } from '../base/bytes.js';
import { WeftError } from '../base/errors.js';
import { type Ip, ipBytes, ipText } from '../base/ip.js';
import { OPT_DO, TYPE } from './constants.js';
import { readName } from './name.js';
import type { MessageWriter } from './wire.js';

/** RDATA by record type. Types not listed travel as `raw` (RFC 3597); a name compressed inside them is not resolved. */
export type Rdata =
  | { type: typeof TYPE.A | typeof TYPE.AAAA; address: Ip }
  | { type: typeof TYPE.NS | typeof TYPE.CNAME | typeof TYPE.PTR; target: string }
  | { type: typeof TYPE.MX; preference: number; exchange: string }
  | { type: typeof TYPE.SRV; priority: number; weight: number; port: number; target: string }
  | { type: typeof TYPE.TXT; strings: readonly Uint8Array[] }
  | ({ type: typeof TYPE.SOA } & SoaFields)
  | { type: 'raw'; number: number; raw: Uint8Array };

/** RFC 1035 section 3.3.13; times in seconds. `minimum` is the TTL of negative answers (RFC 2308). */
export interface SoaFields {
  primary: string;
  mailbox: string;
  serial: number;
  refresh: number;
  retry: number;
  expire: number;
  minimum: number;
}

/** A resource record. `ttl` in seconds. OPT is not a record here but `Message.edns`. */
export interface ResourceRecord {
  name: string;
  class: number;
  ttl: number;
  data: Rdata;
}

/** EDNS(0), RFC 6891. `extendedRcode` holds the upper eight bits of the twelve-bit response code. */
export interface Edns {
  udpSize: number;
  extendedRcode: number;
  version: number;
  dnssecOk: boolean;
  options: EdnsOption[];
}

export interface EdnsOption {
  code: number;
  value: Uint8Array;
}

/** The number that stands in a record's type field. */
export function typeNumber(data: Rdata): number {
  return data.type === 'raw' ? data.number : data.type;
}

/**
 * Decode RDATA that fills bytes `[start, end)` of a message; names may point anywhere before themselves.
 * @throws WEFT_INVALID_ARGUMENT where the content does not fill its length exactly
 */
export function decodeRdata(message: Uint8Array, type: number, start: number, end: number): Rdata {
  const r = new Reader(message.subarray(0, end));
  r.at = start;
  const data = decodeFields(r, type, end);
  if (r.at !== end) throw malformed(`record of type ${type} has ${end - r.at} bytes too many`);
  return data;
}

function decodeFields(r: Reader, type: number, end: number): Rdata {
  switch (type) {
    case TYPE.A:
      return { type, address: ipText(r.take(4)) };
    case TYPE.AAAA:
      return { type, address: ipText(r.take(16)) };
    case TYPE.NS:
    case TYPE.CNAME:
    case TYPE.PTR:
      return { type, target: takeName(r) };
    case TYPE.MX:
      return { type, preference: r.be16(), exchange: takeName(r) };
    case TYPE.SRV:
      return { type, priority: r.be16(), weight: r.be16(), port: r.be16(), target: takeName(r) };
    case TYPE.TXT: {
      const strings: Uint8Array[] = [];
      while (r.at < end) strings.push(r.take(r.u8()));
      return { type, strings };
    }
    case TYPE.SOA:
      return {
        type,
        primary: takeName(r),
        mailbox: takeName(r),
        serial: r.be32(),
        refresh: r.be32(),
        retry: r.be32(),
        expire: r.be32(),
        minimum: r.be32(),
      };
    default:
      return { type: 'raw', number: type, raw: r.take(end - r.at) };
  }
}

/** @throws WEFT_INVALID_NAME, WEFT_INVALID_ADDRESS, WEFT_INVALID_ARGUMENT where a field does not fit its place */
export function encodeRdata(w: MessageWriter, data: Rdata): void {
  switch (data.type) {
    case TYPE.A:
    case TYPE.AAAA: {
      const bytes = ipBytes(data.address);
      if (bytes.length !== (data.type === TYPE.A ? 4 : 16)) {
        throw new WeftError('WEFT_INVALID_ADDRESS', `${data.address} is not of the family of record type ${data.type}`);
      }
      w.raw(bytes);
      return;
    }
    case TYPE.NS:
    case TYPE.CNAME:
    case TYPE.PTR:
      w.name(data.target);
      return;
    case TYPE.MX:
      w.u16(data.preference).name(data.exchange);
      return;
    case TYPE.SRV:
      w.u16(data.priority).u16(data.weight).u16(data.port).name(data.target, false);
      return;
    case TYPE.TXT:
      for (const string of data.strings) {
        if (string.length > 255) throw malformed(`a TXT string has at most 255 bytes, not ${string.length}`);
        w.u8(string.length).raw(string);
      }
      return;
    case TYPE.SOA:
      w.name(data.primary).name(data.mailbox);
      w.u32(data.serial).u32(data.refresh).u32(data.retry).u32(data.expire).u32(data.minimum);
      return;
    case 'raw':
      w.raw(data.raw);
  }
}

/** The fields of an OPT record: `size` stands in its class, `ttl` is the 32-bit field, RDATA fills `[start, end)`. */
export function decodeEdns(message: Uint8Array, size: number, ttl: number, start: number, end: number): Edns {
  const r = new Reader(message.subarray(0, end));
  r.at = start;
  const options: EdnsOption[] = [];
  while (r.left > 0) options.push({ code: r.be16(), value: r.take(r.be16()) });
  return {
    udpSize: size,
    extendedRcode: ttl >>> 24,
    version: (ttl >>> 16) & 0xff,
    dnssecOk: (ttl & OPT_DO) !== 0,
    options,
  };
}

/** A whole OPT record. */
export function encodeEdns(w: MessageWriter, edns: Edns): void {
  const ttl = (edns.extendedRcode << 24) | (edns.version << 16) | (edns.dnssecOk ? OPT_DO : 0);
  const length = edns.options.reduce((sum, option) => sum + 4 + option.value.length, 0);
  w.u8(0).u16(TYPE.OPT).u16(edns.udpSize).u32(ttl).u16(length);
  for (const option of edns.options) w.u16(option.code).u16(option.value.length).raw(option.value);
}

export function malformed(what: string): WeftError {
  return new WeftError('WEFT_INVALID_ARGUMENT', `malformed DNS message: ${what}`);
}

function takeName(r: Reader): string {
  const name = readName(r.bytes, r.at);
  if (!name) throw malformed(`name at offset ${r.at}`);
  r.at = name.end;
  return name.text;
}
