import { anyOf, drop, inSet, meta, raw } from '../../codec/nft/build.js';
import { keyHex } from '../../codec/nft/types.js';
import type { Stored } from '../../model/registry.js';
import { TableWriter } from '../bridge-table.js';
import { endpointsOn } from '../on-network.js';
import { endpointEnd } from '../pair.js';
import { networkNs, type Wants, type World } from '../world.js';

/** NF_BR_PRI_FILTER_BRIDGED of linux/netfilter_bridge.h: behind the balancer, which works in prerouting. */
const PRIORITY = -200;

/**
 * May a frame of the endpoint have to leave by the port it came in by (`hairpin`)? A task that dials its own VIP and is chosen
 * itself, where the choice is made in the bridge. IPVS sends from the bridge device, which may use any port; on the ingress
 * network a task's own calls come in by the node's leg.
 */
export const comesBack = (world: World, network: Stored<'networks'>, { spec }: Stored<'endpoints'>): boolean =>
  world.balancer.name === 'nft' && !network.spec.ingress && spec.service !== undefined;

/**
 * A hairpin port returns a task's broadcasts too, with its own MAC as source: a bridge inside the task would learn that MAC at
 * the wrong port, and a member of a multicast group hear itself twice. Dropped here; networks without such a port pay no chain.
 */
export function noEcho(world: World, network: Stored<'networks'>, wants: Wants): void {
  const returning = endpointsOn(world.wish, network.id).filter((endpoint) => comesBack(world, network, endpoint));
  if (returning.length === 0) return;
  const w = new TableWriter(networkNs(network.id), wants, `hairpin ports of ${network.id}`);
  w.table();
  w.set('hairpin', { key: ['ifname', 'ifname'] });
  for (const endpoint of returning) {
    const port = endpointEnd(endpoint);
    w.element('hairpin', keyHex(['ifname', 'ifname'], [port, port]));
  }
  const toAll = anyOf(raw('link', 0, 1), 1);
  w.chain('echo', [[toAll, inSet([meta.iifname, meta.oifname], 'hairpin'), drop]], {
    hook: 'forward',
    priority: PRIORITY,
  });
}
