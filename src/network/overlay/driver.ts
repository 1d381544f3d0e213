import { cidrText, contains, type Prefix, parseCidr } from '../../base/cidr.js';
import { family, type Ip, type Mac } from '../../base/ip.js';
import { bridgeMac, endpointMac } from '../../base/mac.js';
import { laneOf, lanesOf } from '../../model/lanes.js';
import type { Stored } from '../../model/registry.js';
import { nameOf } from '../../model/registry.js';
import { NODE_NS } from '../../objects/kind.js';
import { ALIAS_PREFIX } from '../../objects/link.js';
import { MAIN_TABLE } from '../../objects/route.js';
import { bandwidthLimits } from '../bandwidth.js';
import type { NetworkDriver } from '../driver.js';
import { guardKnows, guardNetwork } from '../guard.js';
import { hostEndName } from '../names.js';
import { vtepOf } from '../paths.js';
import { speakIpv6 } from '../sysctls.js';
import { isLocal, networkNs, overlayMtu, type Wants, type World } from '../world.js';
import { BRIDGE, vxlanName } from './names.js';
import { quiet } from './sysctls.js';

/** One bridge with a VXLAN for each lane, in a namespace of the network's own; see README.md beside this file. */
export const overlay: NetworkDriver = {
  network(world, network, wants) {
    const ns = networkNs(network.id);
    const why = `network ${network.id}`;
    const mtu = overlayMtu(world, network);
    const alias = `${ALIAS_PREFIX}${nameOf(network)}`;
    wants.namespace(ns, why);
    // The ingress sandbox of Swarm's users.
    if (network.spec.ingress) wants.add(NODE_NS, 'netns', why, { name: 'ingress', aliasOf: ns });
    quiet(ns, why, wants);
    wants.add(ns, 'link', why, { type: 'bridge', name: BRIDGE, up: true, mtu, mac: bridgeMac(world.self.vtep), alias });
    for (const [n, lane] of lanesOf(network.spec).entries()) {
      wants.add(ns, 'link', why, {
        type: 'vxlan',
        name: vxlanName(n),
        up: true,
        mtu,
        master: BRIDGE,
        alias,
        vni: lane.vni,
        dstPort: world.self.dataPathPort,
        local: world.self.vtep,
        underlay: NODE_NS,
        ...(world.self.vrf !== undefined && { dev: world.self.vrf }),
        // Learned rows would shadow gossiped ones after a move; every remote MAC has a static row instead.
        port: { learning: false },
      });
    }
    guardNetwork(world, network, wants);
    network.spec.subnets.forEach((subnet, i) => {
      const ip = network.spec.gateways[i] as Ip;
      wants.add(ns, 'address', `gateway of ${network.id}`, { dev: BRIDGE, ip, length: parseCidr(subnet).length });
    });
  },

  endpoint(world, network, endpoint, wants) {
    const ns = networkNs(network.id);
    const { sandbox, ifname: name, mac } = endpoint.spec;
    const why = `endpoint ${endpoint.id}`;
    const mtu = overlayMtu(world, network);
    const alias = `${ALIAS_PREFIX}${nameOf(endpoint)}`;
    const dev = hostEndName(`${endpoint.id}/${name}`);
    wants.add(ns, 'link', why, {
      type: 'veth',
      name: dev,
      up: true,
      mtu,
      master: BRIDGE,
      alias,
      peer: { ns: sandbox, name, mac, mtu },
      // A task that dials its own VIP and is chosen itself gets its frame back through the port it came from.
      port: { hairpin: true },
    });
    wants.add(sandbox, 'link', why, { type: 'veth-end', name, up: true, mtu, mac, alias });
    bandwidthLimits(endpoint, { ns, dev, mtu }, wants);
    addressing(network, endpoint.spec, why, wants);
  },

  peer(world, network, peer, wants) {
    const { address, addressV6, mac } = peer.spec;
    const vtep = vtepOf(world.wish, peer);
    // An endpoint that moved here is served here, though the word of its old place may still be about.
    if (vtep === world.self.vtep || isLocal(world, network.id, address)) return;
    const ns = networkNs(network.id);
    const lane = laneOf(network.spec, address);
    const why = `peer ${peer.id}`;
    for (const ip of [address, addressV6]) {
      // The device answers ARP and ND for it (`proxy`), so that no request crosses the underlay.
      if (ip !== undefined) wants.add(ns, 'neighbour', why, { dev: vxlanName(lane), ip, mac });
    }
    tunnelRows(world, network, lane, mac, vtep, why, wants);
  },

  node(world, network, node, wants) {
    const { vtep, addresses } = node.spec;
    const own = addresses[network.id]?.[0];
    if (own === undefined || vtep === world.self.vtep) return;
    tunnelRows(world, network, laneOf(network.spec, own), endpointMac(own), vtep, `node ${node.id}`, wants);
  },
};

/** Where a remote MAC lives: in the VXLAN device (which VTEP) and in the bridge (which port; else it floods). */
function tunnelRows(
  world: World,
  network: Stored<'networks'>,
  lane: number,
  mac: Mac,
  dst: Ip,
  why: string,
  wants: Wants,
): void {
  guardKnows(world, network, mac, dst, wants);
  wants.add(networkNs(network.id), 'fdb', why, { dev: vxlanName(lane), mac, dst, bridge: true });
}

/** The subnet of the network that has the address; stored addresses are in one. */
const subnetOf = (network: Stored<'networks'>, ip: Ip): Prefix =>
  lanesOf(network.spec)
    .flatMap((lane) => lane.subnets)
    .find((subnet) => contains(subnet, ip)) as Prefix;

/** Addresses of an endpoint, and the way to the network's other subnets of its families, which are on the same segment. */
function addressing(network: Stored<'networks'>, spec: Stored<'endpoints'>['spec'], why: string, wants: Wants): void {
  const { sandbox, ifname: dev, addresses } = spec;
  if (addresses.some((ip) => family(ip) === 6)) speakIpv6(sandbox, dev, why, wants);
  const own = addresses.map((ip) => subnetOf(network, ip));
  for (const [i, ip] of addresses.entries()) {
    wants.add(sandbox, 'address', why, { dev, ip, length: (own[i] as Prefix).length });
  }
  for (const subnet of lanesOf(network.spec).flatMap((lane) => lane.subnets)) {
    if (own.includes(subnet) || !own.some((mine) => mine.family === subnet.family)) continue;
    wants.add(sandbox, 'route', why, { dst: cidrText(subnet), dev, table: MAIN_TABLE });
  }
}
