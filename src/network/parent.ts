import { parentOf, vlanOf } from '../model/options.js';
import { nameOf, type Stored } from '../model/registry.js';
import { NODE_NS } from '../objects/kind.js';
import { ALIAS_PREFIX } from '../objects/link.js';
import type { Wants } from './world.js';

/**
 * What endpoints of a macvlan or ipvlan network stand on, where weft makes it: the VLAN interface of `eth0.100`, which
 * networks with that parent share, or a dummy, which leads nowhere. An interface of the node is taken as it is.
 */
export function parentLink(network: Stored<'networks'>, wants: Wants): void {
  const why = `parent of ${nameOf(network)}`;
  const { name, own } = parentOf(network);
  if (own) {
    const alias = `${ALIAS_PREFIX}${nameOf(network)}`;
    wants.add(NODE_NS, 'link', why, { type: 'dummy', name, up: true, alias });
    return;
  }
  const vlan = vlanOf(name);
  if (!vlan) return;
  const parent = { ns: NODE_NS, name: vlan.on };
  const alias = `${ALIAS_PREFIX}vlan/${name}`;
  wants.add(NODE_NS, 'link', why, { type: 'vlan', name, up: true, id: vlan.id, parent, alias });
}
