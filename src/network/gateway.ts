import { cidrText, nth, parseCidr } from '../base/cidr.js';
import type { Cidr, Family, Ip } from '../base/ip.js';
import { endpointMac } from '../base/mac.js';
import { nameOf, type Stored, type Wish } from '../model/registry.js';
import { NODE_NS, type Ns } from '../objects/kind.js';
import { ALIAS_PREFIX } from '../objects/link.js';
import { MAIN_TABLE } from '../objects/route.js';
import { gatewayFence } from './gateway-fence.js';
import { gatewayEndName } from './names.js';
import { DEFAULT_ROUTE, leavesByGateway } from './routing.js';
import { FORWARDING, ignoreRouters, speakIpv6 } from './sysctls.js';
import { familiesOf, type GatewaySubnet, type Wants, type World } from './world.js';

export const GATEWAY_BRIDGE = 'weft-gw';
/** The sandbox's side; not ethN, so that networks connected later keep their order. */
export const GATEWAY_INTERFACE = 'gw0';

const gatewayCache = new WeakMap<Wish, ReadonlyMap<string, ReadonlySet<Family>>>();

/**
 * Sandboxes on any overlay network that is not internal, and the families in which they reach the world by it: IPv4
 * always, as Docker's users expect; IPv6 where such a network has it. Made once for each reading of the wish.
 */
function withGateway(wish: Wish): ReadonlyMap<string, ReadonlySet<Family>> {
  let found = gatewayCache.get(wish);
  if (!found) {
    const sandboxes = new Map<string, Set<Family>>();
    for (const { spec } of wish.endpoints.values()) {
      const network = wish.networks.get(spec.network);
      if (network?.spec.driver !== 'overlay' || network.spec.internal) continue;
      const families = sandboxes.get(spec.sandbox) ?? new Set<Family>([4]);
      for (const of of familiesOf(network)) families.add(of);
      sandboxes.set(spec.sandbox, families);
    }
    found = sandboxes;
    gatewayCache.set(wish, found);
  }
  return found;
}

/** Has the sandbox a leg to the gateway bridge? With a family: does it reach the world in that one? */
export const hasGateway = (world: World, sandbox: string, of: Family = 4): boolean =>
  world.gateway[of] !== undefined && (withGateway(world.wish).get(sandbox)?.has(of) ?? false);

/** The families in which any sandbox of this node does. The bridge is made with the first. */
export const gatewayFamilies = (world: World): Family[] =>
  ([4, 6] as const).filter((of) =>
    [...withGateway(world.wish).keys()].some((sandbox) => hasGateway(world, sandbox, of)),
  );

/** A sandbox's address on the gateway bridge: the node's number for it, from the second address on. */
export function gatewayAddress(world: World, sandbox: string, of: Family = 4): Ip {
  const { subnet } = world.gateway[of] as GatewaySubnet;
  return nth(parseCidr(subnet), BigInt(world.number('gateway', sandbox, 2)));
}

/** The bridge in the node's namespace. */
export function gatewayBridge(world: World, wants: Wants): void {
  const families = gatewayFamilies(world);
  if (families.length === 0) return;
  const why = 'gateway bridge';
  const dev = GATEWAY_BRIDGE;
  const mac = endpointMac(world.gateway[4].address);
  wants.add(NODE_NS, 'link', why, { type: 'bridge', name: dev, up: true, mac, alias: `${ALIAS_PREFIX}gateway` });
  for (const of of families) {
    const { subnet, address } = world.gateway[of] as GatewaySubnet;
    wants.add(NODE_NS, 'address', why, { dev, ip: address, length: parseCidr(subnet).length });
    wants.sysctls(NODE_NS, why, FORWARDING[of]);
  }
  // Containers are no routers of the node's.
  if (families.includes(6)) speakIpv6(NODE_NS, dev, why, wants);
  else ignoreRouters(NODE_NS, dev, why, wants);
  gatewayFence(wants);
}

/** A sandbox's leg to it, with the default routes where no other network precedes. */
export function gatewayLeg(world: World, sandbox: Stored<'sandboxes'>, wants: Wants): void {
  const why = `gateway of ${sandbox.id}`;
  const mac = endpointMac(gatewayAddress(world, sandbox.id));
  const alias = `${ALIAS_PREFIX}gateway/${sandbox.id}`;
  const name = GATEWAY_INTERFACE;
  wants.add(NODE_NS, 'link', why, {
    type: 'veth',
    name: gatewayEndName(nameOf(sandbox)),
    up: true,
    mtu: world.underlayMtu,
    master: GATEWAY_BRIDGE,
    alias,
    peer: { ns: sandbox.id, name, mac, mtu: world.underlayMtu },
    // Not isolated, and back out of the port it came by: what calls a published port of the node crosses the bridge where
    // bridge-nf-call-iptables is on. The fence keeps everything else apart.
    port: { isolated: false, hairpin: true },
  });
  wants.add(sandbox.id, 'link', why, { type: 'veth-end', name, up: true, mtu: world.underlayMtu, mac, alias });
  for (const of of [4, 6] as const)
    if (hasGateway(world, sandbox.id, of)) legAddress(world, sandbox.id, of, why, wants);
}

/** The leg's address of a family, and the default route where an overlay gives it. */
function legAddress(world: World, ns: Ns, of: Family, why: string, wants: Wants): void {
  const { subnet, address: via } = world.gateway[of] as GatewaySubnet;
  const dev = GATEWAY_INTERFACE;
  if (of === 6) speakIpv6(ns, dev, why, wants);
  wants.add(ns, 'address', why, { dev, ip: gatewayAddress(world, ns, of), length: parseCidr(subnet).length });
  if (!leavesByGateway(world, ns, of)) return;
  wants.add(ns, 'route', why, { dst: DEFAULT_ROUTE[of], dev, via, table: MAIN_TABLE });
}

/** Subnets for the gateway bridge; an agent takes the first that overlaps none of the node's routes, and keeps it. */
export const GATEWAY_SUBNETS: Readonly<Record<Family, readonly Cidr[]>> = {
  4: [
    ...[31, 30, 29, 28, 27, 26].map((n) => cidrText(parseCidr(`172.${n}.0.0/16`))),
    ...[87, 187].map((n) => cidrText(parseCidr(`10.${n}.0.0/16`))),
  ],
  // Unique local (RFC 4193), and the same on every node: what leaves the node has one of its addresses.
  6: [1, 2, 3, 4, 5, 6, 7, 8].map((n) => cidrText(parseCidr(`fd87:7765:6674:${n}::/64`))),
};
