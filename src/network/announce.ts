import type { Ip, Mac } from '../base/ip.js';
import type { Stored } from '../model/registry.js';
import type { Address } from '../objects/address.js';
import type { Ns } from '../objects/kind.js';
import type { Link } from '../objects/link.js';
import type { Neighbour } from '../objects/neighbour.js';
import type { Op } from '../reconcile/plan.js';
import type { Segment } from './driver.js';
import { BRIDGE } from './overlay/names.js';
import { driverOf } from './registry.js';
import { networkNs, type World } from './world.js';

/** `ip` is at `mac` now: everybody on the segment is to know. */
export interface Announcement extends Segment {
  ip: Ip;
  mac: Mac;
}

/** Rows that are gone, as they are remembered: what MAC an address last had in a namespace. */
export type LastMac = (ns: Ns, ip: Ip) => Mac | undefined;

/**
 * What has to be announced after operations were done. Announcements of a remote container do not cross a VXLAN that
 * answers ARP itself, so each node tells its own: where an address has another MAC than before, containers would go on
 * with what they have cached for up to a minute.
 */
export function announcements(world: World, done: readonly Op[], last: LastMac): Announcement[] {
  const overlays = new Set([...world.wish.networks.values()].map(({ id }) => networkNs(id)));
  const remote = done.flatMap((op) => {
    if (op.kind !== 'neighbour' || op.verb === 'remove' || !overlays.has(op.ns)) return [];
    const { ip, mac } = op.want as Neighbour;
    const before = op.verb === 'change' ? (op.have as Neighbour).mac : last(op.ns, ip);
    return before === undefined || before === mac ? [] : [{ ns: op.ns, dev: BRIDGE, ip, mac }];
  });
  return [...remote, ...attached(world, done)];
}

/** Endpoints here that were connected anew or changed. */
function attached(world: World, done: readonly Op[]): Announcement[] {
  const touched = new Set(done.flatMap((op) => (op.verb === 'remove' ? [] : touchedBy(op))));
  if (touched.size === 0) return [];
  return [...world.wish.endpoints.values()].flatMap((endpoint) => {
    const { sandbox, ifname, addresses, mac } = endpoint.spec;
    const segment = touched.has(`${sandbox} ${ifname}`) ? segmentOf(world, endpoint) : undefined;
    return segment ? addresses.map((ip) => ({ ...segment, ip, mac })) : [];
  });
}

function touchedBy(op: Op): string[] {
  if (op.kind === 'address') return [`${op.ns} ${(op.want as Address).dev}`];
  return op.kind === 'link' ? [`${op.ns} ${(op.want as Link).name}`] : [];
}

function segmentOf(world: World, endpoint: Stored<'endpoints'>): Segment | undefined {
  const network = world.wish.networks.get(endpoint.spec.network);
  return network && driverOf(network).segment?.(world, network, endpoint);
}
