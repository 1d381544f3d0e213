import { parseCidr } from '../../base/cidr.js';
import type { Ip } from '../../base/ip.js';
import { endpointMac } from '../../base/mac.js';
import { bridgeName, optionsOf } from '../../model/options.js';
import { nameOf, type Stored } from '../../model/registry.js';
import { NODE_NS } from '../../objects/kind.js';
import { ALIAS_PREFIX } from '../../objects/link.js';
import { addressing } from '../addressing.js';
import type { NetworkDriver } from '../driver.js';
import { endpointPair } from '../pair.js';
import { FORWARDING, ignoreRouters, speakIpv6 } from '../sysctls.js';
import { familiesOf, type World } from '../world.js';

/** A bridge in the node's own namespace, with the node as router; see README.md beside this file. */
export const bridge: NetworkDriver = {
  network(world, network, wants) {
    const why = nameOf(network);
    const name = bridgeName(network);
    const { subnets, gateways } = network.spec;
    const alias = `${ALIAS_PREFIX}${nameOf(network)}`;
    const mac = endpointMac(gateways[0] as Ip);
    wants.add(NODE_NS, 'link', why, { type: 'bridge', name, up: true, mtu: mtuOf(world, network), mac, alias });
    if (familiesOf(network).includes(6)) speakIpv6(NODE_NS, name, why, wants);
    else ignoreRouters(NODE_NS, name, why, wants);
    for (const [i, subnet] of subnets.entries()) {
      const ip = gateways[i] as Ip;
      wants.add(NODE_NS, 'address', `gateway of ${network.id}`, { dev: name, ip, length: parseCidr(subnet).length });
    }
    for (const of of network.spec.internal ? [] : familiesOf(network)) wants.sysctls(NODE_NS, why, FORWARDING[of]);
  },

  endpoint(world, network, endpoint, wants) {
    const { icc } = optionsOf('bridge', network.spec);
    // Back out of the port it came by: a container's call of its own published port where bridge-nf-call-iptables is on.
    const port = { isolated: !icc, hairpin: true };
    const near = { ns: NODE_NS, master: bridgeName(network), mtu: mtuOf(world, network), port };
    endpointPair(endpoint, near, wants);
    addressing(network, endpoint.spec, `endpoint ${endpoint.id}`, wants);
  },

  segment: (_world, network) => ({ ns: NODE_NS, dev: bridgeName(network) }),
};

/** Packets of a container leave by the routes of the underlay more often than not. */
const mtuOf = (world: World, network: Stored<'networks'>): number => network.spec.mtu ?? world.underlayMtu;
