// How a container's port 53 at 127.0.0.11 leads to the resolver's random ports: four rules of table nat, and connection
// tracking in the container with them.
import { run } from './run.mjs';

const RESOLVER = '127.0.0.11';
const PORT = { tcp: 45239, udp: 55257 };

/** Does a container have such rules? @param {string} ns */
export const hasResolverRules = (ns) => run(ns, ['iptables-save', '-t', 'nat']).includes(`${RESOLVER}/32`);

/**
 * The rules in the shape of Swarm's, or of weft's, which jumps without looking at the address first.
 * @param {string} out chain called by OUTPUT @param {string} back chain called by POSTROUTING
 * @param {string} [match] of the jumps
 */
function resolverRules(out, back, match = '') {
  return [
    `${out} -`,
    `${back} -`,
    `OUTPUT ${match}-j ${out}`,
    `POSTROUTING ${match}-j ${back}`,
    ...Object.entries(PORT).flatMap(([proto, port]) => [
      `${out} -d ${RESOLVER}/32 -p ${proto} -m ${proto} --dport 53 -j DNAT --to-destination ${RESOLVER}:${port}`,
      `${back} -s ${RESOLVER}/32 -p ${proto} -m ${proto} --sport ${port} -j SNAT --to-source :53`,
    ]),
  ];
}

export const swarmResolverRules = () => resolverRules('DOCKER_OUTPUT', 'DOCKER_POSTROUTING', `-d ${RESOLVER}/32 `);
export const weftResolverRules = () => resolverRules('WEFT-TASK-DNS', 'WEFT-TASK-DNS-BACK');
