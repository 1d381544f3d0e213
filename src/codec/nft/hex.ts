import { WeftError } from '../../base/errors.js';

/**
 * Register contents as lower-case hexadecimal text, two digits a byte, in the order of memory. Keys and values are compared,
 * joined (`ip + mark`) and used as Map keys far more often than they are sent.
 */
export type Hex = string;

/** @throws WEFT_INVALID_ARGUMENT where the text is no canonical hex, or longer than `max` bytes. */
export function hexBytes(hex: Hex, max: number): Uint8Array {
  if (!/^(?:[0-9a-f]{2})*$/.test(hex) || hex.length > 2 * max) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `"${hex}" is not up to ${max} bytes of lower-case hex`);
  }
  return Buffer.from(hex, 'hex');
}

export function bytesHex(bytes: Uint8Array): Hex {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
