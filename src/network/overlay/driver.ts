import { parseCidr } from '../../base/cidr.js';
import { type Ip, type Mac, primary } from '../../base/ip.js';
import { bridgeMac, endpointMac } from '../../base/mac.js';
import { laneOf, lanesOf } from '../../model/lanes.js';

import { nameOf, type Stored } from '../../model/registry.js';
import { NODE_NS } from '../../objects/kind.js';
import { ALIAS_PREFIX } from '../../objects/link.js';
import { addressing } from '../addressing.js';
import type { NetworkDriver } from '../driver.js';
import { guardKnows, guardNetwork } from '../guard.js';
import { endpointPair } from '../pair.js';
import { vtepOf } from '../paths.js';
import { isLocal, networkNs, overlayMtu, type Wants, type World } from '../world.js';
import { replication } from './broadcast.js';
import { comesBack, noEcho } from './echo.js';
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
        // What no row is known for is nobody's, and does not go to everybody instead.
        port: { learning: false, unicastFlood: false },
      });
    }
    guardNetwork(world, network, wants);
    replication(world, network, wants);
    noEcho(world, network, wants);
    network.spec.subnets.forEach((subnet, i) => {
      const ip = network.spec.gateways[i] as Ip;
      wants.add(ns, 'address', `gateway of ${network.id}`, { dev: BRIDGE, ip, length: parseCidr(subnet).length });
    });
  },

  endpoint(world, network, endpoint, wants) {
    const ns = networkNs(network.id);
    const why = `endpoint ${endpoint.id}`;
    const mtu = overlayMtu(world, network);
    const port = { hairpin: comesBack(world, network, endpoint) };
    const dev = endpointPair(endpoint, { ns, master: BRIDGE, mtu, port }, wants);
    // Nobody takes its MAC over by sending with it.
    wants.add(ns, 'fdb', why, { dev, mac: endpoint.spec.mac, bridge: true });
    addressing(network, endpoint.spec, why, wants);
  },

  segment: (_world, network) => ({ ns: networkNs(network.id), dev: BRIDGE }),

  peer(world, network, peer, wants) {
    const { address, addressV6, mac } = peer.spec;
    const vtep = vtepOf(world.wish, peer);
    // An endpoint that moved here is served here, though the word of its old place may still be about.
    if (vtep === world.self.vtep || isLocal(world, network.id, address)) return;
    const ns = networkNs(network.id);
    const lane = laneOf(network.spec, address);
    for (const ip of [address, addressV6]) {
      // The device answers ARP and ND for it (`proxy`), so that no request crosses the underlay.
      if (ip !== undefined) wants.add(ns, 'neighbour', wants.owner, { dev: vxlanName(lane), ip, mac });
    }
    tunnelRows(world, network, lane, mac, vtep, wants);
  },

  node(world, network, node, wants) {
    const { vtep, addresses } = node.spec;
    const own = primary(addresses[network.id] ?? []);
    if (own === undefined || vtep === world.self.vtep) return;
    tunnelRows(world, network, laneOf(network.spec, own), endpointMac(own), vtep, wants);
    guardKnows(world, network, bridgeMac(vtep), vtep, wants);
  },
};

/** Where a remote MAC lives: in the VXLAN device (which VTEP) and in the bridge (which port; else it floods). */
function tunnelRows(world: World, network: Stored<'networks'>, lane: number, mac: Mac, dst: Ip, wants: Wants): void {
  guardKnows(world, network, mac, dst, wants);
  wants.add(networkNs(network.id), 'fdb', wants.owner, { dev: vxlanName(lane), mac, dst, bridge: true });
}
