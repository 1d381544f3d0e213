import { Writer } from '../base/bytes.js';
import { family, type Ip, ipBytes, type Mac } from '../base/ip.js';
import { macBytes } from '../base/mac.js';

const ETH_P_ARP = 0x0806;
const ETH_P_IPV6 = 0x86dd;
const ARPHRD_ETHER = 1;
const ETH_P_IP = 0x0800;
const ARPOP_REQUEST = 1;
const IPPROTO_ICMPV6 = 58;
const ND_NEIGHBOR_ADVERT = 136;
/** RFC 4861 section 4.4: what is cached is to be overridden. */
const NA_OVERRIDE = 0x20000000;
const TARGET_LINK_LAYER_ADDRESS = 2;
const BROADCAST: Mac = 'ff:ff:ff:ff:ff:ff';
const ALL_NODES: Ip = 'ff02::1';
/** RFC 2464 section 7: 33:33 and the last four bytes of the address. */
const ALL_NODES_MAC: Mac = '33:33:00:00:00:01';

/**
 * An Ethernet frame that tells everybody on a segment where an address is: a gratuitous ARP request (RFC 5227 section
 * 3), which overrides entries at once where a reply is held back for a second, or an unsolicited neighbour advertisement.
 */
export function announcement(ip: Ip, mac: Mac): Buffer {
  return family(ip) === 4 ? gratuitousArp(ip, mac) : unsolicitedNa(ip, mac);
}

function gratuitousArp(ip: Ip, mac: Mac): Buffer {
  return new Writer(64)
    .raw(macBytes(BROADCAST))
    .raw(macBytes(mac))
    .be16(ETH_P_ARP)
    .be16(ARPHRD_ETHER)
    .be16(ETH_P_IP)
    .u8(6)
    .u8(4)
    .be16(ARPOP_REQUEST)
    .raw(macBytes(mac))
    .raw(ipBytes(ip))
    .pad(6)
    .raw(ipBytes(ip))
    .done();
}

function unsolicitedNa(ip: Ip, mac: Mac): Buffer {
  const body = new Writer(32)
    .u8(ND_NEIGHBOR_ADVERT)
    .u8(0)
    .be16(0)
    .be32(NA_OVERRIDE)
    .raw(ipBytes(ip))
    .u8(TARGET_LINK_LAYER_ADDRESS)
    .u8(1)
    .raw(macBytes(mac))
    .done();
  // RFC 8200 section 8.1: the pseudo-header counts in the checksum.
  const pseudo = new Writer(40).raw(ipBytes(ip)).raw(ipBytes(ALL_NODES)).be32(body.length).be32(IPPROTO_ICMPV6).done();
  body.writeUInt16BE(checksum(Buffer.concat([pseudo, body])), 2);
  return (
    new Writer(96)
      .raw(macBytes(ALL_NODES_MAC))
      .raw(macBytes(mac))
      .be16(ETH_P_IPV6)
      .be32(6 << 28)
      .be16(body.length)
      .u8(IPPROTO_ICMPV6)
      // RFC 4861 section 7.1.2: less than 255 came over a router and is ignored.
      .u8(255)
      .raw(ipBytes(ip))
      .raw(ipBytes(ALL_NODES))
      .raw(body)
      .done()
  );
}

/** RFC 1071; the length is even. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
