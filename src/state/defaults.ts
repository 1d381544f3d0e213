import { nth, parseCidr, size } from '../base/cidr.js';
import { endpointMac } from '../base/mac.js';
import type { Network } from '../model/network.js';

/** A peer with the MAC that follows from its address where none was given. */
export const withMac = <T extends { address: string; mac?: string | undefined }>(peer: T): T & { mac: string } => ({
  ...peer,
  mac: peer.mac ?? endpointMac(peer.address),
});

/** A network with a gateway for every subnet: the first address of those that name none and have one. */
export function withGateways(network: Network): Network {
  const { subnets, gateways } = network;
  const unnamed = subnets.slice(gateways.length).map(parseCidr);
  const chosen = unnamed.filter((prefix) => size(prefix) > 1n).map((prefix) => nth(prefix, 1n));
  return { ...network, gateways: [...gateways, ...chosen] };
}
