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
    const aliases = [...this.spaces.aliases()].map(([name, aliasOf]) => ({ name, aliasOf }));
    return [...this.spaces.pins().map((name) => ({ name })), ...aliases];
  }

  async apply(_ns: Ns, ops: readonly Op<Netns>[]): Promise<(WeftError | undefined)[]> {
    return oneByOne(ops, async (op) => {
      try {
        if (op.have && op.verb !== 'add') this.#remove(op.have);
        if (op.want?.aliasOf !== undefined) this.spaces.alias(op.key, op.want.aliasOf);
        else if (op.want) this.spaces.create(op.key);
        return undefined;
      } catch (error) {
        const { code = 'error', message } = error as NodeJS.ErrnoException;
        return new WeftError('WEFT_NETLINK', `cannot ${op.verb} namespace ${op.key}: ${message}`, undefined, {
          errno: code,
        });
      }
    });
  }

  #remove(have: Netns): void {
    if (have.aliasOf === undefined) this.spaces.remove(have.name);
    else this.spaces.removeAlias(have.name);
  }
}
