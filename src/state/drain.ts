import { WeftError } from '../base/errors.js';
import type { Drain, Stored, Wish } from '../model/registry.js';
import { missing } from './check.js';
import type { Mutation } from './wish.js';

/** Who may be drained: an endpoint here or, by the key of its row, on another node. */
export type Backend = Stored<'endpoints'> | Stored<'peers'>;

/** What to drain: one endpoint, all backends of a service, or all on a node. */
export interface DrainTarget {
  endpoint?: string | undefined;
  service?: string | undefined;
  node?: string | undefined;
}

const isOne = ({ endpoint, service, node }: DrainTarget): boolean =>
  [endpoint, service, node].filter((name) => name !== undefined).length === 1;

/** The backends that a target names, at present. @throws WEFT_INVALID_ARGUMENT, WEFT_NOT_FOUND */
export function backendsNamed(wish: Wish, self: string, target: DrainTarget): Backend[] {
  if (!isOne(target)) {
    const hint = 'give endpoint, service or node';
    throw new WeftError('WEFT_INVALID_ARGUMENT', 'one thing is drained at a time', hint);
  }
  const { endpoint, service, node } = target;
  if (endpoint !== undefined) return [endpointNamed(wish, endpoint)];
  const serving = [...wish.endpoints.values(), ...wish.peers.values()].filter(({ spec }) => spec.service !== undefined);
  if (service !== undefined) {
    if (!wish.services.has(service)) throw missing('service', service, 'weft service ls');
    return serving.filter(({ spec }) => spec.service === service);
  }
  if (node === self) return serving.filter(({ table }) => table === 'endpoints');
  const vtep = wish.nodes.get(node as string)?.spec.vtep;
  const there = [...wish.peers.values()].filter((peer) => peer.node === node || peer.spec.vtep === vtep);
  if (vtep === undefined && there.length === 0) throw missing('node', node as string, 'weft node ls');
  return there.filter(({ spec }) => spec.service !== undefined);
}

function endpointNamed(wish: Wish, id: string): Backend {
  const found = wish.endpoints.get(id) ?? wish.peers.get(id);
  if (!found) throw missing('endpoint', id, 'weft endpoint ls');
  if (found.spec.service !== undefined) return found;
  const hint = 'what serves nobody can be disconnected at once';
  throw new WeftError('WEFT_INVALID_ARGUMENT', `endpoint "${id}" is no backend of a service`, hint);
}

/** Backends with another drain, or with none, where that is not how it is. */
export function withDrain(backends: readonly Backend[], drain: Drain | undefined, revision: number): Mutation[] {
  return backends
    .filter((b) => b.drain?.until !== drain?.until || b.drain?.over !== drain?.over)
    .map(({ drain: _before, ...rest }) => {
      const stored = { ...rest, revision, ...(drain && { drain }) } as Stored;
      return { table: stored.table, id: stored.id, stored };
    });
}

/** What is stated anew goes on being drained. */
export function keepDrains(wish: Wish, mutations: readonly Mutation[]): readonly Mutation[] {
  return mutations.map((mutation) => {
    const { table, id, stored } = mutation;
    const drain = table === 'endpoints' || table === 'peers' ? wish[table].get(id)?.drain : undefined;
    return drain && stored ? { table, id, stored: { ...stored, drain } } : mutation;
  });
}
