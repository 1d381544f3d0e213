import { USER_CHAIN } from '../objects/iptables.js';
import { NODE_NS } from '../objects/kind.js';
import { GATEWAY_BRIDGE, needsGateway } from './gateway.js';
import { INGRESS_LEG } from './ingress.js';
import { ingressNetwork, ownIngressAddresses, type Wants, type World } from './world.js';

const FAMILY = 4;

/** The node's own rules of the IP layer: published ports in, containers out. One object a chain, in all networks' name. */
export function nodeRules(world: World, wants: Wants): void {
  const network = ingressNetwork(world.wish);
  const own = network && ownIngressAddresses(world, network).find((ip) => !ip.includes(':'));
  const gateway = needsGateway(world);
  if (own === undefined && !gateway) return;
  const chain = (table: string, name: string, rules: string[]) =>
    wants.add(NODE_NS, 'iptables', `node rules (${name})`, {
      what: 'chain',
      family: FAMILY,
      table,
      chain: name,
      rules,
    });
  const jump = (table: string, from: string, rule: string) =>
    wants.add(NODE_NS, 'iptables', 'node rules', { what: 'jump', family: FAMILY, table, chain: from, rule });
  if (own !== undefined) {
    chain('nat', 'WEFT-INGRESS', published(world, own));
    jump('nat', 'PREROUTING', '-m addrtype --dst-type LOCAL -j WEFT-INGRESS');
    jump('nat', 'OUTPUT', '-m addrtype --dst-type LOCAL -j WEFT-INGRESS');
    chain('mangle', 'WEFT-GUARD', [
      // The leg brings replies only: a task that forges a node's address reaches nothing.
      `-i ${INGRESS_LEG} -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP`,
    ]);
    jump('mangle', 'PREROUTING', '-j WEFT-GUARD');
    chain(
      'mangle',
      'WEFT-MSS',
      ['-o', '-i'].map((way) => `${way} ${INGRESS_LEG} ${CLAMP}`),
    );
    jump('mangle', 'FORWARD', '-j WEFT-MSS');
  }
  chain('nat', 'WEFT-POSTROUTING', outgoing(world, own !== undefined, gateway));
  jump('nat', 'POSTROUTING', '-j WEFT-POSTROUTING');
  chain('filter', USER_CHAIN, []);
  chain('filter', 'WEFT-FORWARD', forwarded(own !== undefined, gateway));
  jump('filter', 'FORWARD', '-j WEFT-FORWARD');
}

/** The overlay's MTU is smaller than the client's path; without the clamp one relies on ICMP that many drop. */
const CLAMP = '-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu';

function published(world: World, own: string): string[] {
  return [...world.wish.services.values()].flatMap(({ spec }) =>
    spec.publish
      .filter((p) => p.mode === 'ingress')
      .map((p) => {
        const end = p.publishedEnd ?? p.published;
        const ports = end === p.published ? `${end}` : `${p.published}:${end}`;
        // Without a port the kernel keeps the one dialled: a range maps 1:1.
        const to = end === p.published ? `${own}:${end}` : own;
        return `-p ${p.proto} -m ${p.proto} --dport ${ports} -j DNAT --to-destination ${to}`;
      }),
  );
}

function outgoing(world: World, ingress: boolean, gateway: boolean): string[] {
  const { subnet } = world.gateway;
  const node = world.self.vtep;
  const rules: string[] = [];
  // Callers whose own address means nothing on another node appear as this node.
  if (ingress) {
    if (gateway) rules.push(`-s ${subnet} -o ${INGRESS_LEG} -j SNAT --to-source ${node}`);
    rules.push(`-s 127.0.0.0/8 -o ${INGRESS_LEG} -j SNAT --to-source ${node}`);
  }
  if (gateway) rules.push(`-s ${subnet} ! -o ${GATEWAY_BRIDGE} -j MASQUERADE`);
  return rules;
}

/** Passes what is ours through a FORWARD policy of DROP; the user's chain comes first. */
function forwarded(ingress: boolean, gateway: boolean): string[] {
  const rules = [`-j ${USER_CHAIN}`];
  if (ingress) {
    rules.push(
      `-o ${INGRESS_LEG} -m conntrack --ctstate DNAT -j ACCEPT`,
      `-i ${INGRESS_LEG} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    );
  }
  if (gateway) {
    rules.push(
      `-o ${GATEWAY_BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
      `-i ${GATEWAY_BRIDGE} -o ${GATEWAY_BRIDGE} -j DROP`,
      `-i ${GATEWAY_BRIDGE} -j ACCEPT`,
    );
  }
  return rules;
}
