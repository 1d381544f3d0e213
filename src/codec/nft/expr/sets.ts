import { bit, oneOf, optional, text, u32, u64 } from '../fields.js';
import { kind } from './kind.js';

/* Expressions that read or change a set or map. */

/**
 * nft_lookup_attributes. Without `dreg` the rule goes on if the key is in the set (or is not, `inverted`); with it the map's
 * value is loaded, register 0 meaning a verdict that is then executed. `setId` names an anonymous set of the same batch.
 */
export const LOOKUP = kind('lookup', 'lookup', {
  sreg: u32(2),
  dreg: optional(u32(3)),
  set: text(1),
  setId: optional(u32(4)),
  inverted: bit(5, 1),
});

/**
 * nft_dynset_attributes: adds (keeping an element that exists), updates (its timeout too) or deletes an element from the packet
 * path. The rule goes on if that worked, or if not, `inverted`. Timeout 0 is the set's own. Expressions (7, 10) are not covered.
 */
export const DYNSET = kind(
  'dynset',
  'dynset',
  {
    sregKey: u32(4),
    sregData: optional(u32(5)),
    op: oneOf(3, ['add', 'update', 'delete']),
    timeout: u64(6, 0),
    set: text(1),
    setId: optional(u32(2)),
    inverted: bit(9, 1),
  },
  [7, 10],
);
