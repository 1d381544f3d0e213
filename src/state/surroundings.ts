import { cidrText, overlaps, type Prefix, parseCidr } from '../base/cidr.js';
import { WeftError } from '../base/errors.js';
import type { Cidr } from '../base/ip.js';
import type { Driver, Network } from '../model/network.js';
import type { Wish } from '../model/registry.js';

/** What a new network must not get in the way of on this node. */
export interface Surroundings {
  /** Routes of the node that are not weft's, without default routes. */
  routes: readonly { dst: Cidr; dev?: string }[];
  /** Subnets of the gateway bridge, on which every container with a way out has an address. */
  gateways: readonly Cidr[];
}

export const NO_SURROUNDINGS: Surroundings = { routes: [], gateways: [] };

/** Drivers that get a subnet when none is given. */
const CHOOSING: ReadonlySet<Driver> = new Set(['bridge', 'macvlan', 'ipvlan']);

/** Docker's local pools: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in /20. */
const POOLS: readonly Prefix[] = [
  ...Array.from({ length: 15 }, (_, i) => parseCidr(`172.${17 + i}.0.0/16`)),
  ...Array.from({ length: 16 }, (_, i) => parseCidr(`192.168.${16 * i}.0/20`)),
];

/**
 * Subnets of a network: the given ones, else those it has, else the first of Docker's pools that overlaps no route of the
 * node, nor the gateway bridge, nor another network.
 * @throws WEFT_EXHAUSTED; WEFT_INVALID_ALLOCATION for a network that spans nodes
 */
export function chosenSubnets(
  wish: Wish,
  surroundings: Surroundings,
  id: string,
  spec: Pick<Network, 'driver' | 'subnets'>,
): Cidr[] {
  const had = wish.networks.get(id)?.spec;
  if (spec.subnets.length > 0) return spec.subnets;
  if (had && had.driver === spec.driver) return had.subnets;
  if (spec.driver === 'overlay') {
    throw new WeftError(
      'WEFT_INVALID_ALLOCATION',
      `network "${id}" spans nodes, so this agent may not choose its subnets`,
      'give --subnet CIDR, the same on every node',
    );
  }
  if (!CHOOSING.has(spec.driver)) return [];
  const others = [...wish.networks.values()].flatMap((network) => network.spec.subnets);
  const taken = [...surroundings.routes.map((route) => route.dst), ...surroundings.gateways, ...others].map(parseCidr);
  const free = POOLS.find((pool) => !taken.some((prefix) => overlaps(prefix, pool)));
  if (free) return [cidrText(free)];
  throw new WeftError(
    'WEFT_EXHAUSTED',
    `network "${id}": every default subnet overlaps a route of this node or another network`,
    'give --subnet CIDR',
  );
}

/**
 * Refuses a new network that would take over addresses which the node reaches in another way. A bridge puts its subnet among
 * the node's routes. An overlay is in a namespace of its own, so the node's routes go on; its containers alone do not reach
 * what is behind them, which is theirs to choose, but without the gateway bridge's subnet they would lose their way out. A
 * macvlan or ipvlan shares the subnet of its parent on purpose.
 * @throws WEFT_CONFLICT naming the route
 */
export function checkSurroundings({ routes, gateways }: Surroundings, id: string, spec: Network): void {
  const holders = [
    ...gateways.map((cidr) => ({ cidr, text: `${cidr}, the subnet of the gateway bridge` })),
    ...(spec.driver === 'bridge' ? routes : []).map(({ dst, dev }) => ({
      cidr: dst,
      text: `the node's route ${dst}${dev === undefined ? '' : ` dev ${dev}`}`,
    })),
  ];
  for (const subnet of spec.subnets) {
    const holder = holders.find(({ cidr }) => overlaps(parseCidr(cidr), parseCidr(subnet)));
    if (!holder) continue;
    throw new WeftError(
      'WEFT_CONFLICT',
      `${subnet} of network "${id}" overlaps ${holder.text}`,
      'choose another --subnet',
    );
  }
}
