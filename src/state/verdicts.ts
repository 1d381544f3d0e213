import type { Stored, Wish } from '../model/registry.js';
import type { Mutation } from './wish.js';

/** The endpoint as this node's probes found it; undefined where that is how it stands. */
export function judged(wish: Wish, id: string, unhealthy: boolean, revision: number): Mutation | undefined {
  const found = wish.endpoints.get(id);
  if (!found || (found.unhealthy === true) === unhealthy) return undefined;
  const { unhealthy: _before, ...rest } = found;
  const stored = { ...rest, revision, ...(unhealthy && { unhealthy }) } as Stored;
  return { table: 'endpoints', id, stored };
}

/** An endpoint that is stated anew is as well as it was. */
export function keepVerdicts(wish: Wish, mutations: readonly Mutation[]): readonly Mutation[] {
  return mutations.map((mutation) => {
    const { table, id, stored } = mutation;
    const sick = table === 'endpoints' && wish.endpoints.get(id)?.unhealthy;
    return sick && stored ? { table, id, stored: { ...stored, unhealthy: true as const } } : mutation;
  });
}
