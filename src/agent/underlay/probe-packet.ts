import { Reader, Writer } from '../../base/bytes.js';
import { family, type Ip } from '../../base/ip.js';

/** "wft" and the version of this format. */
const MAGIC = 0x77667401;
const REQUEST = 1;
const REPLY = 2;
const HEADER = 16;
/** IPv4 20 or IPv6 40, and UDP 8 (RFC 791, RFC 8200, RFC 768). */
const overhead = (to: Ip): number => (family(to) === 4 ? 28 : 48);

/** A datagram of the path probe: u32 magic, u16 kind, u16 size of the request's IP packet, 8 bytes nonce, padding. */
export interface ProbePacket {
  kind: 'request' | 'reply';
  /** Bytes of the IP packet that asked. */
  size: number;
  nonce: bigint;
}

/** Asks whether an IP packet of `size` bytes reaches `to`. */
export function writeRequest(to: Ip, size: number, nonce: bigint): Buffer {
  return written(REQUEST, size, nonce, size - overhead(to));
}

/** The answer, which is smaller than any request: only the way there is measured, and nobody is flooded by it. */
export function writeReply({ size, nonce }: ProbePacket): Buffer {
  return written(REPLY, size, nonce, HEADER);
}

function written(kind: number, size: number, nonce: bigint, length: number): Buffer {
  const w = new Writer(length).be32(MAGIC).be16(kind).be16(size).be64(nonce);
  return w.pad(length - HEADER).done();
}

/** undefined where it is none of ours. */
export function readProbe(bytes: Uint8Array): ProbePacket | undefined {
  if (bytes.length < HEADER) return undefined;
  const r = new Reader(bytes);
  if (r.be32() !== MAGIC) return undefined;
  const kind = r.be16();
  if (kind !== REQUEST && kind !== REPLY) return undefined;
  const [size, nonce] = [r.be16(), r.be64()];
  return { kind: kind === REQUEST ? 'request' : 'reply', size, nonce };
}
