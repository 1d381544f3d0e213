import { cidrText, toNumber } from '../base/cidr.js';
import { WeftError } from '../base/errors.js';
import { family, type Ip } from '../base/ip.js';
import { endpointsOf, holdersOf } from '../model/holders.js';
import type { Stored, Wish } from '../model/registry.js';
import { firstFree, type Pool, poolsOf } from './pools.js';

/** Where the next search of a pool begins, kept over restarts: serial allocation, so that a freed address rests. */
export class Cursors {
  /** Those that this change moves. */
  readonly moved = new Map<string, bigint>();
  constructor(readonly kept: ReadonlyMap<string, bigint>) {}

  /** Number of the address to look at first. */
  get(key: string): bigint {
    return this.moved.get(key) ?? this.kept.get(key) ?? 0n;
  }

  move(key: string, to: bigint): void {
    this.moved.set(key, to);
  }
}

/** A cursor's name: network and family. Names of networks have no slash. */
const cursorOf = (network: string, pool: Pool): string => `${network}/${pool.family}`;

/** Cursors of a network that is gone. */
export const isCursorOf = (key: string, network: string): boolean => key.startsWith(`${network}/`);

/**
 * Addresses of an endpoint or VIP, one a family of the network, IPv4 first: what is given, else what it had, else a free
 * one where this agent may choose. With `--store local` that is inside `--ip-range` for networks that span nodes: two
 * agents that draw from the same subnet would give one address twice.
 * @throws WEFT_INVALID_ALLOCATION where no address is given and none may be chosen, WEFT_EXHAUSTED
 */
export function withAllocated(
  wish: Wish,
  network: Stored<'networks'>,
  given: readonly Ip[],
  before: readonly Ip[],
  cursors: Cursors,
): Ip[] {
  const addresses = keptAddresses(given, before);
  if (network.spec.subnets.length === 0) return addresses;
  for (const pool of poolsOf(network)) {
    if (pool.chosenHere && !addresses.some((ip) => family(ip) === pool.family))
      addresses.push(allocate(wish, network, pool, cursors));
  }
  if (addresses.length > 0) return addresses.sort(byFamily);
  throw new WeftError(
    'WEFT_INVALID_ALLOCATION',
    `this agent may not choose addresses of network "${network.id}": other agents draw from the same subnet`,
    'give --ip ADDRESS, or create the network with an --ip-range of this node',
  );
}

/** What is given, and what it had of a family that is not given. */
export function keptAddresses(given: readonly Ip[], before: readonly Ip[]): Ip[] {
  const kept = before.filter((ip) => !given.some((other) => family(other) === family(ip)));
  return [...given, ...kept].sort(byFamily);
}

const byFamily = (a: Ip, b: Ip): number => family(a) - family(b);

function allocate(wish: Wish, network: Stored<'networks'>, pool: Pool, cursors: Cursors): Ip {
  const cursor = cursorOf(network.id, pool);
  const ip = firstFree(pool, holdersOf(wish, network.id), cursors.get(cursor));
  if (ip !== undefined) {
    cursors.move(cursor, toNumber(ip) + 1n);
    return ip;
  }
  throw new WeftError(
    'WEFT_EXHAUSTED',
    `every address of ${pool.ranges.map(cidrText).join(', ')} on network "${network.id}" is taken`,
    'widen --ip-range or free endpoints',
  );
}

/** The lowest interface name ethN that no endpoint of the sandbox has. */
export function nextInterfaceName(wish: Wish, sandbox: string): string {
  const taken = new Set(endpointsOf(wish, sandbox).map((e) => e.spec.ifname));
  for (let n = 0; ; n++) if (!taken.has(`eth${n}`)) return `eth${n}`;
}
