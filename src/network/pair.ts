import { nameOf, type Stored } from '../model/registry.js';
import type { Ns } from '../objects/kind.js';
import { ALIAS_PREFIX, type Link } from '../objects/link.js';
import { bandwidthLimits } from './bandwidth.js';
import { hostEndName } from './names.js';
import type { Wants } from './world.js';

/** Where the near end of an endpoint's pair is. */
export interface NearEnd {
  ns: Ns;
  /** Bridge it is a port of. */
  master: string;
  /** Of both ends. */
  mtu: number;
  port: NonNullable<Link['port']>;
}

/** The near end of an endpoint's pair. */
export const endpointEnd = ({ id, spec }: Stored<'endpoints'>): string => hostEndName(`${id}/${spec.ifname}`);

/**
 * The veth of an endpoint: one end is a port of a bridge, the other is born in the sandbox as its interface.
 * @returns name of the near end
 */
export function endpointPair(endpoint: Stored<'endpoints'>, { ns, master, mtu, port }: NearEnd, wants: Wants): string {
  const { sandbox, ifname: name, mac } = endpoint.spec;
  const why = `endpoint ${endpoint.id}`;
  const alias = `${ALIAS_PREFIX}${nameOf(endpoint)}`;
  const peer = { ns: sandbox, name, mac, mtu };
  const near = endpointEnd(endpoint);
  wants.add(ns, 'link', why, { type: 'veth', name: near, up: true, mtu, master, alias, peer, port });
  wants.add(sandbox, 'link', why, { type: 'veth-end', name, up: true, mtu, mac, alias });
  bandwidthLimits(endpoint, { ns, dev: near, mtu }, wants);
  return near;
}
