import { WeftError } from '../base/errors.js';
import { sameJson } from '../base/same.js';
import type { Drain, Stored, Wish } from '../model/registry.js';
import { serves, servicesOf } from '../model/serving.js';
import { missing } from './check.js';
import type { Mutation } from './wish.js';

/** Who may be drained: an endpoint here or, by the key of its row, on another node. */
export type Backend = Stored<'endpoints'> | Stored<'peers'>;

/** What to drain: one endpoint, all backends of a service (as its backends alone), or all on a node. */
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
  const all = [...wish.endpoints.values(), ...wish.peers.values()];
  if (service !== undefined) {
    if (!wish.services.has(service)) throw missing('service', service, 'weft service ls');
    return all.filter(({ spec }) => serves(spec, service));
  }
  const serving = all.filter(({ spec }) => spec.service !== undefined);
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

/**
 * Backends with another drain, or with none, where that is not how it is.
 * @param service only as backends of it; not given: of every service, or, where the time is up, of those that were drained
 */
export function withDrain(
  backends: readonly Backend[],
  drain: Drain | undefined,
  revision: number,
  service?: string,
): Mutation[] {
  return backends.flatMap((backend) => {
    const { drain: before, ...rest } = backend;
    const after = drainOf(backend, drain, service);
    if (sameJson(before, after)) return [];
    const stored = { ...rest, revision, ...(after && { drain: after }) } as Stored;
    return [{ table: stored.table, id: stored.id, stored }];
  });
}

/** Each backend has one deadline: the last that was given, whatever service it was given for. */
function drainOf({ spec, drain: before }: Backend, drain: Drain | undefined, service?: string): Drain | undefined {
  const all = servicesOf(spec);
  const were = before ? (before.services ?? all) : [];
  if (drain?.over) return { ...drain, ...(before?.services && { services: before.services }) };
  if (service === undefined) return drain;
  const drained = all.filter((id) => (id === service ? drain !== undefined : were.includes(id)));
  const how = drain ?? before;
  if (drained.length === 0 || !how) return undefined;
  const { services: _were, ...rest } = how;
  return drained.length === all.length ? rest : { ...rest, services: drained };
}

/** What is stated anew goes on being drained. */
export function keepDrains(wish: Wish, mutations: readonly Mutation[]): readonly Mutation[] {
  return mutations.map((mutation) => {
    const { table, id, stored } = mutation;
    const drain = table === 'endpoints' || table === 'peers' ? wish[table].get(id)?.drain : undefined;
    return drain && stored ? { table, id, stored: { ...stored, drain } } : mutation;
  });
}
