import { family, type Ip } from '../../base/ip.js';
import { accept, anyOf, counter, drop, goto, is, limit, meta, raw } from '../../codec/nft/build.js';
import { optionsOf } from '../../model/options.js';
import type { Stored, Wish } from '../../model/registry.js';
import { ALL_ZERO } from '../../objects/fdb.js';
import { TableWriter } from '../bridge-table.js';
import { vtepOf } from '../paths.js';
import { networkNs, type Wants, type World } from '../world.js';
import { vxlanName } from './names.js';

/** The kernel sends a frame to one node after the other, 1.2 us each: 0.3 ms a frame at this many. */
export const MAX_HOSTS = 256;
/** Copies a second that containers of a node may cause on a network: 12 % of one CPU. */
const COPIES = 100_000;
/** Behind the balancer, which works in prerouting; NF_BR_PRI_FILTER_BRIDGED of linux/netfilter_bridge.h. */
const PRIORITY = -200;
const ETH_P_ARP = 0x0806;
const IPPROTO_ICMPV6 = 58;
const NEIGHBOUR_SOLICITATION = 135;

export const isBroadcast = (network: Stored<'networks'>): boolean =>
  network.spec.driver === 'overlay' && optionsOf('overlay', network.spec).broadcast;

/**
 * VTEPs of other nodes that host the network, in order: those of its peers, and of nodes with an address on it. Nodes that
 * only know of the network get none of its frames.
 */
function hostsOf(wish: Wish, self: Ip, network: Stored<'networks'>): Ip[] {
  const out = new Set<Ip>();
  for (const peer of wish.peers.values()) if (peer.spec.network === network.id) out.add(vtepOf(wish, peer));
  for (const { spec } of wish.nodes.values()) if (spec.addresses[network.id]?.length) out.add(spec.vtep);
  out.delete(self);
  return [...out].filter((vtep) => family(vtep) === family(self)).sort();
}

/**
 * Head-end replication: what goes to everybody is sent to each node that hosts the network. By the first lane alone, for
 * all nodes have it, and a second copy by another would arrive in the same bridge.
 */
export function replication(world: World, network: Stored<'networks'>, wants: Wants): void {
  if (!isBroadcast(network)) return;
  const ns = networkNs(network.id);
  const hosts = hostsOf(world.wish, world.self.vtep, network).slice(0, MAX_HOSTS);
  const dev = vxlanName(0);
  for (const dst of hosts) {
    wants.add(ns, 'fdb', `broadcasts of ${network.id}`, { dev, mac: ALL_ZERO, dst, bridge: false });
  }
  const w = new TableWriter(ns, wants, `broadcasts of ${network.id}`);
  const toAll = anyOf(raw('link', 0, 1), 1);
  w.table();
  w.chain('flood', [[is(meta.oifname, dev), toAll, goto('storm')]], { hook: 'forward', priority: PRIORITY });
  // The number of hosts in powers of two, so that one more seldom writes the rule anew.
  const rate = Math.floor(COPIES / 2 ** Math.ceil(Math.log2(Math.max(1, hosts.length))));
  w.chain('storm', [
    // Requests are answered by the tunnel device and never sent: a storm must not keep anybody from finding neighbours.
    [is(meta.protocol, ETH_P_ARP), accept],
    [is(meta.l4proto, IPPROTO_ICMPV6), is(raw('transport', 0, 1), NEIGHBOUR_SOLICITATION), accept],
    [limit(rate, Math.ceil(rate / 10)), accept],
    [counter, drop],
  ]);
}

/** What the owner of the network should know about its broadcasts. */
export function broadcastWarnings(wish: Wish, self: Ip, network: Stored<'networks'>): string[] {
  if (!isBroadcast(network)) return [];
  const hosts = hostsOf(wish, self, network).length;
  if (hosts <= MAX_HOSTS) return [];
  return [`${hosts} other nodes host the network, and broadcasts of this one reach ${MAX_HOSTS} of them`];
}
