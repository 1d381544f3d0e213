import { type Family, family } from '../../base/ip.js';
import { optionsOf } from '../../model/options.js';
import { GATEWAY_BRIDGE, gatewayAddress, gatewayFamilies, hasGateway } from '../gateway.js';
import { wayOut } from '../routing.js';
import type { World } from '../world.js';
import type { Feature } from './node.js';

/** Containers out by the gateway bridge, and never to each other through it. */
export const gatewayRules: Feature = (world, of, book) => {
  const subnet = world.gateway[of]?.subnet;
  if (subnet === undefined || !gatewayFamilies(world).includes(of)) return;
  book.outgoing(of, [...ownSources(world, of), `-s ${subnet} ! -o ${GATEWAY_BRIDGE} -j MASQUERADE`]);
  book.forward(of, [
    `-o ${GATEWAY_BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    `-o ${GATEWAY_BRIDGE} -j DROP`,
  ]);
  book.leave(of, [`-i ${GATEWAY_BRIDGE} -j ACCEPT`]);
};

/** Sandboxes whose way out is an overlay that says what source address their packets get: one rule each. */
function ownSources(world: World, of: Family): string[] {
  const rules: string[] = [];
  for (const id of world.wish.sandboxes.keys()) {
    const out = wayOut(world, id, of);
    const network = out && world.wish.networks.get(out.spec.network);
    if (network?.spec.driver !== 'overlay' || !hasGateway(world, id, of)) continue;
    const { masquerade, egress } = optionsOf('overlay', network.spec);
    const address = egress?.find((ip) => family(ip) === of);
    if (masquerade && address === undefined) continue;
    const target = masquerade ? `SNAT --to-source ${address}` : 'RETURN';
    rules.push(`-s ${gatewayAddress(world, id, of)}/${of === 4 ? 32 : 128} ! -o ${GATEWAY_BRIDGE} -j ${target}`);
  }
  return rules;
}
