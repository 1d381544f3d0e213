import { family, type Ip, primary } from '../../base/ip.js';
import { bridgeMac, endpointMac } from '../../base/mac.js';
import { accept, drop, ether, is, map, meta, raw, set } from '../../codec/nft/build.js';
import { lanesOf } from '../../model/lanes.js';
import type { Stored } from '../../model/registry.js';
import { hex, TableWriter, words } from '../bridge-table.js';
import { hostEndName } from '../names.js';
import { familiesOf, networkNs, type Wants, type World } from '../world.js';
import { vxlanName } from './names.js';

/** Before the balancer's connection tracking, which must see a reply with the destination it leaves with. */
const RETURNS = -310;
const ICMPV6 = 58;
/** Neighbour solicitation and advertisement (RFC 4861). */
const SOLICITATIONS = [135, 136] as const;

/**
 * The return map of the ingress network: a reply bears the address of the node that took the connection, and that
 * address names the leg to send it to. Stateless, one element a node. The same map is the fence against forgery: nobody
 * but a task that answers (its frames go to br0) may send with a node's address, and tasks may not speak to each other.
 */
export function returnMap(world: World, network: Stored<'networks'>, wants: Wants): void {
  const w = new TableWriter(networkNs(network.id), wants, 'return map');
  w.table();
  const bridge = bridgeMac(world.self.vtep);
  const home = (of: 4 | 6) => set(ether.daddr, map([words[of].saddr], `nodes${of}`));
  const families = familiesOf(network);
  for (const of of families) w.set(`nodes${of}`, { key: [words[of].address], data: 'ether_addr' });
  w.chain(
    'returns',
    [
      ...lanesOf(network.spec).map((_, n) => [is(meta.iifname, vxlanName(n)), accept]),
      ...families.map((of) => [is(ether.daddr, bridge), home(of), accept]),
      // A map is no set to older kernels, so membership is tested by looking a value up.
      ...families.map((of) => [home(of), drop]),
      // Tasks are reached by published ports alone: of what they send, replies are through, and who is where they may ask.
      [is(meta.iifname, hostEndName('ingress')), accept],
      ...SOLICITATIONS.map((type) => [
        is(meta.protocol, words[6].ethertype),
        is(meta.l4proto, ICMPV6),
        is(raw('transport', 0, 1), type),
        accept,
      ]),
      ...([4, 6] as const).map((of) => [is(meta.protocol, words[of].ethertype), drop]),
    ],
    { hook: 'prerouting', priority: RETURNS },
  );
}

/** A node's elements in it: both its addresses lead to its one leg. */
export function returnElement(network: Stored<'networks'>, node: Stored<'nodes'>, wants: Wants): void {
  const w = new TableWriter(networkNs(network.id), wants, `node ${node.id}`);
  const addresses = node.spec.addresses[network.id] ?? [];
  const families = familiesOf(network);
  for (const ip of addresses.filter((one) => families.includes(family(one)))) {
    const of = family(ip);
    w.element(`nodes${of}`, hex(words[of].address, ip), hex('ether_addr', endpointMac(primary(addresses) as Ip)));
  }
}
