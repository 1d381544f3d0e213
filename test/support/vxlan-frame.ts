import { ipBytes } from '../../src/base/ip.js';
import { macBytes } from '../../src/base/mac.js';
import { checksum } from './checksum.js';

/** A UDP datagram in an Ethernet frame in VXLAN, as somebody would write it who wants onto a network of others. */
export interface Forged {
  vni: number;
  fromMac: string;
  toMac: string;
  from: string;
  to: string;
  port: number;
  text: string;
}

/** What goes to the data path port: VXLAN header, Ethernet, IPv4, UDP (RFC 7348 section 5). */
export function vxlanPayload({ vni, fromMac, toMac, from, to, port, text }: Forged): Buffer {
  const udp = Buffer.alloc(8 + text.length);
  udp.writeUInt16BE(40_000, 0);
  udp.writeUInt16BE(port, 2);
  udp.writeUInt16BE(udp.length, 4);
  udp.write(text, 8);
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(20 + udp.length, 2);
  header[8] = 64;
  header[9] = 17;
  header.set(ipBytes(from), 12);
  header.set(ipBytes(to), 16);
  header.writeUInt16BE(checksum(header), 10);
  const vxlan = Buffer.alloc(8);
  vxlan[0] = 0x08;
  vxlan.writeUIntBE(vni, 4, 3);
  const ethernet = Buffer.from([...macBytes(toMac), ...macBytes(fromMac), 0x08, 0x00]);
  return Buffer.concat([vxlan, ethernet, header, udp]);
}
