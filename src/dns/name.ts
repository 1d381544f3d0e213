import { WeftError } from '../base/errors.js';
import { LABEL_BYTES_MAX, NAME_BYTES_MAX } from './constants.js';

/**
 * Names as text have no final dot; the root is the empty string. A dot or backslash inside a label is escaped (`\.`),
 * and so is every byte that is not printable ASCII (`\DDD`), as in RFC 1035 section 5.1: text and wire then map one to
 * one, and `a.b` as one label never equals `a.b` as two.
 */
export interface NameAt {
  text: string;
  /** Offset of the first byte behind the name where it stands, pointers not followed. */
  end: number;
}

/** How each byte of a label reads: as written, and folded to lower case (ASCII only, RFC 4343). */
const AS_WRITTEN = Array.from({ length: 256 }, (_, byte) => {
  if (byte === 0x2e || byte === 0x5c) return `\\${String.fromCharCode(byte)}`;
  return byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\${String(byte).padStart(3, '0')}`;
});
const FOLDED = AS_WRITTEN.map((text) => (text.length === 1 ? text.toLowerCase() : text));

/**
 * Read a name that may be compressed (RFC 1035 section 4.1.4), case preserved.
 * @returns undefined where the name runs off the end, is longer than 255 octets, has a label type other than 00 and 11,
 * or a pointer that does not point before its own segment. That last rule also ends every loop.
 */
export function readName(bytes: Uint8Array, start: number): NameAt | undefined {
  let text = '';
  let octets = 1;
  let segment = start;
  let at = start;
  let end = -1;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length === 0) return { text, end: end < 0 ? at + 1 : end };
    if (length >= 0xc0) {
      const low = bytes[at + 1];
      if (low === undefined) return undefined;
      if (end < 0) end = at + 2;
      at = ((length & 0x3f) << 8) | low;
      if (at >= segment) return undefined;
      segment = at;
      continue;
    }
    octets += length + 1;
    if (length > LABEL_BYTES_MAX || octets > NAME_BYTES_MAX || at + length >= bytes.length) return undefined;
    if (text !== '') text += '.';
    for (const last = at + length; at < last; ) text += AS_WRITTEN[bytes[++at] as number];
    at++;
  }
}

/**
 * Read the name of a question as a look-up key: folded to lower case. Nothing stands before the first question that a
 * pointer could mean, so pointers are refused like any other malformed name.
 */
export function readKey(bytes: Uint8Array, start: number): NameAt | undefined {
  let text = '';
  let at = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined || length > LABEL_BYTES_MAX) return undefined;
    if (length === 0) return { text, end: at + 1 };
    // One octet of the limit is the root label's.
    if (at + length - start >= NAME_BYTES_MAX - 1 || at + length >= bytes.length) return undefined;
    if (text !== '') text += '.';
    for (const last = at + length; at < last; ) text += FOLDED[bytes[++at] as number];
    at++;
  }
}

/** Offset behind a name, compressed or not, without reading it; undefined where it runs off the end. */
export function skipName(bytes: Uint8Array, start: number): number | undefined {
  let at = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2 <= bytes.length ? at + 2 : undefined;
    if (length > LABEL_BYTES_MAX) return undefined;
    at += length + 1;
  }
}

/** Does a name stand below another, both look-up keys? A dot inside a label (`\\.`) separates nothing. */
export function isBelow(key: string, zone: string): boolean {
  const dot = key.length - zone.length - 1;
  if (dot < 1 || key[dot] !== '.' || !key.endsWith(zone)) return false;
  let slashes = 0;
  while (key[dot - 1 - slashes] === '\\') slashes++;
  return slashes % 2 === 0;
}

export const isOneLabel = (key: string): boolean => /^(?:[^.\\]|\\.)+$/.test(key);

/** The look-up key of a name given as text: lower case, one final dot dropped. */
export function nameKey(text: string): string {
  const folded = text.toLowerCase();
  return folded.endsWith('.') && !folded.endsWith('\\.') ? folded.slice(0, -1) : folded;
}

/**
 * The uncompressed wire form of a name given as text; a final dot is allowed.
 * @throws WEFT_INVALID_NAME for an empty or too long label, a name over 255 octets, or a broken escape
 */
export function nameWire(text: string): Uint8Array {
  if (text === '' || text === '.') return new Uint8Array(1);
  const out: number[] = [0];
  // Where the open label's length stands; none is open behind a final dot.
  let label = 0;
  for (let i = 0; i < text.length; ) {
    if (text[i] === '.') {
      closeLabel(out, label, text);
      label = ++i < text.length ? out.push(0) - 1 : -1;
      continue;
    }
    const [byte, length] = byteAt(text, i);
    out.push(byte);
    i += length;
  }
  if (label >= 0) closeLabel(out, label, text);
  out.push(0);
  if (out.length > NAME_BYTES_MAX) throw invalid(text);
  return Uint8Array.from(out);
}

/** One byte of a label and how many characters spell it. */
function byteAt(text: string, i: number): [byte: number, length: number] {
  if (text[i] === '\\') {
    const spelt = /^\\(?:([01]\d\d|2[0-4]\d|25[0-5])|([!-/:-~]))/.exec(text.slice(i, i + 4));
    if (!spelt) throw invalid(text);
    return [spelt[1] === undefined ? text.charCodeAt(i + 1) : Number(spelt[1]), spelt[0].length];
  }
  const byte = text.charCodeAt(i);
  if (byte > 255) throw invalid(text);
  return [byte, 1];
}

function closeLabel(out: number[], label: number, text: string): void {
  const length = out.length - label - 1;
  if (length < 1 || length > LABEL_BYTES_MAX) throw invalid(text);
  out[label] = length;
}

function invalid(text: string): WeftError {
  return new WeftError(
    'WEFT_INVALID_NAME',
    `"${text}" is not a domain name`,
    'labels have 1-63 octets, a name at most 255',
  );
}
