import { Writer } from '../../src/base/bytes.js';
import { family, type Ip, ipBytes, type Mac } from '../../src/base/ip.js';
import { macBytes } from '../../src/base/mac.js';
import { checksum } from './checksum.js';

/** A TCP segment in an Ethernet frame, as somebody would write it who is not the sender. */
export interface ForgedSegment {
  fromMac: Mac;
  toMac: Mac;
  from: Ip;
  fromPort: number;
  to: Ip;
  toPort: number;
  /** RFC 9293 section 3.1: sequence number, acknowledgement, and the flags of byte 13. */
  seq: number;
  ack: number;
  flags: number;
  text: string;
}

export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;
const IPPROTO_TCP = 6;

/** @param sum what is added to the checksum: 1 makes it wrong */
export function segmentFrame(s: ForgedSegment, sum = 0): Buffer {
  const tcp = new Writer(64)
    .be16(s.fromPort)
    .be16(s.toPort)
    .be32(s.seq)
    .be32(s.ack)
    .u8(5 << 4)
    .u8(s.flags)
    .be16(1024)
    .be32(0)
    .raw(Buffer.from(s.text))
    .done();
  const [from, to] = [ipBytes(s.from), ipBytes(s.to)];
  const pseudo = new Writer(64).raw(from).raw(to).be32(tcp.length).be32(IPPROTO_TCP).done();
  tcp.writeUInt16BE((checksum(Buffer.concat([pseudo, tcp])) + sum) & 0xffff, 16);
  const ethernet = new Writer(128).raw(macBytes(s.toMac)).raw(macBytes(s.fromMac));
  if (family(s.to) === 6) {
    const v6 = ethernet
      .be16(0x86dd)
      .be32(6 << 28)
      .be16(tcp.length)
      .u8(IPPROTO_TCP)
      .u8(64);
    return v6.raw(from).raw(to).raw(tcp).done();
  }
  const v4 = new Writer(20)
    .u8(0x45)
    .u8(0)
    .be16(20 + tcp.length)
    .be32(0)
    .u8(64)
    .u8(IPPROTO_TCP)
    .be16(0);
  const header = v4.raw(from).raw(to).done();
  header.writeUInt16BE(checksum(header), 10);
  return ethernet.be16(0x0800).raw(header).raw(tcp).done();
}
