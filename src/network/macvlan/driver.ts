import { optionsOf, parentOf } from '../../model/options.js';
import { nameOf } from '../../model/registry.js';
import { NODE_NS } from '../../objects/kind.js';
import { ALIAS_PREFIX } from '../../objects/link.js';
import { addressing } from '../addressing.js';
import type { NetworkDriver } from '../driver.js';
import { parentLink } from '../parent.js';

/** Interfaces with a MAC of their own on an interface of the node; see README.md beside this file. */
export const macvlan: NetworkDriver = {
  network: (_world, network, wants) => parentLink(network, wants),

  endpoint(_world, network, endpoint, wants) {
    const { sandbox, ifname: name, mac } = endpoint.spec;
    const { mode } = optionsOf('macvlan', network.spec);
    const { mtu } = network.spec;
    wants.add(sandbox, 'link', `endpoint ${endpoint.id}`, {
      type: 'macvlan',
      name,
      up: true,
      mode,
      parent: { ns: NODE_NS, name: parentOf(network).name },
      alias: `${ALIAS_PREFIX}${nameOf(endpoint)}`,
      // In passthru it has the parent's own, and another would become the parent's.
      ...(mode !== 'passthru' && { mac }),
      ...(mtu !== undefined && { mtu }),
    });
    addressing(network, endpoint.spec, `endpoint ${endpoint.id}`, wants);
  },
};
