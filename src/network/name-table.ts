import { type Backend, backendsOf, isActive, preferred } from '../balance/backends.js';
import { type Claims, claim, claimsOf, release } from '../base/claims.js';
import { type Cidr, family, type Ip } from '../base/ip.js';
import type { Stored, Wish } from '../model/registry.js';
import { endpointsOn, servicesOn } from './on-network.js';
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
  subnets: Cidr[];
  /** By name in lower case. */
  names: Record<string, NameAddresses>;
  /** By address, `NAME.NETWORK`. */
  ptr: Record<Ip, string>;
}

/** What leads from one state of a network's names to the next, name by name; null for what is gone. */
export interface NamesPatch {
  names?: Record<string, NameAddresses | null>;
  ptr?: Record<Ip, string | null>;
}

/** Tables whose objects have names; an earlier one's are taken before a later one's. */
const GIVING = ['services', 'endpoints', 'peers'] as const;
type Giving = (typeof GIVING)[number];

/** An object that gives names to a network. */
export interface Giver {
  table: Giving;
  id: string;
}

/** Longest label, and longest name with dots (RFC 1035 section 2.3.4; the limit on the wire is 255 octets). */
const LABEL_MAX = 63;
const NAME_MAX = 253;

/** Can a DNS message carry the name? Names of weft may hold what it cannot: `a..b`, `a.`. */
export function isDomainName(name: string): boolean {
  return name.length <= NAME_MAX && name.split('.').every((label) => label !== '' && label.length <= LABEL_MAX);
}

/** A name that stands in an earlier tier hides the same name in later ones. */
const TIER = { service: 0, alias: 1, endpoint: 2 } as const;

/** A name that an object gives. */
interface Gift {
  tier: number;
  /** In lower case. */
  key: string;
  ips: readonly Ip[];
}

/** What an object gives. */
interface Given extends Giver {
  gifts: readonly Gift[];
  pointers: readonly (readonly [Ip, string])[];
}

/** Peers are many, so theirs is worked out when it is needed. */
type Kept = Given | Stored<'peers'>;

/**
 * The names of a network, by name and by who gives them: services and `tasks.SERVICE`, then aliases of services, then
 * endpoints here and elsewhere by sandbox, host name and alias. A service hides an endpoint of the same name, so that its
 * callers are balanced; equal names of one tier (an alias that several endpoints share) are one name with the addresses
 * of all, in the order of their ids. One more peer costs its own names, not those of the network.
 */
export class NameTable {
  readonly #kept: Record<Giving, Map<string, Kept>> = { services: new Map(), endpoints: new Map(), peers: new Map() };
  readonly #names = new Map<string, Claims<Kept>>();
  readonly #pointers = new Map<Ip, Claims<Kept>>();

  constructor(
    wish: Wish,
    readonly network: Stored<'networks'>,
  ) {
    if (network.spec.ingress) return;
    const { id } = network;
    const all = [...servicesOn(wish, id), ...endpointsOn(wish, id), ...wish.peers.values()];
    for (const giver of all) this.#take(wish, giver as Giver);
  }

