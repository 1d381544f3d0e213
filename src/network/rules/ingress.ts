import { type Family, family, type Ip, withPort } from '../../base/ip.js';
import { gatewayFamilies } from '../gateway.js';
import { INGRESS_LEG } from '../ingress.js';
import { ingressNetwork, ownIngressAddresses, type World } from '../world.js';
import type { Feature } from './node.js';

/** The overlay's MTU is smaller than the client's path; without the clamp one relies on ICMP that many drop. */
const CLAMP = '-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu';

/** Published ports of the ingress mesh: to this node's ingress address, and in by the leg. */
export const ingressRules: Feature = (world, of, book) => {
  const network = ingressNetwork(world.wish);
  const own = network && ownIngressAddresses(world, network).find((ip) => family(ip) === of);
  if (own === undefined) return;
  book.incoming(of, 'WEFT-INGRESS', [...UNTRANSLATABLE[of], ...published(world, own)]);
  // The leg brings replies only: a task that forges a node's address reaches nothing.
  book.add(of, 'mangle', 'WEFT-GUARD', [`-i ${INGRESS_LEG} -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP`]);
  book.jump(of, 'mangle', 'PREROUTING', '-j WEFT-GUARD');
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
    book.outgoing(
      of,
      strangers(world, of).map((source) => `-s ${source} -o ${INGRESS_LEG} -j SNAT --to-source ${node}`),
    );
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

function published(world: World, own: Ip): string[] {
  return [...world.wish.services.values()].flatMap(({ spec }) =>
    spec.publish
      .filter((p) => p.mode === 'ingress')
      .map((p) => {
        const end = p.publishedEnd ?? p.published;
        const ports = end === p.published ? `${end}` : `${p.published}:${end}`;
        // Without a port the kernel keeps the one dialled: a range maps 1:1.
        const to = end === p.published ? withPort(own, end) : own;
        return `-p ${p.proto} -m ${p.proto} --dport ${ports} -j DNAT --to-destination ${to}`;
      }),
  );
}
