import { contains, nth, parseCidr, size } from '../base/cidr.js';
import type { Ip } from '../base/ip.js';
import { endpointMac } from '../base/mac.js';
import type { Network } from '../model/network.js';

/** A peer with the MAC that follows from its address where none was given. */
export const withMac = <T extends { address: string; mac?: string | undefined }>(peer: T): T & { mac: string } => ({
  ...peer,
  mac: peer.mac ?? endpointMac(peer.address),
});

/**
 * A network with a gateway for every subnet, in their order: of those given the one that lies in it, else its first
 * address. Those without a subnet of their own stay at the end, where checks find them.
 */
export function withGateways(network: Network): Network {
  const prefixes = network.subnets.map(parseCidr);
  const left = [...network.gateways];
  const chosen = prefixes.map((prefix) => {
    const at = left.findIndex((ip) => contains(prefix, ip));
    return at < 0 ? nth(prefix, size(prefix) > 1n ? 1n : 0n) : (left.splice(at, 1)[0] as Ip);
  });
  return { ...network, gateways: [...chosen, ...left] };
}
