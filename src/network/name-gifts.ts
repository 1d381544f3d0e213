import type { Ip } from '../base/ip.js';
import type { Stored, Wish } from '../model/registry.js';
import { addressesOf, type Served, servedBy } from './served.js';

/** Tables whose objects have names; an earlier one's are taken before a later one's. */
export const GIVING = ['services', 'endpoints', 'peers'] as const;
export type Giving = (typeof GIVING)[number];

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
export interface Gift {
  tier: number;
  /** In lower case. */
  key: string;
  ips: readonly Ip[];
  served?: Served;
  txt?: readonly string[];
}

/** What an object gives. */
export interface Given extends Giver {
  gifts: readonly Gift[];
  pointers: readonly (readonly [Ip, string])[];
}

export function byService(wish: Wish, on: Stored<'networks'>, service: Stored<'services'>): Given {
  const { id, spec } = service;
  const served = servedBy(wish, on, service);
  const vips = spec.vips[on.id] ?? [];
  const ips = spec.mode === 'vip' ? vips : served.backends.filter(({ priority }) => !priority).flatMap(addressesOf);
  const txt = Object.entries(spec.labels).map(([key, value]) => `${key}=${value}`);
  const gifts = [id, ...spec.aliases].flatMap((name, i) => {
    const tier = i === 0 ? TIER.service : TIER.alias;
    return [...gift(tier, name, ips, { txt: txt.sort() }), ...gift(tier, `tasks.${name}`, [], { served })];
  });
  return { table: 'services', id, gifts, pointers: pointersTo(vips, id, on.id) };
}

/** By the endpoint's own names whatever its state: who drains is still to be found by those who know it. */
export function byEndpoint(wish: Wish, { id, spec }: Stored<'endpoints'>): Given {
  const hostname = wish.sandboxes.get(spec.sandbox)?.spec.hostname;
  const names = [spec.sandbox, ...(hostname === undefined ? [] : [hostname]), ...spec.aliases];
  const gifts = names.flatMap((name) => gift(TIER.endpoint, name, spec.addresses));
  return { table: 'endpoints', id, gifts, pointers: pointersTo(spec.addresses, spec.sandbox, spec.network) };
}

export function byPeer({ id, spec }: Stored<'peers'>): Given {
  const ips = spec.addressV6 === undefined ? [spec.address] : [spec.address, spec.addressV6];
  const names = [...(spec.sandbox === undefined ? [] : [spec.sandbox]), ...spec.aliases];
  const gifts = names.flatMap((name) => gift(TIER.endpoint, name, ips));
  const pointers = names[0] === undefined ? [] : pointersTo(ips, names[0], spec.network);
  return { table: 'peers', id, gifts, pointers };
}

const gift = (tier: number, name: string, ips: readonly Ip[], more: Pick<Gift, 'served' | 'txt'> = {}): Gift[] =>
  isDomainName(name) ? [{ tier, key: name.toLowerCase(), ips, ...more }] : [];

function pointersTo(ips: readonly Ip[], name: string, network: string): [Ip, string][] {
  const target = `${name}.${network}`;
  return isDomainName(target) ? ips.map((ip) => [ip, target]) : [];
}
