import { LayeredMap } from '../base/layered-map.js';
import { type Specs, type Stored, TABLES, type Table, type Wish } from '../model/registry.js';
import { followIndexes } from '../model/wish-index.js';

/** One change of one object. `stored` absent: it is gone. */
export interface Mutation {
  table: Table;
  id: string;
  stored?: Stored;
  /** A removal of what was only heard of: for its own node to tell, not for this one. */
  heard?: true;
}

type Maps = { [T in Table]: LayeredMap<string, Stored<T>> };

/** The wish in memory: each change makes new tables, so that readers keep what they started with. */
export class MutableWish {
  #maps: Maps = emptyMaps();
  revision = 0;
  #frozen: Wish | undefined;

  /** @param from where to start; it stays as it is */
  constructor(from?: Wish) {
    if (from === undefined) return;
    this.#maps = Object.fromEntries(
      TABLES.map((table) => [table, layered(from[table] as ReadonlyMap<string, Stored>)]),
    ) as unknown as Maps;
    this.revision = from.revision;
  }

  /** The wish as it is now; later changes do not show in it. */
  read(): Wish {
    this.#frozen ??= { revision: this.revision, ...this.#maps };
    return this.#frozen;
  }

  apply(revision: number, mutations: readonly Mutation[]): void {
    const before = this.read();
    const byTable = new Map<Table, [string, Stored | undefined][]>(mutations.map(({ table }) => [table, []]));
    for (const { table, id, stored } of mutations) byTable.get(table)?.push([id, stored]);
    const maps = { ...this.#maps } as Record<Table, LayeredMap<string, Stored>>;
    for (const [table, changes] of byTable) maps[table] = maps[table].with(changes);
    this.#maps = maps as Maps;
    this.revision = revision;
    this.#frozen = undefined;
    followIndexes(before, this.read(), mutations);
  }

  all(): Stored[] {
    return TABLES.flatMap((table) => [...this.#maps[table].values()] as Stored[]);
  }
}

const layered = <V>(table: ReadonlyMap<string, V>): LayeredMap<string, V> =>
  table instanceof LayeredMap ? table : new LayeredMap(table);

function emptyMaps(): Maps {
  return Object.fromEntries(TABLES.map((table) => [table, new LayeredMap()])) as unknown as Maps;
}

/** The wish as it would be with these changes. */
export function withMutations(wish: Wish, mutations: readonly Mutation[]): Wish {
  const draft = new MutableWish(wish);
  draft.apply(wish.revision, mutations);
  return draft.read();
}

/** Can the change bring or take published ports of this node? */
export function concernsPorts({ table, id, stored }: Mutation, before: Wish): boolean {
  const specs = [stored?.spec, before[table].get(id)?.spec];
  return specs.some((spec) => {
    if (!spec) return false;
    if (table === 'services') return (spec as Specs['services']).publish.length > 0;
    if (table === 'sandboxes') return (spec as Specs['sandboxes']).ports.length > 0;
    return table === 'endpoints' && (spec as Specs['endpoints']).service !== undefined;
  });
}
