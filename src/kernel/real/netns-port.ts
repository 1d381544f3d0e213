import { WeftError } from '../../base/errors.js';
import { NODE_NS, type Ns } from '../../objects/kind.js';
import type { Netns } from '../../objects/netns.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort } from '../port.js';
import { oneByOne } from './port.js';
import type { Spaces } from './spaces.js';

/** Namespaces pinned below RUN_DIR/netns. */
export class NetnsPort implements KindPort<Netns> {
  constructor(readonly spaces: Spaces) {}

  async observe(ns: Ns): Promise<Netns[]> {
    if (ns !== NODE_NS) return [];
    return this.spaces.pins().map((name) => ({ name }));
  }

  async apply(_ns: Ns, ops: readonly Op<Netns>[]): Promise<(WeftError | undefined)[]> {
    return oneByOne(ops, async (op) => {
      try {
        if (op.verb === 'remove') this.spaces.remove(op.key);
        else this.spaces.create(op.key);
        return undefined;
      } catch (error) {
        const { code = 'error', message } = error as NodeJS.ErrnoException;
        return new WeftError('WEFT_NETLINK', `cannot ${op.verb} namespace ${op.key}: ${message}`, undefined, {
          errno: code,
        });
      }
    });
  }
}
