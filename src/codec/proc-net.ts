import { WeftError } from '../base/errors.js';
import { type Ip, ipText } from '../base/ip.js';

/*
 * /proc/net/{tcp,tcp6,udp,udp6}, proc(5): a heading, then one socket a line. An address is printed as 32-bit words of the host
 * (tcp4_seq_show and __ip6_dgram_sock_seq_show print %08X of the __be32), so on the little-endian machines weft runs on each
 * word's bytes are swapped; the port is a plain number.
 */

/** TCP_LISTEN of net/tcp_states.h. */
const TCP_LISTEN = 0x0a;
/** TCP_CLOSE, which a UDP socket that is bound and not connected shows. */
const TCP_CLOSE = 0x07;

/** A socket that waits for callers. */
export interface ListeningSocket {
  proto: 'tcp' | 'udp';
  /** The unspecified address where it takes all. */
  address: Ip;
  port: number;
  /** Inode of the socket, as /proc/PID/fd/N names it: `socket:[INODE]`. */
  inode: number;
}

/** The listeners of one of these files; bound UDP sockets without a peer count as such. @throws WEFT_INTERNAL */
export function parseListeners(text: string, proto: 'tcp' | 'udp'): ListeningSocket[] {
  const waiting = proto === 'tcp' ? TCP_LISTEN : TCP_CLOSE;
  const out: ListeningSocket[] = [];
  for (const line of text.split('\n').slice(1)) {
    const fields = line.trim().split(/\s+/);
    if (fields.length < 10) continue;
    const [, local = '', , state = ''] = fields;
    if (Number.parseInt(state, 16) !== waiting) continue;
    const [address = '', port = ''] = local.split(':');
    const socket = { proto, address: addressOf(address), port: Number.parseInt(port, 16), inode: Number(fields[9]) };
    if (socket.port > 0) out.push(socket);
  }
  return out;
}

/** Local ports of all sockets of a file, whatever they do: connections and what lingers of them hold a port too. */
export function parseLocalPorts(text: string): Set<number> {
  const ports = text
    .split('\n')
    .slice(1)
    .map((line) => Number.parseInt(/^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) /.exec(line)?.[1] ?? '', 16));
  return new Set(ports.filter((port) => port > 0));
}

function addressOf(hex: string): Ip {
  if (!/^(?:[0-9A-F]{8}|[0-9A-F]{32})$/.test(hex)) {
    throw new WeftError('WEFT_INTERNAL', `"${hex}" is no address of /proc/net`);
  }
  const bytes = Buffer.from(hex, 'hex');
  for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
  return ipText(bytes);
}
