import dgram from 'node:dgram';
import net from 'node:net';
import { WeftError } from '../base/errors.js';
import { Frames, framed } from './frames.js';
import type { Transport } from './query.js';
import { type Server, serverText } from './server-address.js';
import type { NamespaceSockets } from './sockets.js';

/** Whether a message that arrived is the reply waited for; others are dropped, as a forger would send many. */
export type Accept = (reply: Uint8Array) => boolean;

/**
 * Send one query to a name server and wait for its reply, until `signal` says that nobody waits for it.
 * @throws WEFT_TIMEOUT, WEFT_UNAVAILABLE (refused, no route, nobody waits)
 */
export type Exchange = (
  transport: Transport,
  server: Server,
  query: Uint8Array,
  accept: Accept,
  limit: { timeoutMs: number; signal: AbortSignal },
) => Promise<Uint8Array>;

/**
 * Exchanges from the resolver's own network namespace or, where a server says so, from a sandbox's.
 *
 * Each query has a socket of its own: the kernel picks a random source port, which a forger has to guess beside the id
 * (RFC 5452), and a *connected* socket is told at once when nobody listens there.
 */
export function exchanges(native: NamespaceSockets): Exchange {
  return (transport, server, query, accept, { timeoutMs, signal }) =>
    new Promise((resolve, reject) => {
      let end = () => {};
      let settled = false;
      const settle = (error: WeftError | undefined, reply?: Uint8Array) => {
        if (settled) return;
        settled = true;
        clearTimeout(timer);
        signal.removeEventListener('abort', forgotten);
        end();
        if (reply) resolve(reply);
        else reject(error);
      };
      const forgotten = () => settle(unreachable(server, 'nobody waits'));
      const timer = setTimeout(() => settle(timedOut(server, timeoutMs)), timeoutMs);
      signal.addEventListener('abort', forgotten);
      try {
        const begin = transport === 'udp' ? beginUdp : beginTcp;
        end = begin(server, bornInside(native, server, transport), query, accept, settle);
      } catch (error) {
        settle(unreachable(server, (error as Error).message));
      }
    });
}

type Settle = (error: WeftError | undefined, reply?: Uint8Array) => void;

/** @returns what ends it */
function beginUdp(server: Server, fd: number | undefined, query: Uint8Array, accept: Accept, settle: Settle) {
  const socket = dgram.createSocket(server.family === 4 ? 'udp4' : 'udp6');
  if (fd !== undefined) socket.bind({ fd });
  socket.on('error', (error) => settle(unreachable(server, error.message)));
  socket.on('message', (message) => {
    if (accept(message)) settle(undefined, message);
  });
  // The callback is told of a failure (no route) instead of the error listener.
  socket.connect(server.port, server.address, (error?: Error) => {
    if (error) settle(unreachable(server, error.message));
    else socket.send(query);
  });
  return () => {
    socket.removeAllListeners('message');
    socket.close();
  };
}

function beginTcp(server: Server, fd: number | undefined, query: Uint8Array, accept: Accept, settle: Settle) {
  const frames = new Frames();
  const socket = new net.Socket(fd === undefined ? {} : { fd });
  socket.on('connect', () => socket.write(framed(query)));
  socket.on('data', (chunk) => {
    for (const message of frames.push(chunk)) if (accept(message)) settle(undefined, message);
  });
  socket.on('error', (error) => settle(unreachable(server, error.message)));
  socket.on('close', () => settle(unreachable(server, 'connection closed without a reply')));
  socket.connect({ host: server.address, port: server.port });
  return () => socket.destroy();
}

/** A socket of the namespace from which a server is to be asked; undefined for the one we are in. */
function bornInside(native: NamespaceSockets, { netns, family }: Server, type: Transport): number | undefined {
  if (netns === undefined) return undefined;
  const space = native.netnsOpen(netns);
  try {
    const address = family === 4 ? '0.0.0.0' : '::';
    return native.socketOpen(space, { type, family, address, port: 0, reuseAddr: false }).fd;
  } finally {
    native.closeFd(space);
  }
}

function timedOut(server: Server, timeoutMs: number): WeftError {
  return new WeftError('WEFT_TIMEOUT', `name server ${serverText(server)} did not answer within ${timeoutMs} ms`);
}

function unreachable(server: Server, why: string): WeftError {
  return new WeftError('WEFT_UNAVAILABLE', `name server ${serverText(server)}: ${why}`);
}
