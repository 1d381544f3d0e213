import { parseCidr } from '../base/cidr.js';
import { type Cidr, type Family, family, type Ip } from '../base/ip.js';
import { bridgeName } from '../model/options.js';
import { familiesOfPort, servedPorts } from '../model/published.js';
import { NODE_NS } from '../objects/kind.js';
import { GATEWAY_BRIDGE, gatewayAddress } from './gateway.js';
import { wayOut } from './routing.js';
import type { GatewaySubnet, Wants, World } from './world.js';

/** Where the node reaches a sandbox. */
export interface PortTarget {
  ip: Ip;
  /** The node's interface on the way there. */
  dev: string;
  /** Subnets at that interface: who is in them answers its neighbours without the node. */
  near: readonly Cidr[];
}

/**
 * The address of a sandbox that ports of the node lead to: the one at the interface of its default route, for its
 * replies have to come back through the node. Undefined where the node reaches it by none, as on internal networks.
 */
export function portTarget(world: World, sandbox: string, of: Family): PortTarget | undefined {
  const id = world.wish.sandboxes.get(sandbox)?.spec.share ?? sandbox;
  const out = wayOut(world, id, of);
  const network = out && world.wish.networks.get(out.spec.network);
  if (network?.spec.driver === 'overlay') {
    const near = [(world.gateway[of] as GatewaySubnet).subnet];
    return { ip: gatewayAddress(world, id, of), dev: GATEWAY_BRIDGE, near };
  }
  const ip = out?.spec.addresses.find((address) => family(address) === of);
  if (network?.spec.driver !== 'bridge' || ip === undefined) return undefined;
  const near = network.spec.subnets.filter((subnet) => parseCidr(subnet).family === of);
  return { ip, dev: bridgeName(network), near };
}

/** Interfaces that published ports (mode=host) lead out by, in one family. */
export function portTargets(world: World, of: Family): PortTarget[] {
  const found = new Map<string, PortTarget>();
  for (const { p, sandbox } of servedPorts(world.wish, world.chosenPort)) {
    const target = familiesOfPort(p).includes(of) ? portTarget(world, sandbox, of) : undefined;
    if (target) found.set(target.dev, target);
  }
  return [...found.values()];
}

/** What the node needs for them besides its rules. */
export function hostPorts(world: World, wants: Wants): void {
  for (const { dev } of portTargets(world, 4)) {
    wants.sysctls(NODE_NS, 'published ports', {
      // Callers on 127.0.0.1 go out by it, and their replies come back; the guard drops what forges such an address.
      [`net/ipv4/conf/${dev}/route_localnet`]: 1,
    });
  }
}
