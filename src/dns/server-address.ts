import { WeftError } from '../base/errors.js';
import { type Family, type Ip, ipText, tryIpBytes } from '../base/ip.js';

/** Where to ask: a name server's address and port. */
export interface Server {
  /** An IPv6 link-local address carries its zone, `fe80::1%eth0`. */
  address: Ip;
  port: number;
  family: Family;
  /** Path of the network namespace from which to ask it, where that is not the resolver's own. */
  netns?: string;
}

/** Port of DNS over UDP and TCP (RFC 1035 section 4.2). */
const DOMAIN_PORT = 53;

/**
 * `ADDRESS`, as in resolv.conf, or `ADDRESS#PORT`, as in dnsmasq's configuration: for a resolver of the node's own
 * beside the one at port 53. IPv6 link-local addresses need a zone.
 * @throws WEFT_INVALID_ADDRESS
 */
export function parseServer(text: string): Server {
  const parts = /^([^%#]+)(%[^#\s/]+)?(?:#([1-9]\d{0,4}))?$/.exec(text);
  const bytes = parts ? tryIpBytes(parts[1] as string) : undefined;
  const port = Number(parts?.[3] ?? DOMAIN_PORT);
  const zone = parts?.[2] ?? '';
  if (!bytes || port > 65535 || (zone !== '' && bytes.length === 4)) {
    throw new WeftError(
      'WEFT_INVALID_ADDRESS',
      `"${text}" is not the address of a name server`,
      'write ADDRESS or ADDRESS#PORT',
    );
  }
  return { address: ipText(bytes) + zone, port, family: bytes.length === 4 ? 4 : 6 };
}

export function serverText(server: Server): string {
  return server.port === DOMAIN_PORT ? server.address : `${server.address}#${server.port}`;
}
