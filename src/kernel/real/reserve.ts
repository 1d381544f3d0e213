import { readFileSync } from 'node:fs';
import type { Ip } from '../../base/ip.js';
import { loadNative, type NativeError, type SocketOptions } from './native.js';

/** A port to hold: `address` undefined is every address of both families. */
export interface PortAsked {
  proto: SocketOptions['type'];
  address: Ip | undefined;
  port: number;
}

/** A descriptor that holds the port, or why there is none: somebody has it, or the kernel lacks the protocol. */
export type Reservation = { fd: number } | 'taken' | 'unknown';

/** The kernel has no sockets of the family; or none of its addresses (disable_ipv6). */
const NO_FAMILY = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL']);

/**
 * Holds a port of the agent's own namespace without listening: who else binds it gets EADDRINUSE, and who calls it is
 * refused (UDP: hears nothing). `close` gives it back.
 * @throws NativeError for want of descriptors or rights
 */
export function reservePort(asked: PortAsked): Reservation {
  try {
    return attempt(asked, asked.address ?? '::');
  } catch (error) {
    if (asked.address !== undefined || !NO_FAMILY.has((error as NativeError).code)) throw error;
    return attempt(asked, '0.0.0.0');
  }
}

function attempt({ proto, address: asked, port }: PortAsked, address: Ip): Reservation {
  const family = address.includes(':') ? 6 : 4;
  // One socket for both families where every address is asked for.
  const options = { v6only: asked !== undefined, freeBind: true, deaf: proto === 'udp' };
  try {
    return { fd: loadNative().socketOpen(-1, { type: proto, family, address, port, ...options }).fd };
  } catch (error) {
    const { code } = error as NativeError;
    if (code === 'EADDRINUSE') return 'taken';
    if (code === 'EPROTONOSUPPORT' || code === 'ESOCKTNOSUPPORT') return 'unknown';
    throw error;
  }
}

export function releasePort(fd: number): void {
  loadNative().closeFd(fd);
}

/** Ports that the node's administrator keeps from being chosen (net.ipv4.ip_local_reserved_ports: `80,8000-8010`). */
export function keptPorts(): (port: number) => boolean {
  const text = readFileSync('/proc/sys/net/ipv4/ip_local_reserved_ports', 'latin1').trim();
  const spans = text
    .split(',')
    .filter(Boolean)
    .map((span) => span.split('-').map(Number));
  return (port) => spans.some(([from = 0, to = from]) => port >= from && port <= to);
}
