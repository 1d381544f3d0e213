import type { z } from 'zod';
import { contains, nth, parseCidr, size } from '../base/cidr.js';
import type { Ip } from '../base/ip.js';
import { endpointMac } from '../base/mac.js';
import { Shared } from '../base/shared.js';
import type { Network } from '../model/network.js';
import type { Peer, peerBody } from '../model/peer.js';

/** Texts that many peers have in common: of networks, nodes, services. */
export const shared = new Shared();
const NO_ALIASES: string[] = [];

/**
 * A peer as it is kept, with the MAC that follows from its address where none was given. There are tens of thousands:
 * what they have in common is there once, and the fields are named, for a spread of what the schema gave would leave each
 * peer with a hidden class of its own (408 bytes instead of 88).
 */
export function keptPeer(peer: z.output<typeof peerBody>): Peer {
  const { network, address, addressV6, mac, vtep, service, state, weight, aliases, sandbox } = peer;
  return {
    network: shared.text(network),
    address,
    ...(addressV6 !== undefined && { addressV6 }),
    mac: mac ?? endpointMac(address),
    vtep: shared.text(vtep),
    ...(service !== undefined && {
      service: typeof service === 'string' ? shared.text(service) : service.map((id) => shared.text(id)),
    }),
    state,
    weight,
    aliases: aliases.length > 0 ? aliases : NO_ALIASES,
    ...(sandbox !== undefined && { sandbox }),
  };
}

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
