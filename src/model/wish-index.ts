import type { Stored, Table, Wish } from './registry.js';

const all: WishIndex<never>[] = [];

/**
 * What is known of a wish object by object, and handed on from one reading to the next: a change costs what it changes, not
 * the whole wish. It is as if each object of that reading had been entered into an empty index, in some order.
 */
export class WishIndex<I> {
  readonly #made = new WeakMap<Wish, I>();

  /** @param leave takes back what `enter` did with the same object */
  constructor(
    readonly tables: readonly Table[],
    readonly empty: () => I,
    readonly enter: (index: I, stored: Stored) => void,
    readonly leave: (index: I, stored: Stored) => void,
  ) {
    all.push(this as unknown as WishIndex<never>);
  }

  /** The first question about a wish reads all of it; `followIndexes` keeps the answer up to date. */
  of(wish: Wish): I {
    let index = this.#made.get(wish);
    if (index === undefined) {
      index = this.empty();
      for (const table of this.tables) for (const stored of wish[table].values()) this.enter(index, stored);
      this.#made.set(wish, index);
    }
    return index;
  }

  /** @param changes each object once */
  follow(before: Wish, after: Wish, changes: Iterable<readonly [Table, string]>): void {
    const index = this.#made.get(before);
    if (index === undefined) return;
    this.#made.delete(before);
    for (const [table, id] of changes) {
      if (!this.tables.includes(table)) continue;
      const [was, is] = [before[table].get(id), after[table].get(id)];
      if (was) this.leave(index, was);
      if (is) this.enter(index, is);
    }
    this.#made.set(after, index);
  }
}

/**
 * Brings all indexes from one reading of the wish to the next. The old reading forgets; who asks it again has it read anew.
 * @param changes what is other in `after`; an object may come twice
 */
export function followIndexes(before: Wish, after: Wish, changes: readonly { table: Table; id: string }[]): void {
  const once = [...new Map(changes.map(({ table, id }) => [`${table}/${id}`, [table, id] as const])).values()];
  for (const index of all) index.follow(before, after, once);
}
