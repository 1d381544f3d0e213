import { type Claims, claim, claimsOf, release } from '../base/claims.js';
import { type Cidr, family, type Ip } from '../base/ip.js';
import type { Stored, Wish } from '../model/registry.js';
import { byEndpoint, byPeer, byService, GIVING, type Gift, type Given, type Giver, type Giving } from './name-gifts.js';
import { endpointsOn, servicesOn } from './on-network.js';
import type { Served } from './served.js';

/** What stands under a name; one with nothing exists and is empty. */
export interface NameEntry {
  a?: Ip[];
  aaaa?: Ip[];
  /** Of `tasks.SERVICE`: its backends, whose addresses are the name's too. */
  served?: Served[];
  /** Labels of the service, `KEY=VALUE`. */
  txt?: string[];
}

/** Names of one network, as its sandboxes see them. */
export interface NetworkNames {
  internal: boolean;
  ingress?: boolean;
  subnets: Cidr[];
  /** By name in lower case. */
  names: Record<string, NameEntry>;
  /** By address, `NAME.NETWORK`. */
  ptr: Record<Ip, string>;
}

/** What leads from one state of a network's names to the next, name by name; null for what is gone. */
export interface NamesPatch {
  names?: Record<string, NameEntry | null>;
  ptr?: Record<Ip, string | null>;
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
      names: Object.fromEntries([...this.#names.keys()].map((key) => [key, this.#addresses(key) as NameEntry])),
      ptr: Object.fromEntries([...this.#pointers.keys()].map((ip) => [ip, this.#target(ip) as string])),
    };
  }

  /**
   * Takes anew what these objects give.
   * @returns the names that are others now; undefined where none is
   */
  update(wish: Wish, givers: Iterable<Giver>): NamesPatch | undefined {
    if (this.network.spec.ingress) return undefined;
    const names = new Map<string, NameEntry | undefined>();
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

  #addresses(key: string): NameEntry | undefined {
    const gifts = inOrder(this.#names.get(key)).flatMap((kept) => givenBy(kept).gifts.filter((g) => g.key === key));
    if (gifts.length === 0) return undefined;
    const tier = gifts.reduce((least, gift) => Math.min(least, gift.tier), Number.POSITIVE_INFINITY);
    return together(gifts.filter((gift) => gift.tier === tier));
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

/** Equal names of one tier as one: everything that is given, once. */
function together(gifts: readonly Gift[]): NameEntry {
  const once = <T>(of: (gift: Gift) => readonly T[]): T[] => [...new Set(gifts.flatMap(of))];
  const ips = once((gift) => gift.ips);
  const [a, aaaa] = [ips.filter((ip) => family(ip) === 4), ips.filter((ip) => family(ip) === 6)];
  const served = once((gift) => (gift.served ? [gift.served] : []));
  const txt = once((gift) => gift.txt ?? []);
  return {
    ...(a.length > 0 && { a }),
    ...(aaaa.length > 0 && { aaaa }),
    ...(served.length > 0 && { served }),
    ...(txt.length > 0 && { txt }),
  };
}
