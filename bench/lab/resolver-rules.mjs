// How a container's port 53 at 127.0.0.11 leads to the resolver's random ports.
import { iptables, nft, run } from './run.mjs';

const RESOLVER = '127.0.0.11';
const PORT = { tcp: 45239, udp: 55257 };

/** Does a container have rules to a resolver, by whatever means? @param {string} ns */
export const hasResolverRules = (ns) =>
  [
    ['nft', 'list', 'ruleset'],
    ['iptables-save', '-t', 'nat'],
  ].some((argv) => run(ns, argv).includes(RESOLVER));

/** In the shape of Swarm's: four rules of table nat, and connection tracking in the container with them. */
export const SWARM_RESOLVER_RULES = [
  'DOCKER_OUTPUT -',
  'DOCKER_POSTROUTING -',
  `OUTPUT -d ${RESOLVER}/32 -j DOCKER_OUTPUT`,
  `POSTROUTING -d ${RESOLVER}/32 -j DOCKER_POSTROUTING`,
  ...Object.entries(PORT).flatMap(([proto, port]) => [
    `DOCKER_OUTPUT -d ${RESOLVER}/32 -p ${proto} -m ${proto} --dport 53 -j DNAT --to-destination ${RESOLVER}:${port}`,
    `DOCKER_POSTROUTING -s ${RESOLVER}/32 -p ${proto} -m ${proto} --sport ${port} -j SNAT --to-source :53`,
  ]),
];

/** As Swarm does it. @param {string} ns */
export const addSwarmResolverRules = (ns) => iptables(ns, { nat: SWARM_RESOLVER_RULES });

/** As weft does it, without state; see src/network/resolver-rules.ts. @param {string} ns */
export function addWeftResolverRules(ns) {
  const rules = Object.entries(PORT).flatMap(([proto, port]) => [
    `ip daddr ${RESOLVER} ${proto} dport 53 ${proto} dport set ${port} notrack accept`,
    `ip saddr ${RESOLVER} ${proto} sport ${port} ${proto} sport set 53 notrack accept`,
  ]);
  const chain = ['type filter hook output priority -310', 'oifname != lo accept', ...rules].join('; ');
  nft(ns, `table inet weft { chain resolver { ${chain}; }; }\n`);
}
