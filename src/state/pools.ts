import {
  cidrText,
  contains,
  fromNumber,
  last,
  overlaps,
  type Prefix,
  parseCidr,
  size,
  toNumber,
} from '../base/cidr.js';
import { bits, type Cidr, type Family, family, type Ip } from '../base/ip.js';
import { type Holders, holdersOf } from '../model/holders.js';
import { isLocalScope, type Network } from '../model/network.js';
import type { Stored, Wish } from '../model/registry.js';

/** Addresses of one family of a network that endpoints and VIPs can have. */
export interface Pool {
  family: Family;
  /** Disjoint, ascending: the network's ranges of the family, or its subnets where it has none. */
  ranges: readonly Prefix[];
  /** May this agent choose from it? Two agents that draw from one subnet would give one address twice. */
  chosenHere: boolean;
  /** Never allocated: gateways, reserved ones, first and last addresses of subnets. Disjoint, ascending. */
  avoided: readonly Prefix[];
  /** How many addresses the ranges have besides. */
  usable: bigint;
}

/** How much of a range is used, as the API shows it. Numbers beyond 2^53 are rounded. */
export interface RangeUse {
  range: Cidr;
  /** Whether this agent chooses addresses from it. */
  chosenHere: boolean;
  size: number;
  /** Held by endpoints, VIPs, nodes and peers. */
  used: number;
  /** Gateways, `reserved`, and what no interface can have. */
  reserved: number;
  free: number;
}

/** Used share of a range, in hundredths, from which its network warns: time to widen it is left. */
const WARN_PERCENT = 90n;

const pools = new WeakMap<Stored<'networks'>, readonly Pool[]>();

/** A pool for each family of the network, IPv4 first. */
export function poolsOf(network: Stored<'networks'>): readonly Pool[] {
  let found = pools.get(network);
  if (!found) {
    found = poolsIn(network.spec);
    pools.set(network, found);
  }
  return found;
}

/** The pools of a network that is not stored yet. */
export const poolsIn = (spec: Network): Pool[] => ([4, 6] as const).flatMap((of) => poolOf(spec, of) ?? []);

function poolOf(spec: Network, of: Family): Pool | undefined {
  const ours = (texts: readonly string[]) => texts.map(parseCidr).filter((prefix) => prefix.family === of);
  const subnets = ours(spec.subnets);
  if (subnets.length === 0) return undefined;
  const narrower = ours(spec.ipRanges);
  const ranges = disjoint(narrower.length > 0 ? narrower : subnets);
  const edges = subnets.flatMap((subnet) => (of === 4 ? [subnet.first, last(subnet)] : [subnet.first]));
  const avoided = disjoint(
    [...edges, ...spec.gateways, ...spec.reserved].map(asPrefix).filter((prefix) => prefix.family === of),
  );
  return {
    family: of,
    ranges,
    chosenHere: narrower.length > 0 || isLocalScope(spec.driver),
    avoided,
    usable: ranges.reduce((sum, range) => sum + size(range) - sizes(avoidedIn({ avoided }, range)), 0n),
  };
}

/** A single address is a prefix of full length. */
export function asPrefix(text: string): Prefix {
  return text.includes('/') ? parseCidr(text) : { family: family(text), first: text, length: bits(family(text)) };
}

/** Prefixes nest or are disjoint: those inside others are left out, the rest is put in order. */
function disjoint(prefixes: readonly Prefix[]): Prefix[] {
  const wideFirst = [...prefixes].sort((a, b) => a.length - b.length);
  const kept: Prefix[] = [];
  for (const prefix of wideFirst) if (!kept.some((wide) => contains(wide, prefix.first))) kept.push(prefix);
  return kept.sort((a, b) => (toNumber(a.first) < toNumber(b.first) ? -1 : 1));
}

/** What of a range is avoided; one prefix that is around it leaves nothing of it. */
function avoidedIn({ avoided }: Pick<Pool, 'avoided'>, range: Prefix): Prefix[] {
  return avoided
    .filter((prefix) => overlaps(prefix, range))
    .map((prefix) => (prefix.length < range.length ? range : prefix));
}

const sizes = (prefixes: readonly Prefix[]): bigint => prefixes.reduce((sum, prefix) => sum + size(prefix), 0n);
const held = (holders: Holders, prefixes: readonly Prefix[]): bigint =>
  prefixes.reduce((sum, prefix) => sum + BigInt(holders.count(prefix)), 0n);

/** How much of each range of a network is used. */
export function poolUse(wish: Wish, network: Stored<'networks'>): RangeUse[] {
  const holders = holdersOf(wish, network.id);
  return poolsOf(network).flatMap((pool) =>
    pool.ranges.map((range) => {
      const avoided = avoidedIn(pool, range);
      const [used, reserved] = [held(holders, [range]), sizes(avoided)];
      return {
        range: cidrText(range),
        chosenHere: pool.chosenHere,
        size: Number(size(range)),
        used: Number(used),
        reserved: Number(reserved),
        free: Number(size(range) - reserved - (used - held(holders, avoided))),
      };
    }),
  );
}

/** A sentence for each family of a network whose pool is used up to nine tenths or more. */
export function poolWarnings(wish: Wish, network: Stored<'networks'>): string[] {
  const holders = holdersOf(wish, network.id);
  return poolsOf(network).flatMap((pool) => {
    const much = (taken: bigint) => pool.usable > 0n && taken * 100n >= pool.usable * WARN_PERCENT;
    // Asked after every change: nothing is counted where all that the network holds would not be so much.
    if (!much(BigInt(holders.total(pool.family)))) return [];
    const avoided = pool.ranges.flatMap((range) => avoidedIn(pool, range));
    const taken = held(holders, pool.ranges) - held(holders, avoided);
    if (!much(taken)) return [];
    const texts = pool.ranges.map(cidrText).join(', ');
    const free = pool.usable - taken;
    return [`${taken} of ${pool.usable} usable addresses of ${texts} are taken, ${free} free`];
  });
}

/**
 * The lowest free address of a pool from number `from` on; after the last one the first again, so that a freed address
 * rests as long as there are others.
 */
export function firstFree(pool: Pool, holders: Holders, from: bigint): Ip | undefined {
  const spans = pool.ranges.map((range) => [toNumber(range.first), toNumber(last(range))] as const);
  const ahead = spans.map(([low, high]) => [low > from ? low : from, high] as const);
  const behind = spans.map(([low, high]) => [low, high < from ? high : from - 1n] as const);
  const avoided = pool.avoided.map((prefix) => [toNumber(prefix.first), toNumber(last(prefix))] as const);
  for (const [low, high] of [...ahead, ...behind]) {
    for (let n = low; n <= high; ) {
      const past = pastSpan(holders.pastFullPages(n, pool.family), avoided);
      if (past === n) {
        const ip = fromNumber(n, pool.family);
        if (holders.of(ip).length === 0) return ip;
        n++;
      } else n = past;
    }
  }
  return undefined;
}

/** The number behind the span that has `n`, or `n`. @param spans ascending and disjoint */
function pastSpan(n: bigint, spans: readonly (readonly [bigint, bigint])[]): bigint {
  let low = 0;
  let high = spans.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((spans[middle] as readonly [bigint, bigint])[1] < n) low = middle + 1;
    else high = middle;
  }
  const span = spans[low];
  return span && span[0] <= n ? span[1] + 1n : n;
}
