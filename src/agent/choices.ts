import { nth, overlaps, parseCidr } from '../base/cidr.js';
import { WeftError } from '../base/errors.js';
import type { Cidr, Family } from '../base/ip.js';
import { nodeRoutes } from '../kernel/real/node-routes.js';
import type { Capabilities } from '../kernel/real/probe.js';
import type { Spaces } from '../kernel/real/spaces.js';
import { GATEWAY_SUBNETS } from '../network/gateway.js';
import type { BalancerChoice, GatewaySubnet, World } from '../network/world.js';
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
  return { name, bridgeConntrack: can.bridgeConntrack, hash: can.nftHash };
}

/** How flows are remembered, in words for `weft status`. */
export function flowMemory({ name, bridgeConntrack }: BalancerChoice): string {
  if (name === 'ipvs') return 'ip_vs connections';
  return bridgeConntrack ? 'bridge connection tracking' : 'dynamic sets (the kernel has no nf_conntrack_bridge)';
}

export function gatewayOf(subnet: Cidr): GatewaySubnet {
  return { subnet, address: nth(parseCidr(subnet), 1n) };
}

/**
 * The subnets of the gateway bridge: chosen once, off the node's routes, and kept. There is none of IPv6 where the node
 * does not speak it; where every one is taken, `onTaken` is told and containers go out by IPv4 alone.
 * @throws WEFT_EXHAUSTED where every IPv4 subnet is taken
 */
export async function chooseGateway(
  spaces: Spaces,
  store: Store,
  onTaken: (error: WeftError) => void,
): Promise<World['gateway']> {
  const four = await firstFree(spaces, 4);
  if (typeof four !== 'number') throw four;
  const gateway = { 4: gatewayOf(GATEWAY_SUBNETS[4][store.number('agent', 'gateway-subnet', four)] as Cidr) };
  if (!speaksIpv6(spaces)) return gateway;
  const six = await firstFree(spaces, 6);
  if (typeof six === 'number') {
    return { ...gateway, 6: gatewayOf(GATEWAY_SUBNETS[6][store.number('agent6', 'gateway-subnet', six)] as Cidr) };
  }
  onTaken(six);
  return gateway;
}

/** Not where the kernel lacks it, and not where whoever runs the node has switched it off for new interfaces. */
function speaksIpv6(spaces: Spaces): boolean {
  const [off] = spaces.native.sysctlRead(-1, ['net/ipv6/conf/default/disable_ipv6']);
  return off === '0';
}

/** Number of the first subnet that overlaps no route of the node, or why there is none. */
async function firstFree(spaces: Spaces, of: Family): Promise<number | WeftError> {
  const taken = (await nodeRoutes(spaces)).map((route) => parseCidr(route.dst));
  const free = GATEWAY_SUBNETS[of].findIndex((subnet) => !taken.some((t) => overlaps(t, parseCidr(subnet))));
  if (free >= 0) return free;
  return new WeftError(
    'WEFT_EXHAUSTED',
    `every IPv${of} subnet for the gateway bridge overlaps a route of this node`,
    `free one of ${GATEWAY_SUBNETS[of].join(', ')}`,
  );
}
