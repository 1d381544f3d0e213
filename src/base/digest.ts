import { createHash } from 'node:crypto';

/** SHA-256 of bytes, in base 64. */
export const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('base64');

/** The first hex digits of a text's SHA-256, where a name or number has to be short, as those of interfaces and ports. */
export const shortDigest = (text: string, digits: number): string =>
  createHash('sha256').update(text).digest('hex').slice(0, digits);
