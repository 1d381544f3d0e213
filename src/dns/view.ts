import { type Ip, ipText } from '../base/ip.js';
import { TYPE } from './constants.js';
import type { Server } from './server-address.js';

/**
 * What the resolver knows, as the agent last said. Never changed in place: a patch makes a new view that shares the
 * entries it does not name. Maps, not plain objects: clients choose the keys that are looked up (`constructor`).
 */
export interface View {
  revision: number;
  /** The node's own name servers, in the order to try them. */
  upstreams: readonly Server[];
  sandboxes: ReadonlyMap<string, SandboxView>;
  networks: ReadonlyMap<string, NetworkView>;
}

export interface SandboxView {
  /** Path of the network namespace. */
  netns: string;
  /** Names of its networks, in the order of connection. */
  networks: readonly string[];
  /** Name servers of its own, instead of the node's. */
  servers: readonly Server[] | undefined;
  /**
   * Of an earlier resolver's sockets. Rules lead there, and so do tracked flows: a client that keeps its port would be
   * sent to the old ports for as long as it asks.
   */
  ports?: { udp: number; tcp: number };
}

export interface NetworkView {
  /** No way out: nothing is forwarded for a sandbox that has only such networks. */
  internal: boolean;
  /** The ingress network carries published ports; its addresses are no names' addresses. */
  ingress: boolean;
  /** By name in lower case, without final dot. */
  names: ReadonlyMap<string, Addresses>;
  /** By address, the whole name it belongs to. */
  pointers: ReadonlyMap<Ip, string>;
}

/** Packed in network order, 4 and 16 bytes each: the bytes of the answers, a tenth of the memory of strings. */
export interface Addresses {
  a: Uint8Array;
  aaaa: Uint8Array;
}

export type Outcome =
  /** Sets of packed addresses, one a network, none of them empty. */
  | { kind: 'addresses'; sets: Uint8Array[] }
  | { kind: 'pointer'; target: string }
  /** The name exists and has nothing of this type. */
  | { kind: 'nodata' }
  /** Unknown here, and there is no way out to ask. */
  | { kind: 'nxdomain' }
  | { kind: 'forward'; servers: readonly Server[] };

export const EMPTY_VIEW: View = { revision: 0, upstreams: [], sandboxes: new Map(), networks: new Map() };

/**
 * What a sandbox is told about a name. Only names of its own networks exist for it. A name that exists never goes
 * upstream: NXDOMAIN for the family it lacks makes musl drop the good answer of the other family.
 * @param key name in lower case, without final dot
 * @param type number of the record type asked for
 */
export function lookup(view: View, sandbox: SandboxView, key: string, type: number): Outcome {
  const found = findName(view, sandbox, key);
  if (found.length > 0) {
    if (type !== TYPE.A && type !== TYPE.AAAA) return { kind: 'nodata' };
    const sets = found.map((entry) => (type === TYPE.A ? entry.a : entry.aaaa)).filter((set) => set.length > 0);
    return sets.length > 0 ? { kind: 'addresses', sets } : { kind: 'nodata' };
  }
  const target = findPointer(view, sandbox, key);
  if (target !== undefined) return type === TYPE.PTR ? { kind: 'pointer', target } : { kind: 'nodata' };
  if (!hasWayOut(view, sandbox)) return { kind: 'nxdomain' };
  return { kind: 'forward', servers: sandbox.servers ?? view.upstreams };
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

function findPointer(view: View, sandbox: SandboxView, key: string): string | undefined {
  const ip = reverseIp(key);
  if (ip === undefined) return undefined;
  for (const name of sandbox.networks) {
    const target = named(view, name)?.pointers.get(ip);
    if (target !== undefined) return target;
  }
  return undefined;
}

/** A sandbox without any network has no gateway either. */
function hasWayOut(view: View, sandbox: SandboxView): boolean {
  return sandbox.networks.some((name) => view.networks.get(name)?.internal === false);
}

/**
 * The address that a reverse name is about (RFC 1035 section 3.5, RFC 3596 section 2.5), undefined for any other name.
 * @param key name in lower case, without final dot
 */
export function reverseIp(key: string): Ip | undefined {
  if (key.endsWith('.in-addr.arpa')) {
    const parts = key.slice(0, -'.in-addr.arpa'.length).split('.');
    if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256))
      return undefined;
    return parts.reverse().join('.');
  }
  if (!/^([0-9a-f]\.){32}ip6\.arpa$/.test(key)) return undefined;
  const bytes = new Uint8Array(16);
  for (let i = 0; i < 16; i++) {
    const at = 60 - 4 * i;
    // Nibbles stand in reverse, so a byte's low one comes first.
    bytes[i] = Number.parseInt(`${key[at + 2]}${key[at]}`, 16);
  }
  return ipText(bytes);
}
