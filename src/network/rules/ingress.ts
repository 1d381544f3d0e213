import { bits, type Family, family, type Ip } from '../../base/ip.js';
import { familiesOfPort, meshNumber, meshPorts, publishedSpan } from '../../model/published.js';
import type { PublishedPort } from '../../model/service.js';
import { gatewayFamilies } from '../gateway.js';
import { INGRESS_LEG } from '../ingress.js';
import { ingressNetwork, ownIngressAddresses, type World } from '../world.js';
import type { Feature } from './node.js';
import type { PortRules } from './port-tree.js';
import { translate } from './ports.js';

export const INGRESS_CHAIN = 'WEFT-INGRESS';
const HIDDEN_CHAIN = 'WEFT-HIDDEN';

/** The overlay's MTU is smaller than the client's path; without the clamp one relies on ICMP that many drop. */
const CLAMP = '-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu';

/** Published ports of the ingress mesh: to this node's ingress address, and in by the leg. */
export const ingressRules: Feature = (world, of, book) => {
  const network = ingressNetwork(world.wish);
  const own = network && ownIngressAddresses(world, network).find((ip) => family(ip) === of);
  if (own === undefined) return;
  const published = [...meshPorts(world.wish).values()].flat();
  const ports = published.map((p) => ({ ...publishedSpan(p), rules: meshTranslations(p, of, own) }));
  book.incoming(of, INGRESS_CHAIN, UNTRANSLATABLE[of], ports);
  // The leg brings replies only: a task that forges a node's address reaches nothing.
  book.add(of, 'mangle', 'WEFT-GUARD', [`-i ${INGRESS_LEG} -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP`]);
  // Every packet of every tunnel would cross a chain at PREROUTING (60 ns): what is for the node itself meets ../guard.ts.
  book.jump(of, 'mangle', world.nftInet ? 'FORWARD' : 'PREROUTING', '-j WEFT-GUARD');
  book.add(
    of,
    'mangle',
    'WEFT-MSS',
    ['-o', '-i'].map((way) => `${way} ${INGRESS_LEG} ${CLAMP}`),
  );
  book.jump(of, 'mangle', 'FORWARD', '-j WEFT-MSS');
  // Callers whose own address means nothing on another node appear as this node.
  const node = world.self.addresses[of];
  if (node !== undefined) {
    const snat = `-o ${INGRESS_LEG} -j SNAT --to-source ${node}`;
    book.outgoing(
      of,
      strangers(world, of).map((source) => `-s ${source} ${snat}`),
    );
    const hidden = hiddenCallers(world, of, node);
    if (hidden.length > 0) {
      book.outgoing(of, [`-d ${own}/${bits(of)} -o ${INGRESS_LEG} -j ${HIDDEN_CHAIN}`]);
      book.addPorts(of, 'nat', HIDDEN_CHAIN, hidden);
    }
  }
  book.forward(of, [
    `-o ${INGRESS_LEG} -m conntrack --ctstate DNAT -j ACCEPT`,
    `-i ${INGRESS_LEG} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
  ]);
};

/**
 * Addresses of the node that stay its own: the kernel neither routes answers to ::1 nor forwards what comes from a
 * link-local address. Nobody listens there, so the node refuses at once.
 */
const UNTRANSLATABLE: Readonly<Record<Family, readonly string[]>> = {
  4: [],
  6: ['-d ::1/128 -j RETURN', '-d fe80::/10 -j RETURN'],
};

/** Sources that mean nothing on another node. */
function strangers(world: World, of: Family): string[] {
  const containers = gatewayFamilies(world).includes(of) ? world.gateway[of] : undefined;
  return [...(containers ? [containers.subnet] : []), ...(of === 4 ? ['127.0.0.0/8'] : [])];
}

/** All callers of services with `clientIp: snat` appear as this node; by the numbers of the ingress network. */
function hiddenCallers(world: World, of: Family, node: Ip): PortRules[] {
  const services = [...meshPorts(world.wish)].filter(([id]) => world.wish.services.get(id)?.spec.clientIp === 'snat');
  return services
    .flatMap(([, ports]) => ports)
    .filter((p) => familiesOfPort(p).includes(of))
    .map((p) => {
      const { from, to } = publishedSpan(p);
      const first = meshNumber(p);
      const last = first + to - from;
      const numbers = first === last ? first : `${first}:${last}`;
      const rule = `-p ${p.proto} -m ${p.proto} --dport ${numbers} -j SNAT --to-source ${node}`;
      return { proto: p.proto, from: first, to: last, rules: [rule] };
    });
}

/** The rules that send callers of one port to this node's address on the ingress network. */
export function meshTranslations(p: PublishedPort, of: Family, own: Ip): string[] {
  return familiesOfPort(p).includes(of) ? translate(p, publishedSpan(p), of, own, meshNumber(p)) : [];
}
