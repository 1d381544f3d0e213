import { bits, type Family, family } from '../base/ip.js';
import { familiesOfPort, meshNumber, meshPorts, oneAddress, publishedSpan, servedPorts } from '../model/published.js';
import type { AnyPort } from '../model/service.js';
import { NODE_NS } from '../objects/kind.js';
import type { UdpFlows, UdpWay } from '../objects/udp-flows.js';
import { portTarget } from './ports.js';
import { ingressNetwork, ownIngressAddresses, type Wants, type World } from './world.js';

/** Where UDP flows at published ports of this node lead; the rules that lead them are the features' own. */
export function udpFlows(world: World, wants: Wants): void {
  const network = ingressNetwork(world.wish);
  const addresses = network ? ownIngressAddresses(world, network) : [];
  const gateways = Object.values(world.gateway).map(({ subnet }) => subnet);
  const bridges = [...world.wish.networks.values()].filter(({ spec }) => spec.driver === 'bridge');
  const object: UdpFlows = {
    ways: ([4, 6] as const).flatMap((of) => [...meshWays(world, of), ...hostWays(world, of)]),
    own: [
      ...addresses.map((ip) => `${ip}/${bits(family(ip))}`),
      ...gateways,
      ...bridges.flatMap(({ spec }) => spec.subnets),
    ],
  };
  wants.add(NODE_NS, 'udp-flows', 'published ports', object);
}

const isUdp = ({ proto }: AnyPort): boolean => proto === 'udp';

function meshWays(world: World, of: Family): UdpWay[] {
  const network = ingressNetwork(world.wish);
  const own = network && ownIngressAddresses(world, network).find((ip) => family(ip) === of);
  if (own === undefined) return [];
  return [...meshPorts(world.wish).values()]
    .flat()
    .filter((p) => isUdp(p) && familiesOfPort(p).includes(of))
    .map((p) => ({ ...place(p, of), ...numbers(publishedSpan(p)), target: own, first: meshNumber(p) }));
}

function hostWays(world: World, of: Family): UdpWay[] {
  if (!world.gateway[of]) return [];
  return servedPorts(world.wish, world.chosenPort)
    .filter(({ p }) => isUdp(p) && familiesOfPort(p).includes(of))
    .flatMap(({ p, span, sandbox }) => {
      const target = portTarget(world, sandbox, of);
      return target ? [{ ...place(p, of), ...numbers(span), target: target.ip, first: p.target }] : [];
    });
}

function place(p: AnyPort, of: Family): Pick<UdpWay, 'family' | 'ip'> {
  const ip = oneAddress(p);
  return { family: of, ...(ip !== undefined && { ip }) };
}

const numbers = ({ from, to }: { from: number; to: number }) => ({ from, to });
