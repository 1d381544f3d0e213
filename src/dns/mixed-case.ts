import { randomFillSync } from 'node:crypto';
import { HEADER_BYTES } from './constants.js';

/** Letters that make it all but impossible that somebody else writes a name by chance in the case that we chose. */
const LETTERS_TO_BE_SURE = 16;
/** Names have 255 octets at most: a bit for each. */
const random = new Uint8Array(32);

const isLetter = (byte: number): boolean => (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a;
const fold = (byte: number): number => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte);

/**
 * Write the letters of a question's name in random case (draft-vixie-dnsext-dns0x20): servers repeat the question as it
 * is, so a forger has to guess a bit for each letter beside the id and the port. Lengths of labels are below the letters.
 */
export function mixCase(message: Uint8Array, questionEnd: number): void {
  randomFillSync(random);
  for (let i = HEADER_BYTES; i < questionEnd - 4; i++) {
    const byte = message[i] as number;
    const bit = i - HEADER_BYTES;
    if (isLetter(byte) && ((random[bit >> 3] as number) >> (bit & 7)) & 1) message[i] = byte ^ 0x20;
  }
}

/** How the question of a reply is that of a query: as it was sent, but for the case of letters, or not at all. */
export function sameQuestion(reply: Uint8Array, sent: Uint8Array, questionEnd: number): 'exact' | 'folded' | undefined {
  let exact = true;
  for (let i = HEADER_BYTES; i < questionEnd; i++) {
    const [ours, theirs] = [sent[i] as number, reply[i] as number];
    if (ours === theirs) continue;
    // Type and class are no letters.
    if (i >= questionEnd - 4 || fold(ours) !== fold(theirs)) return undefined;
    exact = false;
  }
  return exact ? 'exact' : 'folded';
}

/** The question's bytes as a key, where they are so many letters that the same case says that it is the same query. */
export function spelling(message: Uint8Array, questionEnd: number): string | undefined {
  let letters = 0;
  for (let i = HEADER_BYTES; i < questionEnd - 4; i++) if (isLetter(message[i] as number)) letters++;
  if (letters < LETTERS_TO_BE_SURE) return undefined;
  return Buffer.from(message.buffer, message.byteOffset + HEADER_BYTES, questionEnd - HEADER_BYTES).toString('latin1');
}
