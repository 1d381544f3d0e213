import type { Stored, Wish } from '../model/registry.js';

type Groups<T> = ReadonlyMap<string, readonly T[]>;

/** By table: one that did not change is the same in the next reading of the wish. */
const endpointsByNetwork = new WeakMap<Wish['endpoints'], Groups<Stored<'endpoints'>>>();
const endpointsBySandbox = new WeakMap<Wish['endpoints'], Groups<Stored<'endpoints'>>>();
const servicesByNetwork = new WeakMap<Wish['services'], Groups<Stored<'services'>>>();

/** Networks with a sandbox of this node on them, and what is there: nobody here can ask for the names of others. */
export const namedNetworks = ({ endpoints }: Wish): Groups<Stored<'endpoints'>> =>
  kept(endpointsByNetwork, endpoints, ({ spec }) => [spec.network]);

export const endpointsOn = (wish: Wish, network: string): readonly Stored<'endpoints'>[] =>
  namedNetworks(wish).get(network) ?? [];

export const servicesOn = ({ services }: Wish, network: string): readonly Stored<'services'>[] =>
  kept(servicesByNetwork, services, ({ spec }) => spec.networks).get(network) ?? [];

/** Endpoints of a sandbox in the order of connection, which is the order in which the wish took them in. */
export const endpointsOf = ({ endpoints }: Wish, sandbox: string): readonly Stored<'endpoints'>[] =>
  kept(endpointsBySandbox, endpoints, ({ spec }) => [spec.sandbox]).get(sandbox) ?? [];

function kept<T>(
  memory: WeakMap<ReadonlyMap<string, T>, Groups<T>>,
  table: ReadonlyMap<string, T>,
  groups: (one: T) => readonly string[],
): Groups<T> {
  let found = memory.get(table);
  if (!found) {
    found = grouped(table.values(), groups);
    memory.set(table, found);
  }
  return found;
}

function grouped<T>(all: Iterable<T>, groups: (one: T) => readonly string[]): Map<string, T[]> {
  const out = new Map<string, T[]>();
  for (const one of all) {
    for (const group of new Set(groups(one))) {
      const list = out.get(group);
      if (list) list.push(one);
      else out.set(group, [one]);
    }
  }
  return out;
}
