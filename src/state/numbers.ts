/** Space of the numbers of published ports that were left to the node. */
export const PORT_SPACE = 'port';

/**
 * Numbers that stay with names, `SPACE/ID` or `SPACE/ID/MORE`: no two names of a space have one number. What choosing and
 * forgetting cost does not grow with how many there are.
 */
export class Numbers {
  readonly #all = new Map<string, number>();
  readonly #taken = new Map<string, Set<number>>();
  /** Names by `SPACE/ID`. */
  readonly #names = new Map<string, Set<string>>();
  /** By space: from a first number up, none below the second is free. */
  readonly #full = new Map<string, Map<number, number>>();

  get(name: string): number | undefined {
    return this.#all.get(name);
  }

  set(name: string, n: number): void {
    this.delete(name);
    this.#all.set(name, n);
    const [space, owner] = placeOf(name);
    memberOf(this.#taken, space).add(n);
    memberOf(this.#names, owner).add(name);
  }

  delete(name: string): void {
    const n = this.#all.get(name);
    if (n === undefined) return;
    this.#all.delete(name);
    const [space, owner] = placeOf(name);
    this.#taken.get(space)?.delete(n);
    const names = this.#names.get(owner);
    names?.delete(name);
    if (names?.size === 0) this.#names.delete(owner);
    const full = this.#full.get(space) ?? new Map<number, number>();
    for (const [first, lowest] of full) if (n >= first && n < lowest) full.set(first, n);
  }

  /** All numbers of an object. */
  forget(space: string, id: string): void {
    for (const name of [...(this.#names.get(`${space}/${id}`) ?? [])]) this.delete(name);
  }

  /** The lowest from `first` up that no name of the space has. @param usable asked of each; what it throws ends the search */
  free(space: string, first: number, usable: (n: number) => boolean): number {
    const taken = memberOf(this.#taken, space);
    const full = this.#full.get(space) ?? new Map<number, number>();
    let n = full.get(first) ?? first;
    while (taken.has(n)) n++;
    this.#full.set(space, full.set(first, n));
    while (taken.has(n) || !usable(n)) n++;
    return n;
  }

  clear(): void {
    for (const map of [this.#all, this.#taken, this.#names, this.#full]) map.clear();
  }

  [Symbol.iterator](): IterableIterator<[string, number]> {
    return this.#all.entries();
  }
}

/** `SPACE` and `SPACE/ID` of a name. */
function placeOf(name: string): [string, string] {
  const [space = '', id = ''] = name.split('/', 2);
  return [space, `${space}/${id}`];
}

function memberOf<T>(sets: Map<string, Set<T>>, key: string): Set<T> {
  let found = sets.get(key);
  if (!found) {
    found = new Set();
    sets.set(key, found);
  }
  return found;
}
