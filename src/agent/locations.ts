import type { Location } from '../kernel/real/location.js';
import type { Wish } from '../model/registry.js';
import type { Ns } from '../objects/kind.js';

/**
 * Where the namespaces are that were handed over. One whose sandbox is gone from the wish is remembered until what weft
 * had in it is gone too: without it the rules there could not be found any more.
 */
export class Locations {
  readonly #known = new Map<Ns, Location>();

  of(ns: Ns): Location | undefined {
    return this.#known.get(ns);
  }

  learn(wish: Wish): void {
    for (const { id, spec } of wish.sandboxes.values()) {
      if (spec.netns !== undefined) this.#known.set(id, { path: spec.netns });
      else if (spec.pid !== undefined) this.#known.set(id, { pid: spec.pid, began: spec.pidBegan });
      else this.#known.delete(id);
    }
  }

  /** @param busy is anything of ours still to be removed there? */
  forget(wish: Wish, busy: (ns: Ns) => boolean): void {
    for (const ns of this.#known.keys()) if (!wish.sandboxes.has(ns) && !busy(ns)) this.#known.delete(ns);
  }
}
