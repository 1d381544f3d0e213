import { WeftError } from '../../base/errors.js';
import { NODE_NS } from '../../objects/kind.js';
import type { Op } from '../../reconcile/plan.js';
import type { Space } from './spaces.js';

/**
 * Why nothing may be put onto an interface of the node: it is not weft's, though it has the name that a wish needs (a
 * network's bridge). Undefined where it may. In sandboxes an interface in the way is told by its own clash.
 */
export async function foreign(space: Space, dev: string, op: Op): Promise<WeftError | undefined> {
  if (space.ns !== NODE_NS || !(await space.foreignNames()).has(dev)) return undefined;
  return new WeftError(
    'WEFT_CONFLICT',
    `cannot ${op.verb} ${op.kind} ${op.key}: interface ${dev} of the node is not weft's`,
    'remove or rename it, or choose another name; weft looks again by itself',
  );
}
