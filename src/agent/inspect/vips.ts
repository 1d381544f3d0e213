import type { InspectRow } from '../../api/agent.js';
import type { Ip } from '../../base/ip.js';
import type { Stored } from '../../model/registry.js';
import { BRIDGE } from '../../network/overlay/names.js';
import { networkNs, ownIngressAddresses, type World } from '../../network/world.js';
import type { Address } from '../../objects/address.js';
import { balancingIn } from './balancing.js';
import { type Compared, compare, type Look, mark, namespaces, type View } from './look.js';

/**
 * VIPs on the bridges of the networks' namespaces, with the backends that the balancer has for them. An address of a
 * bridge that is neither a VIP nor the gateway's nor the node's own is a row too: it is nobody's.
 */
export const vips: View = async (look) => {
  const covered = new Set(await namespaces(look));
  const out: InspectRow[] = [];
  for (const network of look.world.wish.networks.values()) {
    if (covered.has(networkNs(network.id))) out.push(...(await vipsOf(look, network)));
  }
  return out;
};

async function vipsOf(look: Look, network: Stored<'networks'>): Promise<InspectRow[]> {
  const ns = networkNs(network.id);
  const services = servicesByVip(look.world, network.id);
  const others = new Set([...network.spec.gateways, ...ownIngressAddresses(look.world, network)]);
  const addresses = (await compare<Address>(look, 'address', ns)).filter(
    ({ object }) => object.dev === BRIDGE && !others.has(object.ip) && !object.ip.startsWith('fe80:'),
  );
  if (addresses.length === 0) return [];
  const balancing = await balancingIn(look, ns);
  const balancer = look.world.balancer.name;
  return addresses.map((address: Compared<Address>) => {
    const vip = address.object.ip;
    const service = services.get(vip);
    const row = { namespace: ns, network: network.id, vip };
    if (service === undefined) return { ...row, ...mark(address) };
    const of = vip.includes(':') ? 6 : 4;
    const backends = balancing.observed.backends(balancer, of, { ip: vip, label: '' });
    return { ...row, service, balancer, ...backends, ...mark(address, balancing.of(`service/${service}`)) };
  });
}

function servicesByVip(world: World, network: string): Map<Ip, string> {
  const out = new Map<Ip, string>();
  for (const { id, spec } of world.wish.services.values()) {
    for (const ip of spec.vips[network] ?? []) out.set(ip, id);
  }
  return out;
}
