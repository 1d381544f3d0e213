import { contains } from '../base/cidr.js';
import type { Ip } from '../base/ip.js';
import { TYPE } from './constants.js';
import { isBelow, isOneLabel } from './name.js';
import { reverseIp } from './reverse.js';
import type { Server } from './server-address.js';
import type { Addresses, NetworkView, SandboxView, View } from './view.js';

export type Outcome =
  /** Sets of packed addresses of one type, one a network, none of them empty. */
  | { kind: 'addresses'; type: typeof TYPE.A | typeof TYPE.AAAA; sets: Uint8Array[] }
  | { kind: 'pointer'; target: string }
  | Negative
  | { kind: 'forward'; servers: readonly Server[] };

/**
 * `nodata`: the name exists, or names below it do, and it has nothing of this type. `nxdomain`: it does not exist.
 * `zone` is how many of the name's last labels are the name of the zone that says so; 0 is the root.
 */
export interface Negative {
  kind: 'nodata' | 'nxdomain';
  zone: number;
}

/** `localhost` and the names below it (RFC 6761 section 6.3), for programs that do not read the hosts file. */
const LOCALHOST = 'localhost';
const LOOPBACK: Addresses = {
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
  if (found.length > 0) return ofType(found, type) ?? { kind: 'nodata', zone: zoneOf(view, sandbox, key) ?? 0 };
  if (key === LOCALHOST || isBelow(key, LOCALHOST)) return ofType([LOOPBACK], type) ?? { kind: 'nodata', zone: 1 };
  const ip = reverseIp(key);
  if (ip !== undefined) {
    const target = findPointer(view, sandbox, ip);
    if (target !== undefined)
      return type === TYPE.PTR
        ? { kind: 'pointer', target }
        : { kind: 'nodata', zone: reverseZone(view, sandbox, ip) ?? 0 };
  }
  const zone = ownZone(view, sandbox, key, type, ip);
  if (zone !== undefined) return { kind: hasNamesBelow(view, sandbox, key) ? 'nodata' : 'nxdomain', zone };
  if (!hasWayOut(view, sandbox)) return { kind: 'nxdomain', zone: 0 };
  return { kind: 'forward', servers: sandbox.servers ?? view.upstreams };
}

/** Addresses of a type among what was found. ANY is answered with one of the types there are (RFC 8482 section 4.1). */
function ofType(found: readonly Addresses[], type: number): Outcome | undefined {
  if (type === TYPE.ANY) return ofType(found, TYPE.A) ?? ofType(found, TYPE.AAAA);
  if (type !== TYPE.A && type !== TYPE.AAAA) return undefined;
  const sets = found.map((entry) => (type === TYPE.A ? entry.a : entry.aaaa)).filter((set) => set.length > 0);
  return sets.length > 0 ? { kind: 'addresses', type, sets } : undefined;
}

/** Entries under a name on all networks of a sandbox; else under NAME where the key is NAME.NETWORK, on that network. */
function findName(view: View, sandbox: SandboxView, key: string): Addresses[] {
  const found: Addresses[] = [];
  for (const name of sandbox.networks) {
    const entry = named(view, name)?.names.get(key);
    if (entry) found.push(entry);
  }
  if (found.length > 0 || !key.includes('.')) return found;
  for (const name of sandbox.networks) {
    const suffix = `.${name.toLowerCase()}`;
    const entry = key.endsWith(suffix) ? named(view, name)?.names.get(key.slice(0, -suffix.length)) : undefined;
    if (entry) return [entry];
  }
  return found;
}

function named(view: View, network: string): NetworkView | undefined {
  const found = view.networks.get(network);
  return found?.ingress ? undefined : found;
}

function findPointer(view: View, sandbox: SandboxView, ip: Ip): string | undefined {
  for (const name of sandbox.networks) {
    const target = named(view, name)?.pointers.get(ip);
    if (target !== undefined) return target;
  }
  return isLoopback(ip) ? LOCALHOST : undefined;
}

/** The zone of ours that a name is in, undefined where it is somebody else's to know. */
function ownZone(view: View, sandbox: SandboxView, key: string, type: number, ip: Ip | undefined): number | undefined {
  if (ip !== undefined) return reverseZone(view, sandbox, ip);
  const zone = zoneOf(view, sandbox, key);
  if (zone !== undefined) return zone;
  return isOneLabel(key.replace(PREFIXES, '')) && !ABOUT_ZONES.includes(type) ? 0 : undefined;
}

/** Labels of the sandbox's network that a name is below, or is; the longest where several are. */
function zoneOf(view: View, sandbox: SandboxView, key: string): number | undefined {
  const zones = sandbox.networks
    .filter((name) => named(view, name))
    .map((name) => name.toLowerCase())
    .filter((zone) => key === zone || isBelow(key, zone));
  return zones.length > 0 ? Math.max(...zones.map((zone) => zone.split('.').length)) : undefined;
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
