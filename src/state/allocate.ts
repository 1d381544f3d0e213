import { last, nth, type Prefix, parseCidr, size } from '../base/cidr.js';
import { WeftError } from '../base/errors.js';
import type { Ip } from '../base/ip.js';
import type { Stored, Wish } from '../model/registry.js';
import { holders } from './check.js';

/**
 * A free address of the network for an endpoint or VIP.
 * With `--store local` an agent may allocate only inside its own `--ip-range`: two agents that draw from the same
 * subnet would give one address twice.
 * @param next where to look first, per network: serial allocation, so that a freed address rests before it is reused
 */
export function allocateAddress(wish: Wish, network: Stored<'networks'>, next: Map<string, bigint>): Ip {
  const ranges = network.spec.ipRanges.map(parseCidr);
  if (ranges.length === 0) {
    throw new WeftError(
      'WEFT_INVALID_ALLOCATION',
      `this agent may not choose addresses of network "${network.id}": other agents draw from the same subnet`,
      'give --ip ADDRESS, or create the network with an --ip-range of this node',
    );
  }
  const subnets = network.spec.subnets.map(parseCidr);
  const edges = new Set(subnets.flatMap((subnet) => [subnet.first, last(subnet)]));
  const taken = holders(wish, network.id);
  const count = ranges.reduce((sum, range) => sum + size(range), 0n);
  const start = next.get(network.id) ?? 0n;
  for (let i = 0n; i < count; i++) {
    const n = (start + i) % count;
    const ip = nthOf(ranges, n);
    if (taken.has(ip) || edges.has(ip)) continue;
    next.set(network.id, n + 1n);
    return ip;
  }
  throw new WeftError(
    'WEFT_EXHAUSTED',
    `every address of ${network.spec.ipRanges.join(', ')} on network "${network.id}" is taken`,
    'widen --ip-range or free endpoints',
  );
}

/** The n-th address of several prefixes, one after the other. */
function nthOf(ranges: readonly Prefix[], n: bigint): Ip {
  let left = n;
  for (const range of ranges) {
    if (left < size(range)) return nth(range, left);
    left -= size(range);
  }
  throw new RangeError(`the ranges have no address number ${n}`);
}

/** The lowest interface name ethN that no endpoint of the sandbox has. */
export function nextInterfaceName(wish: Wish, sandbox: string): string {
  const taken = new Set(
    [...wish.endpoints.values()].filter((e) => e.spec.sandbox === sandbox).map((e) => e.spec.ifname),
  );
  for (let n = 0; ; n++) if (!taken.has(`eth${n}`)) return `eth${n}`;
}
