import { type Family, family } from '../../base/ip.js';
import { bridgeName, optionsOf } from '../../model/options.js';
import type { Stored } from '../../model/registry.js';
import type { RuleBook } from './book.js';
import type { Feature } from './node.js';

/** Bridge networks: out with an address of the node, among themselves as `icc` says, and in only as an answer. */
export const bridgeRules: Feature = (world, of, book) => {
  for (const network of world.wish.networks.values()) {
    if (network.spec.driver !== 'bridge') continue;
    const subnets = network.spec.subnets.filter((subnet) => family(subnet.split('/')[0] as string) === of);
    if (subnets.length === 0) continue;
    between(network, of, book);
    if (!network.spec.internal) outside(network, subnets, of, book);
  }
};

/**
 * Frames of one bridge come by FORWARD where bridge-nf-call-iptables is on, and packets that a container sends to its
 * neighbour by way of the gateway always do.
 */
function between(network: Stored<'networks'>, of: Family, book: RuleBook): void {
  const name = bridgeName(network);
  const verdict = optionsOf('bridge', network.spec).icc ? 'ACCEPT' : 'DROP';
  book.forward(of, [`-i ${name} -o ${name} -j ${verdict}`]);
  if (!network.spec.internal) {
    book.forward(of, [`-o ${name} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`]);
  }
  // Other networks' containers, and whoever outside routes to the subnet.
  book.forward(of, [`-o ${name} -j DROP`]);
  book.leave(of, [`-i ${name} -j ${network.spec.internal ? 'DROP' : 'ACCEPT'}`]);
}

function outside(network: Stored<'networks'>, subnets: readonly string[], of: Family, book: RuleBook): void {
  const { masquerade, egress } = optionsOf('bridge', network.spec);
  const name = bridgeName(network);
  const address = egress?.find((ip) => family(ip) === of);
  const target = address === undefined ? 'MASQUERADE' : `SNAT --to-source ${address}`;
  if (!masquerade) return;
  book.outgoing(
    of,
    subnets.map((subnet) => `-s ${subnet} ! -o ${name} -j ${target}`),
  );
}
