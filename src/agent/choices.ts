import { nth, overlaps, parseCidr } from '../base/cidr.js';
import { WeftError } from '../base/errors.js';
import type { Cidr, Ip } from '../base/ip.js';
import { AF_INET } from '../codec/rtnl/family.js';
import { RTM_GETROUTE, readRoute, writeRouteDump } from '../codec/rtnl/route.js';
import type { Capabilities } from '../kernel/real/probe.js';
import type { Spaces } from '../kernel/real/spaces.js';
import { GATEWAY_BRIDGE, GATEWAY_SUBNETS } from '../network/gateway.js';
import type { BalancerChoice } from '../network/world.js';
import { NODE_NS } from '../objects/kind.js';
import type { Store } from '../state/store.js';
import type { Options } from './options.js';

/** The balancer that was asked for, or the first that the kernel can do. @throws WEFT_KERNEL_MISSING, also for what every balancer needs */
export function chooseBalancer(asked: Options['lb'], can: Capabilities): BalancerChoice {
  if (!can.nftBridge) {
    throw new WeftError(
      'WEFT_KERNEL_MISSING',
      'the kernel has no nf_tables of the bridge family',
      'load or build nf_tables with CONFIG_NF_TABLES_BRIDGE',
    );
  }
  if (can.iptables === undefined) {
    throw new WeftError('WEFT_KERNEL_MISSING', 'iptables-restore is not installed', 'install the package iptables');
  }
  if (asked === 'ipvs' && !can.ipvs) {
    throw new WeftError('WEFT_KERNEL_MISSING', 'the kernel has no IPVS', 'modprobe ip_vs, or use --lb nft');
  }
  const name = asked === 'auto' ? (can.ipvs ? 'ipvs' : 'nft') : asked;
  return { name, bridgeConntrack: can.bridgeConntrack };
}

/** How flows are remembered, in words for `weft status`. */
export function flowMemory({ name, bridgeConntrack }: BalancerChoice): string {
  if (name === 'ipvs') return 'ip_vs connections';
  return bridgeConntrack ? 'bridge connection tracking' : 'dynamic sets (the kernel has no nf_conntrack_bridge)';
}

export function gatewayOf(subnet: Cidr): { subnet: Cidr; address: Ip } {
  return { subnet, address: nth(parseCidr(subnet), 1n) };
}

/** The subnet of the gateway bridge: chosen once, off the node's routes, and kept. @throws WEFT_EXHAUSTED */
export async function gatewaySubnet(spaces: Spaces, store: Store): Promise<Cidr> {
  const free = await firstFree(spaces);
  const index = store.number('agent', 'gateway-subnet', free);
  return GATEWAY_SUBNETS[index] as Cidr;
}

async function firstFree(spaces: Spaces): Promise<number> {
  const node = spaces.open(NODE_NS);
  const rows = (await node?.rtnl.dump(RTM_GETROUTE, writeRouteDump, { family: AF_INET })) ?? [];
  const own = (await node?.indexes())?.get(GATEWAY_BRIDGE);
  const taken = rows
    .map((row) => readRoute(row.body))
    .flatMap((r) =>
      r.dst !== undefined && r.dstLength > 0 && r.oif !== own ? [parseCidr(`${r.dst}/${r.dstLength}`)] : [],
    );
  const free = GATEWAY_SUBNETS.findIndex((subnet) => !taken.some((t) => overlaps(t, parseCidr(subnet))));
  if (free >= 0) return free;
  throw new WeftError(
    'WEFT_EXHAUSTED',
    'every subnet for the gateway bridge overlaps a route of this node',
    `free one of ${GATEWAY_SUBNETS.join(', ')}`,
  );
}
