import { backendsOf } from '../balance/backends.js';
import { type Family, family, type Ip } from '../base/ip.js';
import type { Stored, Wish } from '../model/registry.js';
import type { Change } from './affected.js';
import { familiesOf } from './world.js';

/** What a name resolves to; without either list it exists and is empty. */
export interface NameAddresses {
  a?: Ip[];
  aaaa?: Ip[];
}

/** Names of one network, as its sandboxes see them. */
export interface NetworkNames {
  internal: boolean;
  ingress?: boolean;
  /** By name in lower case. */
  names: Record<string, NameAddresses>;
  /** By address, `NAME.NETWORK`. */
  ptr: Record<Ip, string>;
}

/** What the resolver is told about a sandbox. */
export interface SandboxNames {
  /** Path of its network namespace. */
  netns: string;
  /** In the order of connection. */
  networks: string[];
  dns?: string[];
}

/** Longest label, and longest name with dots (RFC 1035 section 2.3.4; the limit on the wire is 255 octets). */
const LABEL_MAX = 63;
const NAME_MAX = 253;

/** Can a DNS message carry the name? Names of weft may hold what it cannot: `a..b`, `a.`. */
export function isDomainName(name: string): boolean {
  return name.length <= NAME_MAX && name.split('.').every((label) => label !== '' && label.length <= LABEL_MAX);
}

/** Names by tier: a name that stands in an earlier one hides the same name in later ones. */
type Tier = Map<string, Set<Ip>>;

/**
 * The names of a network: services and `tasks.SERVICE`, then aliases of services, then endpoints here and elsewhere by
 * sandbox, host name and alias. A service hides an endpoint of the same name, so that its callers are balanced; equal
 * names of one tier (an alias that several endpoints share) are one name with the addresses of all.
 */
export function networkNames(wish: Wish, network: Stored<'networks'>): NetworkNames {
  const { internal, ingress } = network.spec;
  const ptr = new Map<Ip, string>();
  const tiers = ingress ? [] : [...serviceTiers(wish, network, ptr), endpointTier(wish, network.id, ptr)];
  const names = new Map<string, NameAddresses>();
  for (const tier of tiers) {
    const hidden = new Set(names.keys());
    for (const [name, ips] of tier) if (!hidden.has(name)) names.set(name, byFamily(ips));
  }
  return {
    internal,
    ...(ingress && { ingress }),
    names: Object.fromEntries(names),
    ptr: Object.fromEntries(ptr),
  };
}

function serviceTiers(wish: Wish, on: Stored<'networks'>, ptr: Map<Ip, string>): [Tier, Tier] {
  const network = on.id;
  const families = familiesOf(on);
  const own: Tier = new Map();
  const aliases: Tier = new Map();
  for (const { id, spec } of onNetwork(wish).services.get(network) ?? []) {
    const backends = activeBackends(wish, id, network, families);
    const vips = spec.vips[network] ?? [];
    const ips = spec.mode === 'vip' ? vips : backends;
    add(own, id, ips);
    add(own, `tasks.${id}`, backends);
    for (const alias of spec.aliases) {
      add(aliases, alias, ips);
      add(aliases, `tasks.${alias}`, backends);
    }
    if (spec.mode === 'vip') for (const vip of vips) point(ptr, vip, id, network);
  }
  return [own, aliases];
}

function activeBackends(wish: Wish, service: string, network: string, families: readonly Family[]): Ip[] {
  return families.flatMap((of) =>
    backendsOf(wish, service, network, of)
      .filter((backend) => backend.active)
      .map((backend) => backend.ip),
  );
}

/** By the endpoint's own names whatever its state: who drains is still to be found by those who know it. */
function endpointTier(wish: Wish, network: string, ptr: Map<Ip, string>): Tier {
  const tier: Tier = new Map();
  const { endpoints, peers } = onNetwork(wish);
  for (const { spec } of endpoints.get(network) ?? []) {
    const hostname = wish.sandboxes.get(spec.sandbox)?.spec.hostname;
    const names = [spec.sandbox, ...(hostname === undefined ? [] : [hostname]), ...spec.aliases];
    for (const name of names) add(tier, name, spec.addresses);
    for (const ip of spec.addresses) point(ptr, ip, spec.sandbox, network);
  }
  for (const { spec } of peers.get(network) ?? []) {
    const ips = spec.addressV6 === undefined ? [spec.address] : [spec.address, spec.addressV6];
    const names = [...(spec.sandbox === undefined ? [] : [spec.sandbox]), ...spec.aliases];
    for (const name of names) add(tier, name, ips);
    if (names[0] !== undefined) for (const ip of ips) point(ptr, ip, names[0], network);
  }
  return tier;
}

