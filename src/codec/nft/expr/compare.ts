import { oneOf, optional, u32, value } from '../fields.js';
import { kind } from './kind.js';

/* Expressions that compute on registers, and those that end the rule where a condition is not met. */

/** nft_cmp_attributes: bytes compared as big-endian numbers. A shorter value than the register compares its beginning. */
export const CMP = kind('cmp', 'cmp', {
  sreg: u32(1),
  op: oneOf(2, ['eq', 'neq', 'lt', 'lte', 'gt', 'gte']),
  data: value(3),
});

/** nft_range_attributes: inside or outside two bounds, which belong to it. */
export const RANGE = kind('range', 'range', {
  sreg: u32(1),
  op: oneOf(2, ['eq', 'neq']),
  from: value(3),
  to: value(4),
});

/** nft_bitwise_attributes: (sreg & mask) ^ xor, or a shift by `data`. Attribute 8 (a second register) came with kernel 6.13. */
export const BITWISE = kind(
  'bitwise',
  'bitwise',
  {
    sreg: u32(1),
    dreg: u32(2),
    length: u32(3),
    op: oneOf(6, ['bool', 'lshift', 'rshift'], 'bool'),
    mask: optional(value(4)),
    xor: optional(value(5)),
    data: optional(value(7)),
  },
  [8],
);

/** nft_byteorder_attributes: swaps `length` bytes of numbers of `size` (2, 4, 8). */
export const BYTEORDER = kind('byteorder', 'byteorder', {
  sreg: u32(1),
  dreg: u32(2),
  op: oneOf(3, ['ntoh', 'hton']),
  length: u32(4),
  size: u32(5),
});
