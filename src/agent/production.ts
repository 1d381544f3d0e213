import type { Wish } from '../model/registry.js';
import { affected } from '../network/affected.js';
import { produce, producers } from '../network/produce.js';
import type { World } from '../network/world.js';
import { KINDS } from '../objects/registry.js';
import { Desired, Dirt } from '../reconcile/desired.js';
import type { Store } from '../state/store.js';
import type { Mutation } from '../state/wish.js';

/** Keeps the kernel objects that should be in step with the wish: what a change concerns is produced anew, nothing else. */
export class Production {
  readonly desired = new Desired(KINDS);
  /** Since the last time: what changed of the wish, and which producers other facts concern. */
  #changes: Mutation[] = [];
  #due: Set<string> | 'all' = new Set();
  #produced: Wish;

  constructor(
    readonly store: Store,
    readonly world: () => World,
  ) {
    this.#produced = store.wish;
  }

  /** The wish that `desired` stands for. */
  get produced(): Wish {
    return this.#produced;
  }

  changed(mutations: readonly Mutation[]): void {
    this.#changes.push(...mutations);
  }

  /** Facts that are not in the wish have changed. */
  due(names: readonly string[] | 'all'): void {
    this.#due = names === 'all' || this.#due === 'all' ? 'all' : new Set([...this.#due, ...names]);
  }

  /** @returns what needs a look */
  refresh(): Dirt {
    const { wish } = this.store;
    const changed = affected(this.#changes, this.#produced, wish);
    const all = changed === 'all' || this.#due === 'all';
    const names = all
      ? new Set([...this.desired.producers(), ...producers(wish)])
      : new Set([...changed, ...this.#due]);
    const world = this.world();
    const made = this.store.numbering(() => [...names].map((name) => [name, produce(world, name)] as const));
    const dirt = new Dirt();
    for (const [name, wanted] of made) this.desired.set(name, wanted, dirt);
    this.#produced = wish;
    this.#changes = [];
    this.#due = new Set();
    return dirt;
  }
}
