import { readFileSync } from 'node:fs';
import { Writer } from '../../src/base/bytes.js';
import type { Family } from '../../src/base/ip.js';
import { AttrReader } from '../../src/codec/attr.js';
import { genlBody } from '../../src/codec/genl.js';
import type { IpvsTarget } from '../../src/codec/ipvs/commands.js';
import type { RealServer } from '../../src/codec/ipvs/dest.js';
import { type AddressKey, fullNetmask, type ServiceKey, type VirtualServer } from '../../src/codec/ipvs/service.js';
import { type Message, parseMessages } from '../../src/codec/netlink.js';

/** A recording of test/golden/ipvs. */
export const golden = <T>(name: string): T =>
  JSON.parse(readFileSync(new URL(`../../../test/golden/ipvs/${name}.json`, import.meta.url), 'utf8')) as T;
/** What the kernel answered, by the name of the request. */
export const { answers } = golden<{ answers: Record<string, string> }>('answers');

export const FAMILY = 28;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_SCTP = 132;

export const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex');
export const answer = (name: string): Message[] => [...parseMessages(bytes(answers[name] as string))];
export const only = (hex: string): Message => [...parseMessages(bytes(hex))][0] as Message;

export const mark = (fwmark: number, family: Family = 4): ServiceKey => ({ family, fwmark });
export const tcp = (addr: string, port: number): AddressKey => ({
  family: addr.includes(':') ? 6 : 4,
  protocol: IPPROTO_TCP,
  addr,
  port,
});
export const udp = (addr: string, port: number): AddressKey => ({ ...tcp(addr, port), protocol: IPPROTO_UDP });
export const service = (key: ServiceKey, more: Partial<VirtualServer> = {}): VirtualServer => ({
  key,
  scheduler: 'rr',
  flags: 0,
  timeout: 0,
  netmask: fullNetmask(key.family),
  ...more,
});
export const dest = (addr: string, more: Partial<RealServer> = {}): RealServer => ({
  addr,
  port: 0,
  method: 'direct',
  weight: 1,
  upper: 0,
  lower: 0,
  ...more,
});

export function written(write: (w: Writer, to: IpvsTarget) => void, seq = 1): Buffer {
  const w = new Writer();
  write(w, { family: FAMILY, seq });
  return w.done();
}

/** Payload of one first-level attribute of a request. */
export function part(message: Message, type: number): Uint8Array {
  const a = new AttrReader(genlBody(message.body).attributes, 'test');
  while (a.next()) if (a.type === type) return a.bytes();
  throw new Error(`no attribute ${type}`);
}
export const SERVICE = 1;
export const DEST = 2;
