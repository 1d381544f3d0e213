// A mesh that rewrites the source, in the shape of Docker Swarm's: a load-balancing sandbox on each network translates
// VIP and published port to a backend, and the client's address to its own, so that replies come back through it. Done
// with nf_tables, where Swarm uses IPVS; without the bridge-nf hooks that Swarm leaves on in an overlay's namespace.
import { APP, HOST, INGRESS, NUMBER, PUBLISHED, TARGET, VIP } from './addresses.mjs';
import { attach, boxOf, carry, gateway, know } from './by-hand.mjs';
import { addSwarmResolverRules, SWARM_RESOLVER_RULES } from './resolver-rules.mjs';
import { ip, iptables, namespaces, nft, sysctls } from './run.mjs';
import { plugHost } from './underlay.mjs';

const GATEWAY = '172.18';

/**
 * @param {{ resolver: boolean }} like has weft's client rules for a resolver? Then this one's has Swarm's
 * @returns {{ client: string, backend: string, node: string }} namespaces, and the first node's address
 */
export function plugSnat({ resolver }) {
  const hosts = HOST.snat.map((number, i) => ({ name: `d${i + 1}`, vtep: plugHost(`d${i + 1}`, number) }));
  const [here, there] = hosts;
  for (const host of hosts) for (const network of [APP, INGRESS]) carry(host, network);
  const [client, balancer, ingress] = ['c1', 'lb', 'ingress_sbox'].map((name) => boxOf(here, name));
  const backend = boxOf(there, 'b1');
  namespaces(client, balancer, ingress, backend);
  const gateways = hosts.map((host) => gateway(host, GATEWAY, 'docker_gwbridge'));
  attach(here, APP, client, 'eth0', NUMBER.client);
  gateways[0](client, 'eth1', 3);
  const server = attach(there, APP, backend, 'eth0', NUMBER.backend);
  const published = attach(there, INGRESS, backend, 'eth1', NUMBER.backend);
  gateways[1](backend, 'eth2', 3);

  const east = attach(here, APP, balancer, 'eth0', NUMBER.balancer);
  ip(balancer, `addr add ${VIP}/32 dev eth0`);
  balance(balancer, `ip daddr ${VIP}`, server, east);
  const north = attach(here, INGRESS, ingress, 'eth0', NUMBER.balancer);
  const entry = gateways[0](ingress, 'eth1', 2);
  balance(ingress, `tcp dport ${PUBLISHED}`, published, north);
  know(here, APP, server);
  know(there, APP, east);
  know(here, INGRESS, published);
  know(there, INGRESS, north);
  if (resolver) addSwarmResolverRules(client);
  task(backend, published);
  // Every node of a Swarm answers on the port, so every node has the rules, and connection tracking with them.
  for (const host of hosts) nodeRules(host, entry);
  return { client, backend, node: here.vtep };
}

/** One backend; both its addresses are written as Swarm's balancers would, the source after the routing decision. */
function balance(box, match, backend, own) {
  sysctls(box, {
    'net/ipv4/ip_forward': 1,
    // One-armed: the kernel would tell the client of a shorter way.
    'net/ipv4/conf/all/send_redirects': 0,
    'net/ipv4/conf/eth0/send_redirects': 0,
  });
  nft(
    box,
    `table ip balancer {
      chain in {
        type nat hook prerouting priority dstnat;
        ${match} dnat to numgen inc mod 1 map { 0 : ${backend.address} }
      }
      chain out {
        type nat hook postrouting priority srcnat;
        ip daddr ${backend.address} snat to ${own.address}
      }
    }`,
  );
}

/** A task of a published service as Swarm leaves it: its resolver's rules, the port's redirection and its filter. */
function task(box, { address }) {
  iptables(box, {
    nat: [
      `PREROUTING -d ${address}/32 -p tcp -m tcp --dport ${PUBLISHED} -j REDIRECT --to-ports ${TARGET}`,
      ...SWARM_RESOLVER_RULES,
    ],
    filter: [
      `INPUT -d ${address}/32 -p tcp -m tcp --dport ${TARGET} -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT`,
      `INPUT -d ${address}/32 -p sctp -j DROP`,
      `INPUT -d ${address}/32 -p udp -j DROP`,
      `INPUT -d ${address}/32 -p tcp -j DROP`,
      `OUTPUT -s ${address}/32 -p tcp -m tcp --sport ${TARGET} -m conntrack --ctstate ESTABLISHED -j ACCEPT`,
      `OUTPUT -s ${address}/32 -p sctp -j DROP`,
      `OUTPUT -s ${address}/32 -p udp -j DROP`,
      `OUTPUT -s ${address}/32 -p tcp -j DROP`,
    ],
  });
}

function nodeRules({ name }, entry) {
  iptables(name, {
    nat: [
      'DOCKER-INGRESS -',
      'PREROUTING -m addrtype --dst-type LOCAL -j DOCKER-INGRESS',
      'OUTPUT -m addrtype --dst-type LOCAL -j DOCKER-INGRESS',
      `POSTROUTING -s ${GATEWAY}.0.0/16 ! -o docker_gwbridge -j MASQUERADE`,
      `DOCKER-INGRESS -p tcp -m tcp --dport ${PUBLISHED} -j DNAT --to-destination ${entry}:${PUBLISHED}`,
      'DOCKER-INGRESS -j RETURN',
    ],
    filter: [
      'DOCKER-INGRESS -',
      'FORWARD -j DOCKER-INGRESS',
      `DOCKER-INGRESS -p tcp -m tcp --dport ${PUBLISHED} -j ACCEPT`,
      `DOCKER-INGRESS -p tcp -m state --state RELATED,ESTABLISHED -m tcp --sport ${PUBLISHED} -j ACCEPT`,
      'DOCKER-INGRESS -j RETURN',
    ],
  });
}
