import dnsPacket from 'dns-packet';
import { Packet } from 'dns2';
import { canonicalIp } from '../../src/base/ip.js';
import { decodeMessage, encodeMessage } from '../../src/dns/codec.js';
import { FLAG, TYPE } from '../../src/dns/constants.js';
import type { ResourceRecord } from '../../src/dns/record.js';

/** A query in the terms that all three writers share. */
export interface Asked {
  id: number;
  name: string;
  type: number;
  /** FLAG.RD, AD and CD. */
  flags: number;
  edns: { udpSize: number; dnssecOk: boolean } | undefined;
}

const TYPE_NAME = new Map(Object.entries(TYPE).map(([name, number]) => [number as number, name]));
const NO_RECORDS = { answers: [], authorities: [], additionals: [] };

/** The same query, as three programs write it. */
export const WRITERS: readonly ((asked: Asked) => Buffer)[] = [
  ({ id, name, type, flags, edns }) =>
    Buffer.from(
      encodeMessage({
        ...{ id, flags, questions: [{ name, type, class: 1 }], ...NO_RECORDS },
        ...(edns && { edns: { ...edns, extendedRcode: 0, version: 0, options: [] } }),
      }),
    ),
  ({ id, name, type, flags, edns }) =>
    dnsPacket.encode({
      ...{ type: 'query', id, flags },
      // Its types are words; it takes any word of this form all the same.
      questions: [{ name, type: (TYPE_NAME.get(type) ?? `UNKNOWN_${type}`) as dnsPacket.RecordType }],
      additionals: edns
        ? [
            {
              ...{ type: 'OPT', name: '.', udpPayloadSize: edns.udpSize, extendedRcode: 0, ednsVersion: 0 },
              ...{ flags: edns.dnssecOk ? dnsPacket.DNSSEC_OK : 0, flag_do: edns.dnssecOk, options: [] },
            },
          ]
        : [],
    }),
  ({ id, name, type, flags, edns }) => {
    const packet = new Packet();
    packet.header.id = id;
    for (const [bit, field] of [
      [FLAG.RD, 'rd'],
      [FLAG.AD, 'ad'],
      [FLAG.CD, 'cd'],
    ] as const)
      (packet.header as unknown as Record<string, number>)[field] = flags & bit ? 1 : 0;
    packet.questions.push(new Packet.Question(name, type, 1));
    const query = packet.toBuffer();
    if (!edns) return query;
    // Its own OPT has no DO bit to set.
    const opt = Buffer.alloc(11);
    opt.writeUInt16BE(TYPE.OPT, 1);
    opt.writeUInt16BE(edns.udpSize, 3);
    opt.writeUInt16BE(edns.dnssecOk ? 0x8000 : 0, 7);
    query.writeUInt16BE(1, 10);
    return Buffer.concat([query, opt]);
  },
];

/** What a reply says, in words that do not depend on who reads it. */
export interface Said {
  id: number;
  rcode: number;
  flags: { aa: boolean; tc: boolean; rd: boolean; ra: boolean };
  /** Answers, authorities and additional records but OPT: owner, TTL, type, value. */
  records: string[][];
}

const address = (text: string): string => canonicalIp(text);
const root = (name: string): string => (name === '.' ? '' : name);
const hex = (parts: readonly Uint8Array[]): string => parts.map((part) => Buffer.from(part).toString('hex')).join(' ');

export function readByUs(bytes: Uint8Array): Said {
  const { id, flags, answers, authorities, additionals } = decodeMessage(bytes);
  return {
    ...{ id, rcode: flags & 15 },
    flags: {
      ...{ aa: (flags & FLAG.AA) !== 0, tc: (flags & FLAG.TC) !== 0 },
      ...{ rd: (flags & FLAG.RD) !== 0, ra: (flags & FLAG.RA) !== 0 },
    },
    records: [answers, authorities, additionals].map((section) => section.map(ourText)),
  };
}

