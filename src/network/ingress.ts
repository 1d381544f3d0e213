import { bits, family, primary } from '../base/ip.js';
import { bridgeMac, endpointMac } from '../base/mac.js';
import type { Stored } from '../model/registry.js';
import { NODE_NS } from '../objects/kind.js';
import { ALIAS_PREFIX } from '../objects/link.js';
import { MAIN_TABLE } from '../objects/route.js';
import { hostEndName } from './names.js';
import { BRIDGE } from './overlay/names.js';
import { DEFAULT_ROUTE } from './routing.js';
import { FORWARDING, ignoreRouters, speakIpv6 } from './sysctls.js';
import { familiesOf, networkNs, overlayMtu, ownIngressAddresses, type Wants, type World } from './world.js';

/** The node's leg into the ingress network; it bears no address, so that nothing on the network can speak to the node. */
export const INGRESS_LEG = 'weft-in';
/** Link-local addresses that stand for "this node" in the ingress namespace's routes; nobody has them (RFC 3927, RFC 4291). */
const NODE_STANDIN = { 4: '169.254.87.1', 6: 'fe80::57:1' } as const;

/**
 * The way of a published port from the node into the ingress network and back. The node translates the port to its own
 * ingress address and sends it in by the leg; what the network's stack itself answers (refusals) goes back the same way.
 */
export function ingressLeg(world: World, network: Stored<'networks'>, wants: Wants): void {
  const addresses = ownIngressAddresses(world, network);
  const first = primary(addresses);
  if (first === undefined) return;
  const ns = networkNs(network.id);
  const why = 'ingress leg';
  const mac = endpointMac(first);
  const mtu = overlayMtu(world, network);
  const alias = `${ALIAS_PREFIX}ingress`;
  wants.add(ns, 'link', why, {
    type: 'veth',
    name: hostEndName('ingress'),
    up: true,
    mtu,
    master: BRIDGE,
    alias,
    peer: { ns: NODE_NS, name: INGRESS_LEG, mac, mtu },
  });
  wants.add(NODE_NS, 'link', why, { type: 'veth-end', name: INGRESS_LEG, up: true, mtu, mac, alias });
  const usable = addresses.filter((ip) => familiesOf(network).includes(family(ip)));
  if (!usable.some((ip) => family(ip) === 6)) ignoreRouters(NODE_NS, INGRESS_LEG, why, wants);
  for (const own of usable) {
    const of = family(own);
    const via = NODE_STANDIN[of];
    wants.add(ns, 'address', why, { dev: BRIDGE, ip: own, length: bits(of) });
    wants.add(NODE_NS, 'route', why, { dst: `${own}/${bits(of)}`, dev: INGRESS_LEG, table: MAIN_TABLE });
    wants.add(NODE_NS, 'neighbour', why, { dev: INGRESS_LEG, ip: own, mac: bridgeMac(world.self.vtep) });
    wants.add(ns, 'neighbour', why, { dev: BRIDGE, ip: via, mac });
    wants.add(ns, 'route', why, { dst: DEFAULT_ROUTE[of], dev: BRIDGE, via, onlink: true, table: MAIN_TABLE });
    wants.sysctls(NODE_NS, why, FORWARDING[of]);
    if (of === 6) speakIpv6(NODE_NS, INGRESS_LEG, why, wants);
    // Replies to callers on 127.0.0.1 come back by the leg.
    else wants.sysctls(NODE_NS, why, { [`net/ipv4/conf/${INGRESS_LEG}/route_localnet`]: 1 });
  }
}
