import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { Packet } from 'dns2';
import type { DnsAnswer } from '../api/names.js';
import { WeftError } from '../base/errors.js';
import { tryIpBytes } from '../base/ip.js';
import { decodeMessage } from '../dns/codec.js';
import { FLAG, HEADER_BYTES, OPT_BYTES, RCODE, RCODE_MASK, TYPE, UDP_BYTES_MAX } from '../dns/constants.js';
import { Frames, framed } from '../dns/frames.js';
import { nameWire } from '../dns/name.js';
import { be16 } from '../dns/query.js';
import { LISTEN_ADDRESS } from '../dns/sockets.js';
import type { Native } from '../kernel/real/native.js';
import { recordText, reverseName, typeNumber, typeText } from './dns-text.js';

const DOMAIN_PORT = 53;
/** Above the resolver's own deadline for what it forwards, so that its SERVFAIL is seen. */
const REPLY_TIMEOUT_MS = 6000;

/**
 * Asks as a program in a sandbox would: from a socket born in its namespace, at 127.0.0.11 port 53, by UDP and, where
 * the reply is cut, by TCP. dns2 writes the query; replies are read by our own codec, whose work is bounded.
 * @param netnsFd descriptor of the sandbox's namespace
 * @param type name of a record type, or `TYPE` and its number
 * @throws WEFT_INVALID_NAME, WEFT_INVALID_ARGUMENT (type), WEFT_UNAVAILABLE (nobody listens), WEFT_TIMEOUT
 */
export async function queryIn(native: Native, netnsFd: number, name: string, type: string): Promise<DnsAnswer> {
  const number = typeNumber(type);
  const asked = number === TYPE.PTR && tryIpBytes(name) ? reverseName(name) : name;
  const query = queryBytes(asked, number);
  const start = performance.now();
  let transport: 'udp' | 'tcp' = 'udp';
  let reply = decodeMessage(await answered(askUdp(native, netnsFd, query)));
  if (reply.flags & FLAG.TC) {
    transport = 'tcp';
    reply = decodeMessage(await answered(askTcp(native, netnsFd, query)));
  }
  const ms = Math.round((performance.now() - start) * 10) / 10;
  const rcode = reply.flags & RCODE_MASK;
  const status = Object.entries(RCODE).find(([, value]) => value === rcode)?.[0] ?? `RCODE${rcode}`;
  return { name: asked, type: typeText(number), status, transport, ms, records: reply.answers.map(recordText) };
}

function queryBytes(name: string, type: number): Buffer {
  // dns2 would write any text as a name.
  nameWire(name);
  const packet = new Packet();
  packet.header.id = Packet.uuid();
  packet.header.rd = 1;
  packet.questions.push(new Packet.Question(name, type, Packet.CLASS.IN));
  // The OPT record that dns2 adds offers 512 bytes (RFC 6891 section 6.1.2 for the fields).
  const opt = Buffer.alloc(OPT_BYTES);
  opt.writeUInt16BE(TYPE.OPT, 1);
  opt.writeUInt16BE(UDP_BYTES_MAX, 3);
  const query = Buffer.concat([packet.toBuffer(), opt]);
  query.writeUInt16BE(1, 10);
  return query;
}

const isReply = (message: Uint8Array, query: Uint8Array): boolean =>
  message.length >= HEADER_BYTES && be16(message, 0) === be16(query, 0) && (be16(message, 2) & FLAG.QR) !== 0;

async function askUdp(native: Native, netnsFd: number, query: Buffer): Promise<Uint8Array> {
  const { fd } = native.socketOpen(netnsFd, { type: 'udp', family: 4, address: '0.0.0.0' });
  const socket = dgram.createSocket('udp4');
  const signal = AbortSignal.timeout(REPLY_TIMEOUT_MS);
  try {
    socket.bind({ fd });
    // A connected socket is told at once when nobody listens.
    socket.connect(DOMAIN_PORT, LISTEN_ADDRESS, () => socket.send(query));
    for (;;) {
      const [message] = (await once(socket, 'message', { signal })) as [Buffer];
      if (isReply(message, query)) return message;
    }
  } finally {
    socket.close();
  }
}

async function askTcp(native: Native, netnsFd: number, query: Buffer): Promise<Uint8Array> {
  const { fd } = native.socketOpen(netnsFd, { type: 'tcp', family: 4, address: '0.0.0.0' });
  const socket = new net.Socket({ fd });
  const signal = AbortSignal.timeout(REPLY_TIMEOUT_MS);
  const frames = new Frames();
  try {
    socket.connect(DOMAIN_PORT, LISTEN_ADDRESS, () => socket.write(framed(query)));
    for (;;) {
      const [chunk] = (await once(socket, 'data', { signal })) as [Buffer];
      const message = frames.push(chunk).find((frame) => isReply(frame, query));
      if (message) return message;
    }
  } finally {
    socket.destroy();
  }
}

/** @throws the error of a socket in words */
async function answered(reply: Promise<Uint8Array>): Promise<Uint8Array> {
  try {
    return await reply;
  } catch (error) {
    const { name, message } = error as Error;
    if (name === 'AbortError') throw new WeftError('WEFT_TIMEOUT', `no answer within ${REPLY_TIMEOUT_MS} ms`);
    throw new WeftError(
      'WEFT_UNAVAILABLE',
      `nobody answers at ${LISTEN_ADDRESS} port ${DOMAIN_PORT} in the sandbox: ${message}`,
      'weft sandbox inspect says what is the matter with it',
    );
  }
}
