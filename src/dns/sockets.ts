import { randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { WeftError } from '../base/errors.js';

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

/** Both sockets of one sandbox, adopted by the event loop; `identity` is `DEV:INO` of the namespace they live in. */
export interface SandboxSockets {
  udp: dgram.Socket;
  tcp: net.Server;
  ports: { udp: number; tcp: number };
  identity: string;
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
 * @param onConnection of the TCP server; half-open connections are kept, as a client may close its side once it has asked
 * @throws WEFT_INVALID_NETNS, WEFT_UNAVAILABLE
 */
export async function openSockets(
  native: NamespaceSockets,
  path: string,
  onConnection: (socket: net.Socket) => void,
  ports: { udp: number; tcp: number } = { udp: 0, tcp: 0 },
): Promise<SandboxSockets> {
  const born = withNetns(native, path, (netns) => {
    const identity = identityText(native, netns);
    const udp = bound(native, netns, 'udp', ports.udp);
    try {
      return { identity, udp, tcp: bound(native, netns, 'tcp', ports.tcp) };
    } catch (error) {
      native.closeFd(udp.fd);
      throw error;
    }
  });
  const udp = dgram.createSocket('udp4');
  const tcp = net.createServer({ allowHalfOpen: true, noDelay: true }, onConnection);
  // Waited for from before the start: dgram reports a descriptor that it adopts within the call.
  const listening = Promise.all([once(udp, 'listening'), once(tcp, 'listening')]);
  try {
    udp.bind({ fd: born.udp.fd, exclusive: true });
    tcp.listen({ fd: born.tcp.fd, exclusive: true });
    await listening;
    await proveSource(udp, path);
  } catch (error) {
    udp.close();
    tcp.close();
    if (error instanceof WeftError) throw error;
    throw new WeftError('WEFT_UNAVAILABLE', `${path}: cannot listen: ${(error as Error).message}`);
  }
  return { udp, tcp, ports: { udp: born.udp.port, tcp: born.tcp.port }, identity: born.identity };
}

/**
 * Sends a datagram to itself and looks where it came from. While no interface of a namespace has an address (lo is still
 * down) the kernel takes every address for a broadcast one (`__inet_dev_addr_type`, net/ipv4/fib_frontend.c): it can be
 * bound, but what is sent leaves from another, for as long as the socket lives, and no client takes such a reply.
 * @throws WEFT_UNAVAILABLE where the socket must be opened anew
 */
async function proveSource(udp: dgram.Socket, path: string): Promise<void> {
  const token = randomBytes(16);
  const signal = AbortSignal.timeout(PROOF_TIMEOUT_MS);
  const refused = (why: string) =>
    new WeftError('WEFT_UNAVAILABLE', `${path}: udp ${LISTEN_ADDRESS}: ${why}`, BRING_LO_UP);
  udp.send(token, udp.address().port, LISTEN_ADDRESS, (error) => error && udp.emit('error', error));
  try {
    for (;;) {
      const [message, from] = (await once(udp, 'message', { signal })) as [Buffer, dgram.RemoteInfo];
      if (!message.equals(token)) continue;
      if (from.address === LISTEN_ADDRESS) return;
      throw refused(`what it sends comes from ${from.address}`);
    }
  } catch (error) {
    if (error instanceof WeftError) throw error;
    throw refused(signal.aborted ? 'what it sends does not arrive' : (error as Error).message);
  }
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
