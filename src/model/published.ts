import type { Ip } from '../base/ip.js';
import type { PublishedPort, Service } from './service.js';

/** A socket of the node that waits for callers, and who has it, as far as that is known. */
export interface PortHolder {
  proto: 'tcp' | 'udp';
  /** The unspecified address where it takes all. */
  address: Ip;
  port: number;
  pid?: number;
  program?: string;
}

/**
 * Would the socket hear nothing any more once the port is published? Ports are published on IPv4, so a socket of one
 * IPv6 address does not mind; one of all addresses takes IPv4 too, unless it says otherwise, which /proc does not tell.
 */
export function takes({ proto, address, port }: PortHolder, p: PublishedPort): boolean {
  if (proto !== p.proto || port < p.published || port > (p.publishedEnd ?? p.published)) return false;
  return !address.includes(':') || address === '::' || address.startsWith('::ffff:');
}

/** Ports that a service publishes and did not before. */
export function newlyPublished(before: Service | undefined, after: Service): PublishedPort[] {
  const kept = new Set((before?.publish ?? []).map((p) => JSON.stringify(p)));
  return after.publish.filter((p) => !kept.has(JSON.stringify(p)));
}
