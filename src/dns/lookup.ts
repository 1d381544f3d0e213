import { contains } from '../base/cidr.js';
import type { Ip } from '../base/ip.js';
import { TYPE } from './constants.js';
import { discover } from './discover.js';
import { findName, findPointer, named, zoneOf } from './find.js';
import { isBelow, isOneLabel } from './name.js';
import { type Outcome, ofType } from './outcome.js';
import { reverseIp } from './reverse.js';
import type { Server } from './server-address.js';
import type { NameEntry, NetworkView, SandboxView, View } from './view.js';

/** `localhost` and the names below it (RFC 6761 section 6.3), for programs that do not read the hosts file. */
const LOCALHOST = 'localhost';
const LOOPBACK: NameEntry = {
  a: Uint8Array.of(127, 0, 0, 1),
  aaaa: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
};
const isLoopback = (ip: Ip): boolean => ip === '::1' || ip.startsWith('127.');

/** What weft puts in front of a name of one label: SRV's labels, `tasks`, and a backend's label in front of that. */
const PREFIXES = /^(?:_[^.]+\.){0,2}(?:(?:[0-9a-f-]+\.)?tasks\.)?/;

/**
 * What is asked about zones, not about hosts. A validating resolver in a sandbox asks for the DS of `com`: told that it
 * does not exist, it would take nothing below it to exist (RFC 8020).
 */
const ABOUT_ZONES: readonly number[] = [TYPE.NS, TYPE.SOA, TYPE.DS, TYPE.DNSKEY];

/**
 * What a sandbox is told about a name. Only names of its own networks exist for it. A name that exists never goes
 * upstream: NXDOMAIN for the family it lacks makes musl drop the good answer of the other family. Nor does what could
 * only be ours.
 * @param key name in lower case, without final dot
 * @param type number of the record type asked for
 */
export function lookup(view: View, sandbox: SandboxView, key: string, type: number): Outcome {
  const found = findName(view, sandbox, key);
  if (found.length > 0) {
    const entries = found.map(({ entry }) => entry);
    return ofType(entries, type) ?? { kind: 'nodata', zone: zoneOf(view, sandbox, key) ?? 0 };
  }
  const made = discover(view, sandbox, key, type);
  if (made) return made;
  if (key === LOCALHOST || isBelow(key, LOCALHOST)) return ofType([LOOPBACK], type) ?? { kind: 'nodata', zone: 1 };
  const ip = reverseIp(key);
  if (ip !== undefined) {
    const target = findPointer(view, sandbox, ip) ?? (isLoopback(ip) ? LOCALHOST : undefined);
    if (target !== undefined)
      return type === TYPE.PTR
        ? { kind: 'pointer', target }
        : { kind: 'nodata', zone: reverseZone(view, sandbox, ip) ?? 0 };
  }
  const split = splitOf(view, sandbox, key);
  const zone = ownZone(view, sandbox, key, type, ip, split !== undefined);
  if (zone !== undefined) return { kind: hasNamesBelow(view, sandbox, key) ? 'nodata' : 'nxdomain', zone };
  const servers = split ?? sandbox.servers ?? view.upstreams;
  if (hasWayOut(view, sandbox)) return { kind: 'forward', servers };
  // From inside nobody reaches what the sandbox itself does not.
  const inside = insideOf(servers);
  return inside.length > 0 ? { kind: 'forward', servers: inside } : { kind: 'nxdomain', zone: 0 };
}

/** Who is asked for names of a domain that a name is in; the longest one counts, and of two the sandbox's. */
function splitOf(view: View, sandbox: SandboxView, key: string): readonly Server[] | undefined {
  if (view.split.size === 0 && sandbox.split.size === 0) return undefined;
  for (let domain = key; ; domain = domain.slice(domain.indexOf('.') + 1)) {
    const servers = sandbox.split.get(domain) ?? view.split.get(domain);
    if (servers && (domain === key || isBelow(key, domain))) return servers;
    if (!domain.includes('.')) return undefined;
  }
}

const insides = new WeakMap<readonly Server[], readonly Server[]>();

/** Those that are asked from the sandbox's namespace; the same list each time, for what is remembered by it. */
function insideOf(servers: readonly Server[]): readonly Server[] {
  let inside = insides.get(servers);
  if (!inside) {
    inside = servers.filter(({ netns }) => netns !== undefined);
    insides.set(servers, inside);
  }
  return inside;
}

/** The zone of ours that a name is in, undefined where it is somebody else's to know. */
function ownZone(
  view: View,
  sandbox: SandboxView,
  key: string,
  type: number,
  ip: Ip | undefined,
  split: boolean,
): number | undefined {
  if (ip !== undefined) return reverseZone(view, sandbox, ip);
  const zone = zoneOf(view, sandbox, key);
  if (zone !== undefined) return zone;
  if (split || ABOUT_ZONES.includes(type)) return undefined;
  return isOneLabel(key.replace(PREFIXES, '')) ? 0 : undefined;
}

/** Labels of the reverse zone of the subnet that an address is in: two, and one for each whole byte or nibble. */
function reverseZone(view: View, sandbox: SandboxView, ip: Ip): number | undefined {
  const subnets = sandbox.networks.flatMap((name) => view.networks.get(name)?.subnets ?? []);
  const subnet = subnets.find((one) => contains(one, ip));
  return subnet && 2 + Math.floor(subnet.length / (subnet.family === 4 ? 8 : 4));
}

/** Is a name that is nobody's above one that exists? Then it exists, and is empty (RFC 8020). */
function hasNamesBelow(view: View, sandbox: SandboxView, key: string): boolean {
  return sandbox.networks.some((name) => {
    const names = named(view, name)?.names;
    if (!names) return false;
    const zone = name.toLowerCase();
    return (
      key === zone || isBelow(zone, key) || above(names).has(isBelow(key, zone) ? key.slice(0, -zone.length - 1) : key)
    );
  });
}

/** By the names of a network: those that are above others. Made when a name is missed, and anew after a change. */
const aboves = new WeakMap<NetworkView['names'], ReadonlySet<string>>();

function above(names: NetworkView['names']): ReadonlySet<string> {
  let found = aboves.get(names) as Set<string> | undefined;
  if (!found) {
    found = new Set();
    for (const name of names.keys()) {
      for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) found.add(name.slice(dot + 1));
    }
    aboves.set(names, found);
  }
  return found;
}

/** A sandbox without any network has no gateway either. */
function hasWayOut(view: View, sandbox: SandboxView): boolean {
  return sandbox.networks.some((name) => view.networks.get(name)?.internal === false);
}
