import { cidrText, nth, parseCidr } from '../base/cidr.js';
import type { Ip } from '../base/ip.js';
import { endpointMac } from '../base/mac.js';
import { nameOf, type Stored, type Wish } from '../model/registry.js';
import { NODE_NS } from '../objects/kind.js';
import { ALIAS_PREFIX } from '../objects/link.js';
import { MAIN_TABLE } from '../objects/route.js';
import { hostEndName } from './names.js';
import type { Wants, World } from './world.js';

export const GATEWAY_BRIDGE = 'weft-gw';
/** The sandbox's side; not ethN, so that networks connected later keep their order. */
export const GATEWAY_INTERFACE = 'gw0';

const gatewayCache = new WeakMap<Wish, ReadonlySet<string>>();

/** Sandboxes that reach the world: on any network that is not internal. Made once for each reading of the wish. */
function withGateway(wish: Wish): ReadonlySet<string> {
  let sandboxes = gatewayCache.get(wish);
  if (!sandboxes) {
    const open = [...wish.endpoints.values()].filter(
      ({ spec }) => wish.networks.get(spec.network)?.spec.internal === false,
    );
    sandboxes = new Set(open.map(({ spec }) => spec.sandbox));
    gatewayCache.set(wish, sandboxes);
  }
  return sandboxes;
}

export const hasGateway = (world: World, sandbox: string): boolean => withGateway(world.wish).has(sandbox);

/** Does any sandbox of this node? The bridge is made with the first. */
export const needsGateway = (world: World): boolean => withGateway(world.wish).size > 0;

/** A sandbox's address on the gateway bridge: the node's number for it, from the second address on. */
export function gatewayAddress(world: World, sandbox: string): Ip {
  return nth(parseCidr(world.gateway.subnet), BigInt(world.number('gateway', sandbox, 2)));
}

/** The bridge in the node's namespace. */
export function gatewayBridge(world: World, wants: Wants): void {
  const why = 'gateway bridge';
  const { subnet, address } = world.gateway;
  const alias = `${ALIAS_PREFIX}gateway`;
  wants.add(NODE_NS, 'link', why, { type: 'bridge', name: GATEWAY_BRIDGE, up: true, mac: endpointMac(address), alias });
  wants.add(NODE_NS, 'address', why, { dev: GATEWAY_BRIDGE, ip: address, length: parseCidr(subnet).length });
  wants.sysctls(NODE_NS, why, { 'net/ipv4/ip_forward': 1 });
}

/** A sandbox's leg to it, with the default route. */
export function gatewayLeg(world: World, sandbox: Stored<'sandboxes'>, wants: Wants): void {
  const why = `gateway of ${sandbox.id}`;
  const ip = gatewayAddress(world, sandbox.id);
  const mac = endpointMac(ip);
  const alias = `${ALIAS_PREFIX}gateway/${sandbox.id}`;
  const name = GATEWAY_INTERFACE;
  wants.add(NODE_NS, 'link', why, {
    type: 'veth',
    name: hostEndName(`${nameOf(sandbox)}/gateway`),
    up: true,
    mtu: world.underlayMtu,
    master: GATEWAY_BRIDGE,
    alias,
    peer: { ns: sandbox.id, name, mac, mtu: world.underlayMtu },
    // Containers do not reach each other through it: networks keep them apart.
    port: { isolated: true },
  });
  const { length } = parseCidr(world.gateway.subnet);
  wants.add(sandbox.id, 'link', why, { type: 'veth-end', name, up: true, mtu: world.underlayMtu, mac, alias });
  wants.add(sandbox.id, 'address', why, { dev: name, ip, length });
  wants.add(sandbox.id, 'route', why, { dst: '0.0.0.0/0', dev: name, via: world.gateway.address, table: MAIN_TABLE });
}

/** Subnets for the gateway bridge; an agent takes the first that overlaps none of the node's routes, and keeps it. */
export const GATEWAY_SUBNETS = [
  ...[31, 30, 29, 28, 27, 26].map((n) => cidrText(parseCidr(`172.${n}.0.0/16`))),
  ...[87, 187].map((n) => `10.${n}.0.0/16`),
];
