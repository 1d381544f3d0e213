import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { WeftError } from '../base/errors.js';
import type { DatagramSocket, Datagrams, OnDatagram, Peer } from './datagrams.js';

/** The part of the native addon that the resolver needs; a test may stand in for it. */
export interface NamespaceSockets {
  /** @throws with `code` ENOENT, or EINVAL where the path is no network namespace */
  netnsOpen(path: string): number;
  netnsIdentity(fd: number): { dev: bigint; ino: bigint };
  socketOpen(
    netnsFd: number,
    spec: { type: 'udp' | 'tcp'; family: 4 | 6; address: string; port: number; reuseAddr: boolean },
  ): { fd: number; port: number };
  closeFd(fd: number): void;
}

/** Where sandboxes find their resolver: Docker's address, in resolv.conf. */
export const LISTEN_ADDRESS = '127.0.0.11';

const BRING_LO_UP = 'bring lo up in the namespace';
/** A datagram of a socket to itself takes microseconds; a loaded machine may look at it late. */
const PROOF_TIMEOUT_MS = 500;

/** Both sockets of one sandbox; `identity` is `DEV:INO` of the namespace they live in. */
export interface SandboxSockets {
  udp: DatagramSocket;
  tcp: net.Server;
  ports: { udp: number; tcp: number };
  identity: string;
  /** What came while they were being opened. */
  early: Datagram[];
}

interface Datagram {
  message: Buffer;
  from: Peer;
}

/**
 * `DEV:INO` of the namespace that a path names at present.
 * @throws WEFT_INVALID_NETNS where it names none
 */
export function netnsIdentity(native: NamespaceSockets, path: string): string {
  return withNetns(native, path, (fd) => identityText(native, fd));
}

/**
 * Open both sockets, at the ports given where those are free, else at random ones. Nothing stays open where one fails.
 * @param on connection: of the TCP server; half-open connections are kept, as a client may close its side once it has
 * asked. datagram: of the UDP socket, once both are open
 * @throws WEFT_INVALID_NETNS, WEFT_UNAVAILABLE
 */
export async function openSockets(
  native: NamespaceSockets,
  datagrams: Datagrams,
  path: string,
  ports: { udp: number; tcp: number } | undefined,
  on: { connection: (socket: net.Socket) => void; datagram: OnDatagram },
): Promise<SandboxSockets> {
  const born = withNetns(native, path, (netns) => {
    const identity = identityText(native, netns);
    const udp = bound(native, netns, 'udp', ports?.udp ?? 0);
    try {
      return { identity, udp, tcp: bound(native, netns, 'tcp', ports?.tcp ?? 0) };
    } catch (error) {
      native.closeFd(udp.fd);
      throw error;
    }
  });
  const tcp = net.createServer({ allowHalfOpen: true, noDelay: true }, on.connection);
  const early: Datagram[] = [];
  const proof = new Proof();
  let take: OnDatagram = (message, from) => {
    if (!proof.took(message, from)) early.push({ message, from });
  };
  const udp = datagrams.add(born.udp.fd, (message, from) => take(message, from));
  try {
    const listening = once(tcp, 'listening');
    tcp.listen({ fd: born.tcp.fd, exclusive: true });
    await listening;
    await proof.give(udp, born.udp.port, path);
  } catch (error) {
    udp.close();
    tcp.close();
    if (error instanceof WeftError) throw error;
    throw new WeftError('WEFT_UNAVAILABLE', `${path}: cannot listen: ${(error as Error).message}`);
  }
  take = on.datagram;
  return { udp, tcp, ports: { udp: born.udp.port, tcp: born.tcp.port }, identity: born.identity, early };
}

/**
 * A socket sends a datagram to itself and looks where it came from. While no interface of a namespace has an address (lo
 * is still down) the kernel takes every address for a broadcast one (`__inet_dev_addr_type`, net/ipv4/fib_frontend.c): it
 * can be bound, but what is sent leaves from another, for as long as the socket lives, and no client takes such a reply.
 */
class Proof {
  readonly #token = randomBytes(16);
  #source: Peer | undefined;
  #arrived = () => {};

  /** Was this its datagram? */
  took(message: Buffer, from: Peer): boolean {
    if (!message.equals(this.#token)) return false;
    this.#source = from;
    this.#arrived();
    return true;
  }

  /** @throws WEFT_UNAVAILABLE where the socket must be opened anew */
  async give(udp: DatagramSocket, port: number, path: string): Promise<void> {
    const refused = (why: string) =>
      new WeftError('WEFT_UNAVAILABLE', `${path}: udp ${LISTEN_ADDRESS}: ${why}`, BRING_LO_UP);
    const address = rawAddress(LISTEN_ADDRESS);
    udp.send(this.#token, { address, port });
    if (udp.counts().refused > 0) throw refused('what it sends is refused');
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, PROOF_TIMEOUT_MS);
      this.#arrived = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    if (!this.#source) throw refused('what it sends does not arrive');
    if (this.#source.address !== address)
      throw refused(`what it sends comes from ${addressText(this.#source.address)}`);
  }
}

/** An IPv4 address as a number with its bytes as they lie in memory. */
function rawAddress(text: string): number {
  return Buffer.from(text.split('.').map(Number)).readUInt32LE(0);
}

function addressText(raw: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(raw);
  return bytes.join('.');
}

function withNetns<T>(native: NamespaceSockets, path: string, use: (fd: number) => T): T {
  let fd: number;
  try {
    fd = native.netnsOpen(path);
  } catch (error) {
    throw new WeftError('WEFT_INVALID_NETNS', `${path}: ${(error as Error).message}`);
  }
  try {
    return use(fd);
  } finally {
    native.closeFd(fd);
  }
}

function identityText(native: NamespaceSockets, fd: number): string {
  const { dev, ino } = native.netnsIdentity(fd);
  return `${dev}:${ino}`;
}

function bound(
  native: NamespaceSockets,
  netns: number,
  type: 'udp' | 'tcp',
  port: number,
): { fd: number; port: number } {
  // SO_REUSEADDR lets a port be bound on which connections of an earlier resolver are in TIME_WAIT.
  const spec = { type, family: 4, address: LISTEN_ADDRESS, port, reuseAddr: type === 'tcp' } as const;
  try {
    return native.socketOpen(netns, spec);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE' && port !== 0) return bound(native, netns, type, 0);
    const hint = code === 'EADDRNOTAVAIL' ? BRING_LO_UP : undefined;
    throw new WeftError('WEFT_UNAVAILABLE', `${type} ${LISTEN_ADDRESS}: ${message}`, hint);
  }
}
