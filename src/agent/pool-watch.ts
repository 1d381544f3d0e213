import type { Stored, Table, Wish } from '../model/registry.js';
import { poolWarnings } from '../state/pools.js';
import type { Mutation } from '../state/wish.js';

/** Says once that a network runs out of addresses, and once that it does not any more. */
export class PoolWatch {
  readonly #warned = new Map<string, string>();

  constructor(
    readonly wish: () => Wish,
    readonly tell: (network: string, warning: string | undefined) => void,
  ) {}

  /** Networks that run out, in words. */
  get warnings(): { object: string; message: string }[] {
    return [...this.#warned].map(([id, message]) => ({ object: `network/${id}`, message }));
  }

  /** Looks at all networks: at the start. */
  start(): void {
    for (const id of this.wish().networks.keys()) this.#look(id);
  }

  /** Looks at the networks that a change concerns. @param before the wish before it, for what is gone now */
  changed(mutations: readonly Pick<Mutation, 'table' | 'id'>[], before: Wish): void {
    const networks = new Set<string>();
    for (const { table, id } of mutations) {
      for (const wish of [before, this.wish()]) {
        const stored = wish[table].get(id) as Stored | undefined;
        for (const network of stored ? concerned(stored) : []) networks.add(network);
      }
    }
    for (const network of networks) this.#look(network);
  }

  #look(id: string): void {
    const network = this.wish().networks.get(id);
    const [warning] = network ? poolWarnings(this.wish(), network) : [];
    const before = this.#warned.has(id);
    if (warning === undefined) this.#warned.delete(id);
    else this.#warned.set(id, warning);
    if (network && before !== (warning !== undefined)) this.tell(id, warning);
  }
}

const CONCERNED: { [T in Table]: (stored: Stored<T>) => readonly string[] } = {
  networks: ({ id }) => [id],
  sandboxes: () => [],
  endpoints: ({ spec }) => [spec.network],
  services: ({ spec }) => Object.keys(spec.vips),
  nodes: ({ spec }) => Object.keys(spec.addresses),
  peers: ({ spec }) => [spec.network],
};

/** Networks of which an object can hold addresses. */
const concerned = (stored: Stored): readonly string[] => CONCERNED[stored.table](stored as never);
