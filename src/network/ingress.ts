import { bridgeMac, endpointMac } from '../base/mac.js';
import type { Stored } from '../model/registry.js';
import { NODE_NS } from '../objects/kind.js';
import { ALIAS_PREFIX } from '../objects/link.js';
import { MAIN_TABLE } from '../objects/route.js';
import { hostEndName } from './names.js';
import { BRIDGE } from './overlay/names.js';
import { networkNs, overlayMtu, ownIngressAddresses, type Wants, type World } from './world.js';

/** The node's leg into the ingress network; it bears no address, so that nothing on the network can speak to the node. */
export const INGRESS_LEG = 'weft-in';
/** A link-local address that stands for "this node" in the ingress namespace's route (RFC 3927); nobody has it. */
const NODE_STANDIN = '169.254.87.1';

/**
 * The way of a published port from the node into the ingress network and back. The node translates the port to its own
 * ingress address and sends it in by the leg; what the network's stack itself answers (refusals) goes back the same way.
 */
export function ingressLeg(world: World, network: Stored<'networks'>, wants: Wants): void {
  const own = ownIngressAddresses(world, network).find((ip) => !ip.includes(':'));
  if (own === undefined) return;
  const ns = networkNs(network.id);
  const why = 'ingress leg';
  const mac = endpointMac(own);
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
  wants.add(ns, 'address', why, { dev: BRIDGE, ip: own, length: 32 });
  wants.add(NODE_NS, 'route', why, { dst: `${own}/32`, dev: INGRESS_LEG, table: MAIN_TABLE });
  wants.add(NODE_NS, 'neighbour', why, { dev: INGRESS_LEG, ip: own, mac: bridgeMac(world.self.vtep) });
  wants.add(ns, 'neighbour', why, { dev: BRIDGE, ip: NODE_STANDIN, mac });
  wants.add(ns, 'route', why, { dst: '0.0.0.0/0', dev: BRIDGE, via: NODE_STANDIN, onlink: true, table: MAIN_TABLE });
  wants.sysctls(NODE_NS, why, {
    'net/ipv4/ip_forward': 1,
    // Replies to callers on 127.0.0.1 come back by the leg.
    [`net/ipv4/conf/${INGRESS_LEG}/route_localnet`]: 1,
  });
}
