import { contains, type Prefix, parseCidr } from '../base/cidr.js';
import type { Ip } from '../base/ip.js';
import type { Network } from './network.js';

/** One VXLAN device of an overlay network: it carries the n-th IPv4 and the n-th IPv6 subnet. */
export interface Lane {
  /** Undefined only until the network has passed its checks. */
  vni: number | undefined;
  subnets: readonly Prefix[];
}

type Shape = Pick<Network, 'subnets' | 'vni' | 'vnis'>;

const lanes = new WeakMap<Shape, readonly Lane[]>();

/** The lanes of an overlay network, in the order of its VNIs. Made once for each stored spec. */
export function lanesOf(network: Shape): readonly Lane[] {
  let found = lanes.get(network);
  if (!found) {
    const prefixes = network.subnets.map(parseCidr);
    const [four, six] = ([4, 6] as const).map((of) => prefixes.filter((prefix) => prefix.family === of)) as [
      Prefix[],
      Prefix[],
    ];
    found = Array.from({ length: Math.max(four.length, six.length) }, (_, n) => ({
      vni: n === 0 ? network.vni : network.vnis[n - 1],
      subnets: [...four.slice(n, n + 1), ...six.slice(n, n + 1)],
    }));
    lanes.set(network, found);
  }
  return found;
}

/** Number of the lane whose subnet has the address; 0 for an address of no subnet, which checks refuse. */
export function laneOf(network: Shape, ip: Ip): number {
  const all = lanesOf(network);
  // Most networks have one; 10,000 peers need not be compared with it.
  if (all.length < 2) return 0;
  return Math.max(
    0,
    all.findIndex((lane) => lane.subnets.some((prefix) => contains(prefix, ip))),
  );
}
