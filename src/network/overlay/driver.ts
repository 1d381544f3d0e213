import { parseCidr } from '../../base/cidr.js';
import type { Ip, Mac } from '../../base/ip.js';
import { bridgeMac, endpointMac } from '../../base/mac.js';
import type { Stored } from '../../model/registry.js';
import { nameOf } from '../../model/registry.js';
import { NODE_NS } from '../../objects/kind.js';
import { ALIAS_PREFIX } from '../../objects/link.js';
import type { NetworkDriver } from '../driver.js';
import { hostEndName } from '../names.js';
import { vtepOf } from '../paths.js';
import { isLocal, networkNs, overlayMtu, type Wants } from '../world.js';
import { BRIDGE, VXLAN } from './names.js';

/** One VXLAN per network, in a namespace of its own with its bridge; see README.md beside this file. */
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
    wants.add(ns, 'link', why, {
      type: 'vxlan',
      name: VXLAN,
      up: true,
      mtu,
      master: BRIDGE,
      alias,
      vni: network.spec.vni,
      dstPort: world.self.dataPathPort,
      local: world.self.vtep,
      underlay: NODE_NS,
      ...(world.self.vrf !== undefined && { dev: world.self.vrf }),
      // Learned rows would shadow gossiped ones after a move; every remote MAC has a static row instead.
      port: { learning: false },
    });
    network.spec.subnets.forEach((subnet, i) => {
      const ip = network.spec.gateways[i] as Ip;
      wants.add(ns, 'address', `gateway of ${network.id}`, { dev: BRIDGE, ip, length: parseCidr(subnet).length });
    });
  },

  endpoint(world, network, endpoint, wants) {
    const ns = networkNs(network.id);
    const { sandbox, ifname: name, mac, addresses } = endpoint.spec;
    const why = `endpoint ${endpoint.id}`;
    const mtu = overlayMtu(world, network);
    const alias = `${ALIAS_PREFIX}${nameOf(endpoint)}`;
    wants.add(ns, 'link', why, {
      type: 'veth',
      name: hostEndName(`${endpoint.id}/${name}`),
      up: true,
      mtu,
      master: BRIDGE,
      alias,
      peer: { ns: sandbox, name, mac, mtu },
      // A task that dials its own VIP and is chosen itself gets its frame back through the port it came from.
      port: { hairpin: true },
    });
    wants.add(sandbox, 'link', why, { type: 'veth-end', name, up: true, mtu, mac, alias });
    for (const ip of addresses) {
      wants.add(sandbox, 'address', why, { dev: name, ip, length: prefixLength(network, ip) });
    }
  },

  peer(world, network, peer, wants) {
    const { address, addressV6, mac } = peer.spec;
    const vtep = vtepOf(world.wish, peer);
    // An endpoint that moved here is served here, though the word of its old place may still be about.
    if (vtep === world.self.vtep || isLocal(world, network.id, address)) return;
    const ns = networkNs(network.id);
    const why = `peer ${peer.id}`;
    for (const ip of [address, addressV6]) {
      // The device answers ARP and ND for it (`proxy`), so that no request crosses the underlay.
      if (ip !== undefined) wants.add(ns, 'neighbour', why, { dev: VXLAN, ip, mac });
    }
    tunnelRows(ns, mac, vtep, why, wants);
  },

  node(world, network, node, wants) {
    const { vtep, addresses } = node.spec;
    const own = addresses[network.id]?.[0];
    if (own === undefined || vtep === world.self.vtep) return;
    tunnelRows(networkNs(network.id), endpointMac(own), vtep, `node ${node.id}`, wants);
  },
};

/** Where a remote MAC lives: in the VXLAN device (which VTEP) and in the bridge (which port; else it floods). */
function tunnelRows(ns: string, mac: Mac, dst: Ip, why: string, wants: Wants): void {
  wants.add(ns, 'fdb', why, { dev: VXLAN, mac, where: 'self', dst });
  wants.add(ns, 'fdb', why, { dev: VXLAN, mac, where: 'master' });
}

/** An overlay namespace bridges and never routes; its devices keep silent (no router solicitations, no MLD). */
function quiet(ns: string, why: string, wants: Wants): void {
  wants.sysctls(ns, why, {
    'net/ipv4/ip_forward': 0,
    'net/ipv4/conf/all/send_redirects': 0,
    'net/ipv4/conf/default/send_redirects': 0,
    // Refusals (no backend) must come at once, all of them: the default allows one ICMP a second and target.
    'net/ipv4/icmp_ratelimit': 0,
    // And without bit 3 (destination unreachable) they do not count against the burst all targets share (50).
    'net/ipv4/icmp_ratemask': 6160,
    'net/ipv6/icmp/ratemask': '0,3-127',
    'net/ipv6/conf/default/addr_gen_mode': 1,
    'net/ipv6/conf/default/accept_ra': 0,
    'net/ipv6/conf/default/router_solicitations': 0,
  });
  // Worth 3 us a packet (11 %), and rules of the IP layer must never see bridged frames.
  const nf = (name: string) => `net/bridge/bridge-nf-call-${name}`;
  wants.sysctls(ns, why, { [nf('iptables')]: 0, [nf('ip6tables')]: 0, [nf('arptables')]: 0 }, true);
}

function prefixLength(network: Stored<'networks'>, ip: Ip): number {
  const six = ip.includes(':');
  const subnet = network.spec.subnets.find((s) => s.includes(':') === six);
  return subnet ? parseCidr(subnet).length : six ? 128 : 32;
}