function add(tier: Tier, name: string, ips: readonly Ip[]): void {
  if (!isDomainName(name)) return;
  const key = name.toLowerCase();
  const found = tier.get(key) ?? new Set();
  for (const ip of ips) found.add(ip);
  tier.set(key, found);
}

/** An endpoint on the move is known here and elsewhere for a moment: the first, which is here, counts. */
function point(ptr: Map<Ip, string>, ip: Ip, name: string, network: string): void {
  const target = `${name}.${network}`;
  if (!ptr.has(ip) && isDomainName(target)) ptr.set(ip, target);
}

function byFamily(ips: ReadonlySet<Ip>): NameAddresses {
  const a = [...ips].filter((ip) => family(ip) === 4);
  const aaaa = [...ips].filter((ip) => family(ip) === 6);
  return { ...(a.length > 0 && { a }), ...(aaaa.length > 0 && { aaaa }) };
}

/** @param netns path at which the resolver finds the sandbox's namespace */
export function sandboxNames(wish: Wish, sandbox: Stored<'sandboxes'>, netns: string): SandboxNames {
  const networks = endpointsOf(wish, sandbox.id).map(({ spec }) => spec.network);
  const { dns } = sandbox.spec;
  return { netns, networks, ...(dns.length > 0 && { dns }) };
}

/** Endpoints of a sandbox in the order of connection, which is the order in which the wish took them in. */
export function endpointsOf(wish: Wish, sandbox: string): readonly Stored<'endpoints'>[] {
  return onNetwork(wish).bySandbox.get(sandbox) ?? [];
}

/** Networks with a sandbox of this node on them: nobody here can ask for the names of others. */
export function namedNetworks(wish: Wish): ReadonlyMap<string, readonly Stored<'endpoints'>[]> {
  return onNetwork(wish).endpoints;
}

interface OnNetwork {
  services: Map<string, Stored<'services'>[]>;
  endpoints: Map<string, Stored<'endpoints'>[]>;
  peers: Map<string, Stored<'peers'>[]>;
  bySandbox: Map<string, Stored<'endpoints'>[]>;
}
const indexes = new WeakMap<Wish, OnNetwork>();

/** What is on which network; made once for each reading of the wish. */
function onNetwork(wish: Wish): OnNetwork {
  let index = indexes.get(wish);
  if (!index) {
    const endpoints = [...wish.endpoints.values()];
    index = {
      services: grouped(wish.services.values(), ({ spec }) => spec.networks),
      endpoints: grouped(endpoints, ({ spec }) => [spec.network]),
      peers: grouped(wish.peers.values(), ({ spec }) => [spec.network]),
      bySandbox: grouped(endpoints, ({ spec }) => [spec.sandbox]),
    };
    indexes.set(wish, index);
  }
  return index;
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

/** Entries of the view that changes of the wish may have altered. */
export interface AffectedNames {
  networks: Set<string>;
  sandboxes: Set<string>;
}

/** @param before the wish as it was, for what is gone from it or has moved */
export function affectedNames(changes: readonly Change[], before: Wish, after: Wish): AffectedNames {
  const affected: AffectedNames = { networks: new Set(), sandboxes: new Set() };
  for (const change of changes) for (const wish of [before, after]) AFFECTS[change.table](wish, change.id, affected);
  return affected;
}

const AFFECTS: { [T in Change['table']]: (wish: Wish, id: string, affected: AffectedNames) => void } = {
  networks: (_wish, id, { networks }) => void networks.add(id),
  sandboxes(wish, id, { networks, sandboxes }) {
    sandboxes.add(id);
    // Its host name is a name there.
    for (const { spec } of endpointsOf(wish, id)) networks.add(spec.network);
  },
  endpoints(wish, id, { networks, sandboxes }) {
    const spec = wish.endpoints.get(id)?.spec;
    if (!spec) return;
    networks.add(spec.network);
    sandboxes.add(spec.sandbox);
  },
  services(wish, id, { networks }) {
    for (const network of wish.services.get(id)?.spec.networks ?? []) networks.add(network);
  },
  // Whether it is alive decides about backends on any network.
  nodes(wish, _id, { networks }) {
    for (const network of namedNetworks(wish).keys()) networks.add(network);
  },
  peers(wish, id, { networks }) {
    const spec = wish.peers.get(id)?.spec;
    if (spec) networks.add(spec.network);
  },
};
