import { fromNumber, last, type Prefix, size, toNumber } from '../base/cidr.js';
import { type Claims, claim, claimsOf, release } from '../base/claims.js';
import { type Family, family, type Ip, type Mac } from '../base/ip.js';
import type { Stored, Table, Wish } from '../model/registry.js';
import type { Mutation } from './wish.js';

/** Addresses in a page, a power of two: what is full is skipped page by page, so that a /16 has 256 steps. */
const PAGE_BITS = 8n;
const PAGE = 1n << PAGE_BITS;

/** One holder, or several where gossip claims an address twice. */
type Holding = Claims<Stored>;

const isSame =
  ({ table, id }: Stored) =>
  (other: Stored): boolean =>
    other.table === table && other.id === id;

/** Who holds which address and MAC of one network: endpoints here and elsewhere, VIPs, nodes. */
export class Holders {
  readonly #addresses = new Map<Ip, Holding>();
  readonly #macs = new Map<Mac, Holding>();
  /** How many addresses of a page are held. */
  readonly #pages: Record<Family, Map<bigint, number>> = { 4: new Map(), 6: new Map() };
  readonly #totals: Record<Family, number> = { 4: 0, 6: 0 };

  of(ip: Ip): readonly Stored[] {
    return claimsOf(this.#addresses.get(ip));
  }

  ofMac(mac: Mac): readonly Stored[] {
    return claimsOf(this.#macs.get(mac));
  }

  /** How many addresses of a family are held. */
  total(of: Family): number {
    return this.#totals[of];
  }

  /** How many addresses of a prefix are held; the cost is that of its pages, or of the held ones where those are fewer. */
  count(prefix: Prefix): number {
    const pages = this.#pages[prefix.family];
    const [from, to] = [toNumber(prefix.first), toNumber(last(prefix))];
    let held = 0;
    if (size(prefix) < PAGE) {
      if (!pages.has(from >> PAGE_BITS)) return 0;
      for (let n = from; n <= to; n++) if (this.#addresses.has(fromNumber(n, prefix.family))) held++;
    } else if (size(prefix) >> PAGE_BITS > BigInt(pages.size)) {
      for (const [page, count] of pages) if (page >= from >> PAGE_BITS && page <= to >> PAGE_BITS) held += count;
    } else {
      for (let page = from >> PAGE_BITS; page <= to >> PAGE_BITS; page++) held += pages.get(page) ?? 0;
    }
    return held;
  }

  /** The lowest number from `n` on that is not in a full page; `n` itself where its page has room. */
  pastFullPages(n: bigint, of: Family): bigint {
    const pages = this.#pages[of];
    while (pages.get(n >> PAGE_BITS) === Number(PAGE)) n = ((n >> PAGE_BITS) + 1n) << PAGE_BITS;
    return n;
  }

  add(stored: Stored, addresses: readonly Ip[], mac: Mac | undefined): void {
    for (const ip of addresses) if (claim(this.#addresses, ip, stored)) this.#count(ip, 1);
    if (mac !== undefined) claim(this.#macs, mac, stored);
  }

  remove(stored: Stored, addresses: readonly Ip[], mac: Mac | undefined): void {
    for (const ip of addresses) if (release(this.#addresses, ip, isSame(stored))) this.#count(ip, -1);
    if (mac !== undefined) release(this.#macs, mac, isSame(stored));
  }

  #count(ip: Ip, change: 1 | -1): void {
    const pages = this.#pages[family(ip)];
    this.#totals[family(ip)] += change;
    const page = toNumber(ip) >> PAGE_BITS;
    const count = (pages.get(page) ?? 0) + change;
    if (count > 0) pages.set(page, count);
    else pages.delete(page);
  }
}

/** What an object of the wish holds, by network. */
function held(stored: Stored): [network: string, addresses: readonly Ip[], mac: Mac | undefined][] {
  if (isOf(stored, 'endpoints')) return [[stored.spec.network, stored.spec.addresses, stored.spec.mac]];
  if (isOf(stored, 'peers')) {
    const { network, address, addressV6, mac } = stored.spec;
    return [[network, addressV6 === undefined ? [address] : [address, addressV6], mac]];
  }
  if (isOf(stored, 'services')) return byNetwork(stored.spec.vips);
  return isOf(stored, 'nodes') ? byNetwork(stored.spec.addresses) : [];
}

const byNetwork = (addresses: Readonly<Record<string, Ip[]>>): [string, Ip[], undefined][] =>
  Object.entries(addresses).map(([network, ips]) => [network, ips, undefined]);

const isOf = <T extends Table>(stored: Stored, table: T): stored is Stored & Stored<T> => stored.table === table;

interface Index {
  networks: Map<string, Holders>;
  /** Endpoints by sandbox and id. */
  sandboxes: Map<string, Map<string, Stored<'endpoints'>>>;
}

const indexes = new WeakMap<Wish, Index>();

function enter(index: Index, stored: Stored): void {
  for (const [network, addresses, mac] of held(stored)) {
    const holders = index.networks.get(network) ?? new Holders();
    holders.add(stored, addresses, mac);
    index.networks.set(network, holders);
  }
  if (!isOf(stored, 'endpoints')) return;
  const { sandbox } = stored.spec;
  index.sandboxes.set(sandbox, (index.sandboxes.get(sandbox) ?? new Map()).set(stored.id, stored));
}

function leave(index: Index, stored: Stored): void {
  for (const [network, addresses, mac] of held(stored)) index.networks.get(network)?.remove(stored, addresses, mac);
  if (isOf(stored, 'endpoints')) index.sandboxes.get(stored.spec.sandbox)?.delete(stored.id);
}

/** Who holds what of a network. */
export const holdersOf = (wish: Wish, network: string): Holders => indexOf(wish).networks.get(network) ?? new Holders();

/** The endpoints of a sandbox. */
export const endpointsOf = (wish: Wish, sandbox: string): Stored<'endpoints'>[] => [
  ...(indexOf(wish).sandboxes.get(sandbox)?.values() ?? []),
];

/** The first question about a wish reads all of it; `follow` keeps the answer up to date. */
function indexOf(wish: Wish): Index {
  let index = indexes.get(wish);
  if (!index) {
    index = { networks: new Map(), sandboxes: new Map() };
    for (const table of [wish.endpoints, wish.peers, wish.services, wish.nodes])
      for (const stored of table.values() as Iterable<Stored>) enter(index, stored);
    indexes.set(wish, index);
  }
  return index;
}

/**
 * Hands what is known of one reading of the wish on to the next: a change costs what it changes, not the whole wish. The
 * old reading forgets; who asks it again has it read anew.
 */
export function follow(before: Wish, after: Wish, mutations: readonly Mutation[]): void {
  const index = indexes.get(before);
  if (!index) return;
  indexes.delete(before);
  const latest = new Map(mutations.map((m) => [`${m.table}/${m.id}`, m]));
  for (const { table, id, stored } of latest.values()) {
    const old = before[table].get(id) as Stored | undefined;
    if (old) leave(index, old);
    if (stored) enter(index, stored);
  }
  indexes.set(after, index);
}