function ourText({ name, ttl, data }: ResourceRecord): string {
  switch (data.type) {
    case TYPE.A:
    case TYPE.AAAA:
      return `${name} ${ttl} ${data.type} ${data.address}`;
    case TYPE.PTR:
      return `${name} ${ttl} ${data.type} ${data.target}`;
    case TYPE.SRV:
      return `${name} ${ttl} ${data.type} ${data.priority} ${data.weight} ${data.port} ${data.target}`;
    case TYPE.TXT:
      return `${name} ${ttl} ${data.type} ${hex(data.strings)}`;
    case TYPE.SOA:
      return `${name} ${ttl} ${data.type} ${data.primary} ${data.mailbox} ${data.serial} ${data.minimum}`;
    default:
      throw new Error(`the zone has no records of type ${data.type}`);
  }
}

export function readByDnsPacket(bytes: Uint8Array): Said {
  const seen = dnsPacket.decode(Buffer.from(bytes)) as dnsPacket.DecodedPacket & Record<string, unknown>;
  const { id = 0, flag_aa: aa, flag_tc: tc, flag_rd: rd, flag_ra: ra, flags = 0 } = seen;
  return {
    ...{ id, rcode: flags & 15, flags: { aa, tc, rd, ra } },
    records: [seen.answers, seen.authorities, seen.additionals].map((section) =>
      (section ?? []).filter(({ type }) => type !== 'OPT').map(dnsPacketText),
    ),
  };
}

function dnsPacketText(record: dnsPacket.Answer): string {
  const { name, type, ttl, data } = record as { name: string; type: string; ttl: number; data: unknown };
  const number = TYPE[type as keyof typeof TYPE];
  const fields = data as Record<string, string | number>;
  const value = () => {
    switch (number) {
      case TYPE.A:
      case TYPE.AAAA:
        return address(data as string);
      case TYPE.SRV:
        return `${fields.priority} ${fields.weight} ${fields.port} ${fields.target}`;
      case TYPE.TXT:
        return hex(data as Buffer[]);
      case TYPE.SOA:
        return `${root(String(fields.mname))} ${fields.rname} ${fields.serial} ${fields.minimum}`;
      default:
        return String(data);
    }
  };
  return `${root(name)} ${ttl} ${number} ${value()}`;
}

/** Our own codec has read the bytes before: dns2 must not be given what is malformed. */
export function readByDns2(bytes: Uint8Array): Said {
  const packet = Packet.parse(Buffer.from(bytes));
  if (packet.errors.length > 0) throw packet.errors[0];
  const { id, rcode, aa, tc, rd, ra } = packet.header;
  return {
    ...{ id, rcode: rcode & 15 },
    flags: { aa: aa === 1, tc: tc === 1, rd: rd === 1, ra: ra === 1 },
    records: [packet.answers, packet.authorities, packet.additionals].map((section) =>
      section.filter(({ type }) => type !== TYPE.OPT).map((record) => dns2Text(record as unknown as Dns2Record)),
    ),
  };
}

/** Fields of a record of dns2, by the types that the zone has. */
interface Dns2Record {
  name: string;
  type: number;
  ttl: number;
  address: string;
  domain: string;
  data: string | string[];
  [field: string]: string | number | string[];
}

function dns2Text(record: Dns2Record): string {
  const { name, type, ttl } = record;
  const value = () => {
    switch (type) {
      case TYPE.A:
      case TYPE.AAAA:
        return address(record.address);
      case TYPE.SRV:
        return `${record.priority} ${record.weight} ${record.port} ${record.target}`;
      case TYPE.TXT:
        return hex([record.data].flat().map((part) => Buffer.from(part)));
      case TYPE.SOA:
        return `${record.primary} ${record.admin} ${record.serial} ${record.minimum}`;
      default:
        return record.domain;
    }
  };
  return `${name} ${ttl} ${type} ${value()}`;
}
