import { cidrText, contains, overlaps, type Prefix, parseCidr } from '../base/cidr.js';
import { WeftError } from '../base/errors.js';
import type { Cidr } from '../base/ip.js';
import type { Network } from '../model/network.js';
import { asPrefix, poolsIn } from './pools.js';

/** Where no network can be, and why (RFC 6890, RFC 4291). */
const UNUSABLE: readonly (readonly [Cidr, string])[] = [
  ['0.0.0.0/8', 'stands for "this network"'],
  ['127.0.0.0/8', 'is loopback, which never leaves a namespace'],
  ['169.254.0.0/16', 'is link-local, which routers do not forward'],
  ['224.0.0.0/4', 'is multicast'],
  ['255.255.255.255/32', 'is the broadcast address'],
  ['::/127', 'has the unspecified and the loopback address'],
  ['::ffff:0:0/96', 'stands for IPv4 addresses in programs and is never on a wire'],
  ['fe80::/10', 'is link-local, which routers do not forward'],
  ['ff00::/8', 'is multicast'],
];

const unusable = UNUSABLE.map(([text, why]) => ({ prefix: parseCidr(text), why }));

/** Least MTU of a link with IPv6 (RFC 8200 section 5): below it the kernel takes IPv6 from the interface. */
const IPV6_MIN_MTU = 1280;

/**
 * What holds for the subnets of every driver: they lie where addresses can be used, and what is reserved lies in them.
 * @param prefixes the network's subnets, parsed
 * @throws WEFT_INVALID_SUBNET, WEFT_INVALID_ARGUMENT
 */
export function checkSubnets(spec: Network, prefixes: readonly Prefix[]): void {
  for (const prefix of prefixes) {
    const bad = unusable.find((u) => overlaps(u.prefix, prefix));
    if (!bad) continue;
    const text = cidrText(prefix);
    const where = prefix.length >= bad.prefix.length ? text : `${text} has ${cidrText(bad.prefix)}, which`;
    throw new WeftError(
      'WEFT_INVALID_SUBNET',
      `${where} ${bad.why}`,
      prefix.family === 4 ? 'use private addresses, for example 10.20.0.0/24' : 'use ULA, for example fd12:3456::/64',
    );
  }
  for (const text of spec.reserved) {
    const inner = asPrefix(text);
    if (prefixes.some((subnet) => contains(subnet, inner.first) && inner.length >= subnet.length)) continue;
    throw new WeftError(
      'WEFT_INVALID_SUBNET',
      `reserved ${text} is not inside ${spec.subnets.join(', ') || 'any subnet of the network'}`,
      'reserve addresses of the network’s own subnets',
    );
  }
  if (spec.mtu === undefined || spec.mtu >= IPV6_MIN_MTU || !prefixes.some((prefix) => prefix.family === 6)) return;
  throw new WeftError(
    'WEFT_INVALID_ARGUMENT',
    `MTU ${spec.mtu} is too small for IPv6, which needs ${IPV6_MIN_MTU}`,
    `give --mtu ${IPV6_MIN_MTU} or more, or no IPv6 subnet`,
  );
}

/** Refuses ranges in which nothing is left to allocate. @throws WEFT_INVALID_SUBNET */
export function checkRoom(spec: Network): void {
  const empty = poolsIn(spec).find((pool) => pool.usable === 0n);
  if (!empty) return;
  throw new WeftError(
    'WEFT_INVALID_SUBNET',
    `${empty.ranges.map(cidrText).join(', ')} has no address left but gateways and reserved ones`,
    'reserve less, or use a larger subnet or range',
  );
}
