import { contains, parseCidr } from '../base/cidr.js';
import { WeftError } from '../base/errors.js';
import { family, type Ip } from '../base/ip.js';

/** What no other node can send to: this network, loopback, multicast and beyond; link-local needs an interface with it. */
const UNUSABLE = [
  ...['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3'],
  ...['::/127', '::ffff:0:0/96', 'fe80::/10', 'ff00::/8'],
].map(parseCidr);

/** Can nodes send to the address? @throws WEFT_INVALID_ADDRESS */
export function checkUnderlayAddress(ip: Ip): void {
  if (!UNUSABLE.some((prefix) => contains(prefix, ip))) return;
  throw new WeftError(
    'WEFT_INVALID_ADDRESS',
    `${ip} is no address that other nodes could send to`,
    'give a unicast address of an interface, not loopback and not IPv6 link-local',
  );
}

/**
 * A VTEP of another node. The tunnels of a node have one family, that of the address it advertises: the kernel takes no
 * rows of the other.
 * @param self this node's own
 * @throws WEFT_INVALID_ADDRESS
 */
export function checkVtep(self: Ip, vtep: Ip, whose: string): void {
  checkUnderlayAddress(vtep);
  if (family(vtep) === family(self)) return;
  throw new WeftError(
    'WEFT_INVALID_ADDRESS',
    `VTEP ${vtep} of ${whose} is IPv${family(vtep)}, and this node advertises ${self}: a tunnel has one family`,
    'start all nodes with --advertise of one family',
  );
}
