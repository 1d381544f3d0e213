import { optionsOf, parentOf } from '../../model/options.js';
import { nameOf } from '../../model/registry.js';
import { NODE_NS } from '../../objects/kind.js';
import { ALIAS_PREFIX } from '../../objects/link.js';
import { addressing } from '../addressing.js';
import type { NetworkDriver } from '../driver.js';
import { parentLink } from '../parent.js';

/** Interfaces that share the MAC of an interface of the node; see README.md beside this file. */
export const ipvlan: NetworkDriver = {
  network: (_world, network, wants) => parentLink(network, wants),

  endpoint(_world, network, endpoint, wants) {
    const { sandbox, ifname: name } = endpoint.spec;
    const { mtu } = network.spec;
    wants.add(sandbox, 'link', `endpoint ${endpoint.id}`, {
      type: 'ipvlan',
      name,
      up: true,
      mode: optionsOf('ipvlan', network.spec).mode,
      parent: { ns: NODE_NS, name: parentOf(network).name },
      alias: `${ALIAS_PREFIX}${nameOf(endpoint)}`,
      ...(mtu !== undefined && { mtu }),
    });
    addressing(network, endpoint.spec, `endpoint ${endpoint.id}`, wants);
  },
};
