import dgram from 'node:dgram';
import net from 'node:net';
import { WeftError } from '../base/errors.js';
import { Frames, framed } from './frames.js';
import { type Server, serverText } from './server-address.js';

/** Whether a message that arrived is the reply waited for; others are dropped, as a forger would send many. */
export type Accept = (reply: Uint8Array) => boolean;

/**
 * Send one query to a name server by UDP and wait for its reply. Each query has a socket of its own: the kernel picks a
 * random source port, which a forger has to guess beside the id (RFC 5452), and a *connected* socket is told at once
 * when nobody listens there.
 * @throws WEFT_TIMEOUT, WEFT_UNAVAILABLE (refused, no route)
 */
export function exchangeUdp(server: Server, query: Uint8Array, accept: Accept, timeoutMs: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const socket = dgram.createSocket(server.family === 4 ? 'udp4' : 'udp6');
    const finish = (error: WeftError | undefined, reply?: Uint8Array) => {
      clearTimeout(timer);
      socket.removeAllListeners('message');
      socket.close();
      if (reply) resolve(reply);
      else reject(error);
    };
    const once = settleOnce(finish);
    const timer = setTimeout(() => once(timedOut(server, timeoutMs)), timeoutMs);
    socket.on('error', (error) => once(unreachable(server, error)));
    socket.on('message', (message) => {
      if (accept(message)) once(undefined, message);
    });
    // The callback is told of a failure (no route) instead of the error listener.
    socket.connect(server.port, server.address, (error?: Error) => {
      if (error) once(unreachable(server, error));
      else socket.send(query);
    });
  });
}

/** The same by TCP, on a connection of its own. @throws WEFT_TIMEOUT, WEFT_UNAVAILABLE */
export function exchangeTcp(server: Server, query: Uint8Array, accept: Accept, timeoutMs: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const frames = new Frames();
    const socket = net.connect({ host: server.address, port: server.port });
    const once = settleOnce((error, reply) => {
      clearTimeout(timer);
      socket.destroy();
      if (reply) resolve(reply);
      else reject(error);
    });
    const timer = setTimeout(() => once(timedOut(server, timeoutMs)), timeoutMs);
    socket.on('connect', () => socket.write(framed(query)));
    socket.on('data', (chunk) => {
      for (const message of frames.push(chunk)) if (accept(message)) once(undefined, message);
    });
    socket.on('error', (error) => once(unreachable(server, error)));
    socket.on('close', () => once(unreachable(server, new Error('connection closed without a reply'))));
  });
}

type Settle = (error: WeftError | undefined, reply?: Uint8Array) => void;

function settleOnce(settle: Settle): Settle {
  let settled = false;
  return (error, reply) => {
    if (settled) return;
    settled = true;
    settle(error, reply);
  };
}

function timedOut(server: Server, timeoutMs: number): WeftError {
  return new WeftError('WEFT_TIMEOUT', `name server ${serverText(server)} did not answer within ${timeoutMs} ms`);
}

function unreachable(server: Server, cause: Error): WeftError {
  return new WeftError('WEFT_UNAVAILABLE', `name server ${serverText(server)}: ${cause.message}`);
}
