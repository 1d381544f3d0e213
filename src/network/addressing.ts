import { cidrText, contains, type Prefix, parseCidr } from '../base/cidr.js';
import { family, type Ip } from '../base/ip.js';
import type { Stored } from '../model/registry.js';
import { MAIN_TABLE } from '../objects/route.js';
import { speakIpv6 } from './sysctls.js';
import type { Wants } from './world.js';

const prefixes = new WeakMap<object, readonly Prefix[]>();

/** Subnets of a network, parsed once for each stored spec. */
function subnetsOf({ spec }: Stored<'networks'>): readonly Prefix[] {
  let found = prefixes.get(spec);
  if (!found) {
    found = spec.subnets.map(parseCidr);
    prefixes.set(spec, found);
  }
  return found;
}

/** The subnet of the network that has the address; stored addresses are in one. */
export const subnetOf = (network: Stored<'networks'>, ip: Ip): Prefix =>
  subnetsOf(network).find((subnet) => contains(subnet, ip)) as Prefix;

/** The gateway of the subnet that has the address. */
export const gatewayFor = (network: Stored<'networks'>, ip: Ip): Ip =>
  network.spec.gateways[subnetsOf(network).findIndex((subnet) => contains(subnet, ip))] as Ip;

/** Addresses of an endpoint, and the way to the network's other subnets of its families, which are on the same segment. */
export function addressing(
  network: Stored<'networks'>,
  spec: Stored<'endpoints'>['spec'],
  why: string,
  wants: Wants,
): void {
  const { sandbox, ifname: dev, addresses } = spec;
  if (addresses.some((ip) => family(ip) === 6)) {
    speakIpv6(sandbox, dev, why, wants);
    // Answers in a VIP's name ask for the next hop's MAC from the link-local address: while the kernel looks for
    // duplicates of it, a new task would be mute for up to two seconds.
    wants.sysctls(sandbox, why, { 'net/ipv6/conf/default/accept_dad': 0 });
  }
  const own = addresses.map((ip) => subnetOf(network, ip));
  for (const [i, ip] of addresses.entries()) {
    wants.add(sandbox, 'address', why, { dev, ip, length: (own[i] as Prefix).length });
  }
  for (const subnet of subnetsOf(network)) {
    if (own.includes(subnet) || !own.some((mine) => mine.family === subnet.family)) continue;
    wants.add(sandbox, 'route', why, { dst: cidrText(subnet), dev, table: MAIN_TABLE });
  }
}