  whole(): NetworkNames {
    const { internal, ingress, subnets } = this.network.spec;
    return {
      internal,
      ...(ingress && { ingress }),
      subnets,
      names: Object.fromEntries([...this.#names.keys()].map((key) => [key, this.#addresses(key) as NameAddresses])),
      ptr: Object.fromEntries([...this.#pointers.keys()].map((ip) => [ip, this.#target(ip) as string])),
    };
  }

  /**
   * Takes anew what these objects give.
   * @returns the names that are others now; undefined where none is
   */
  update(wish: Wish, givers: Iterable<Giver>): NamesPatch | undefined {
    if (this.network.spec.ingress) return undefined;
    const names = new Map<string, NameAddresses | undefined>();
    const pointers = new Map<Ip, string | undefined>();
    const note = (kept: Kept | undefined) => {
      if (!kept) return;
      const { gifts, pointers: to } = givenBy(kept);
      for (const { key } of gifts) if (!names.has(key)) names.set(key, this.#addresses(key));
      for (const [ip] of to) if (!pointers.has(ip)) pointers.set(ip, this.#target(ip));
    };
    const changed = [...givers];
    const next = changed.map((giver) => this.#read(wish, giver));
    for (const { table, id } of changed) note(this.#kept[table].get(id));
    for (const kept of next) note(kept);
    for (const giver of changed) this.#drop(giver);
    for (const kept of next) if (kept) this.#keep(kept);
    const otherNames = different(names, (key) => this.#addresses(key));
    const otherPointers = different(pointers, (ip) => this.#target(ip));
    if (!otherNames && !otherPointers) return undefined;
    return { ...(otherNames && { names: otherNames }), ...(otherPointers && { ptr: otherPointers }) };
  }

  #take(wish: Wish, giver: Giver): void {
    const kept = this.#read(wish, giver);
    if (kept) this.#keep(kept);
  }

  /** What the wish has of an object; undefined where it gives this network nothing. */
  #read(wish: Wish, { table, id }: Giver): Kept | undefined {
    if (table === 'peers') {
      const peer = wish.peers.get(id);
      return peer?.spec.network === this.network.id ? peer : undefined;
    }
    if (table === 'services') {
      const service = wish.services.get(id);
      return service?.spec.networks.includes(this.network.id) ? byService(wish, this.network, service) : undefined;
    }
    const endpoint = wish.endpoints.get(id);
    return endpoint?.spec.network === this.network.id ? byEndpoint(wish, endpoint) : undefined;
  }

  #keep(kept: Kept): void {
    const { gifts, pointers } = givenBy(kept);
    this.#kept[kept.table].set(kept.id, kept);
    for (const key of new Set(gifts.map((gift) => gift.key))) claim(this.#names, key, kept);
    for (const ip of new Set(pointers.map(([ip]) => ip))) claim(this.#pointers, ip, kept);
  }

  #drop({ table, id }: Giver): void {
    const kept = this.#kept[table].get(id);
    if (!kept) return;
    const { gifts, pointers } = givenBy(kept);
    this.#kept[table].delete(id);
    for (const { key } of gifts) release(this.#names, key, (one) => one === kept);
    for (const [ip] of pointers) release(this.#pointers, ip, (one) => one === kept);
  }

  #addresses(key: string): NameAddresses | undefined {
    const gifts = inOrder(this.#names.get(key)).flatMap((kept) => givenBy(kept).gifts.filter((g) => g.key === key));
    if (gifts.length === 0) return undefined;
    const tier = gifts.reduce((least, gift) => Math.min(least, gift.tier), Number.POSITIVE_INFINITY);
    return byFamily(new Set(gifts.filter((gift) => gift.tier === tier).flatMap((gift) => gift.ips)));
  }

  /** An endpoint on the move is known here and elsewhere for a moment: the first, which is here, counts. */
  #target(ip: Ip): string | undefined {
    const [first] = inOrder(this.#pointers.get(ip));
    return first && givenBy(first).pointers.find(([address]) => address === ip)?.[1];
  }
}

function inOrder(claims: Claims<Kept> | undefined): readonly Kept[] {
  const all = claimsOf(claims);
  if (all.length < 2) return all;
  const place = ({ table }: Kept) => GIVING.indexOf(table as Giving);
  return [...all].sort((a, b) => place(a) - place(b) || (a.id < b.id ? -1 : 1));
}

function different<K extends string, T>(
  before: ReadonlyMap<K, T | undefined>,
  now: (key: K) => T | undefined,
): Record<K, T | null> | undefined {
  const out: [K, T | null][] = [];
  for (const [key, was] of before) {
    const is = now(key);
    if (JSON.stringify(was) !== JSON.stringify(is)) out.push([key, is ?? null]);
  }
  return out.length > 0 ? (Object.fromEntries(out) as Record<K, T | null>) : undefined;
}

const givenBy = (kept: Kept): Given => ('spec' in kept ? byPeer(kept) : kept);

function byService(wish: Wish, on: Stored<'networks'>, service: Stored<'services'>): Given {
  const { id, spec } = service;
  const families = familiesOf(on);
  const backends = families.map((of) => backendsOf(wish, service.id, on.id, of));
  const tasks = activeOf(backends);
  const vips = spec.vips[on.id] ?? [];
  const ips = spec.mode === 'vip' ? vips : activeOf(backends.map((list) => preferred(service, list)));
  const gifts = [id, ...spec.aliases].flatMap((name, i) => {
    const tier = i === 0 ? TIER.service : TIER.alias;
    return [...gift(tier, name, ips), ...gift(tier, `tasks.${name}`, tasks)];
  });
  return { table: 'services', id, gifts, pointers: pointersTo(vips, id, on.id) };
}

/** Addresses of those that take connections. */
const activeOf = (backends: readonly (readonly Backend[])[]): Ip[] =>
  backends
    .flat()
    .filter(isActive)
    .map(({ ip }) => ip);

/** By the endpoint's own names whatever its state: who drains is still to be found by those who know it. */
function byEndpoint(wish: Wish, { id, spec }: Stored<'endpoints'>): Given {
  const hostname = wish.sandboxes.get(spec.sandbox)?.spec.hostname;
  const names = [spec.sandbox, ...(hostname === undefined ? [] : [hostname]), ...spec.aliases];
  const gifts = names.flatMap((name) => gift(TIER.endpoint, name, spec.addresses));
  return { table: 'endpoints', id, gifts, pointers: pointersTo(spec.addresses, spec.sandbox, spec.network) };
}

function byPeer({ id, spec }: Stored<'peers'>): Given {
  const ips = spec.addressV6 === undefined ? [spec.address] : [spec.address, spec.addressV6];
  const names = [...(spec.sandbox === undefined ? [] : [spec.sandbox]), ...spec.aliases];
  const gifts = names.flatMap((name) => gift(TIER.endpoint, name, ips));
  const pointers = names[0] === undefined ? [] : pointersTo(ips, names[0], spec.network);
  return { table: 'peers', id, gifts, pointers };
}

const gift = (tier: number, name: string, ips: readonly Ip[]): Gift[] =>
  isDomainName(name) ? [{ tier, key: name.toLowerCase(), ips }] : [];

function pointersTo(ips: readonly Ip[], name: string, network: string): [Ip, string][] {
  const target = `${name}.${network}`;
  return isDomainName(target) ? ips.map((ip) => [ip, target]) : [];
}

function byFamily(ips: ReadonlySet<Ip>): NameAddresses {
  const a = [...ips].filter((ip) => family(ip) === 4);
  const aaaa = [...ips].filter((ip) => family(ip) === 6);
  return { ...(a.length > 0 && { a }), ...(aaaa.length > 0 && { aaaa }) };
}
