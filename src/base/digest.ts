import { createHash } from 'node:crypto';

/** The first hex digits of a text's SHA-256, for names of interfaces, which have 15 bytes at most. */
export const shortDigest = (text: string, digits: number): string =>
  createHash('sha256').update(text).digest('hex').slice(0, digits);
