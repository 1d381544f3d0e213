import { fromNumber, last, type Prefix, size, toNumber } from '../base/cidr.js';
import { type Claims, claim, claimsOf, release } from '../base/claims.js';
import { type Family, family, type Ip, type Mac } from '../base/ip.js';
import type { Stored, Table, Wish } from './registry.js';
import { WishIndex } from './wish-index.js';

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

/** Who holds what, by network. */
const byNetworks = new WishIndex<Map<string, Holders>>(
  ['endpoints', 'peers', 'services', 'nodes'],
  () => new Map(),
  (networks, stored) => {
    for (const [network, addresses, mac] of held(stored)) {
      const holders = networks.get(network) ?? new Holders();
      holders.add(stored, addresses, mac);
      networks.set(network, holders);
    }
  },
  (networks, stored) => {
    for (const [network, addresses, mac] of held(stored)) networks.get(network)?.remove(stored, addresses, mac);
  },
);

/** Endpoints by sandbox and id. */
const bySandbox = new WishIndex<Map<string, Map<string, Stored<'endpoints'>>>>(
  ['endpoints'],
  () => new Map(),
  (sandboxes, stored) => {
    const endpoint = stored as Stored<'endpoints'>;
    const { sandbox } = endpoint.spec;
    sandboxes.set(sandbox, (sandboxes.get(sandbox) ?? new Map()).set(endpoint.id, endpoint));
  },
  (sandboxes, stored) => {
    const { sandbox } = (stored as Stored<'endpoints'>).spec;
    const endpoints = sandboxes.get(sandbox);
    endpoints?.delete(stored.id);
    if (endpoints?.size === 0) sandboxes.delete(sandbox);
  },
);

/** Who holds what of a network. */
export const holdersOf = (wish: Wish, network: string): Holders => byNetworks.of(wish).get(network) ?? new Holders();

/** The endpoints of a sandbox. */
export const endpointsOf = (wish: Wish, sandbox: string): Stored<'endpoints'>[] => [
  ...(bySandbox.of(wish).get(sandbox)?.values() ?? []),
];
