import { createHash } from 'node:crypto';
import { type Family, family, type Ip, ipBytes, type Mac } from '../base/ip.js';
import { stateOf } from '../model/backend-state.js';
import type { BackendState } from '../model/endpoint.js';
import { familiesOfPort, meshNumber } from '../model/published.js';
import type { Stored, Wish } from '../model/registry.js';
import type { PublishedPort } from '../model/service.js';
import { serves, servicesOf } from '../model/serving.js';
import { WishIndex } from '../model/wish-index.js';
import { vtepOf } from '../network/paths.js';

/** A backend of a service on one network, in one family. */
export interface Backend {
  ip: Ip;
  /** Names it in maps and connection marks: no other backend of its service on its network has it. */
  id: number;
  mac: Mac;
  /** Its endpoint is on this node. */
  local: boolean;
  /** Its share of new connections, 0-65535; at 0 it is draining and keeps those it has. */
  weight: number;
}

/**
 * Backends of a service on a network: its endpoints here and on living nodes, by address, so that every node has the
 * same order. What is unhealthy or on a dead node is no backend.
 */
export function backendsOf(wish: Wish, service: string, network: string, of: Family): Backend[] {
  const found = new Map<Ip, Backend>();
  const add = (ip: Ip | undefined, stored: Stored<'endpoints'> | Stored<'peers'>, state: BackendState) => {
    // An endpoint on the move is known here and there for a moment: here counts.
    if (ip === undefined || family(ip) !== of || state === 'unhealthy' || found.has(ip)) return;
    const { mac, weight } = stored.spec;
    const local = stored.table === 'endpoints';
    found.set(ip, { ip, id: 0, mac, local, weight: state === 'active' ? weight : 0 });
  };
  for (const endpoint of wish.endpoints.values()) {
    const { spec } = endpoint;
    if (spec.network !== network || !serves(spec, service)) continue;
    for (const ip of spec.addresses) add(ip, endpoint, stateOf(endpoint, service));
  }
  const dead = deadVteps(wish);
  for (const peer of peersOf(wish, service)) {
    const { spec } = peer;
    if (spec.network !== network || dead.has(vtepOf(wish, peer))) continue;
    const state = stateOf(peer, service);
    add(spec.address, peer, state);
    add(spec.addressV6, peer, state);
  }
  const backends = [...found.values()].sort((a, b) => Buffer.compare(ipBytes(a.ip), ipBytes(b.ip)));
  number(backends);
  return backends;
}

/**
 * Gives each its number, in the order given: that of its address, or the next free one where an IPv6 address has another's
 * (of 1,000 backends two with a chance of 1 to 9,000). 0 is taken: it is the mark of what has no backend yet.
 */
function number(backends: readonly Backend[]): void {
  const taken = new Set([0]);
  for (const backend of backends) {
    backend.id = backendId(backend.ip);
    while (taken.has(backend.id)) backend.id = (backend.id + 1) >>> 0;
    taken.add(backend.id);
  }
}

/** Revision of the last change of a service or of what serves it, whatever its state. */
export function lastChange(wish: Wish, service: Stored<'services'>): number {
  let last = service.revision;
  for (const { spec, revision } of wish.endpoints.values()) {
    if (serves(spec, service.id) && revision > last) last = revision;
  }
  for (const { revision } of served.of(wish).get(service.id)?.values() ?? []) if (revision > last) last = revision;
  return last;
}

/** Numbers of the backends of a service on a network, of both families, by address. */
export function backendIds(wish: Wish, service: string, network: string): Map<Ip, number> {
  const both = ([4, 6] as const).flatMap((of) => backendsOf(wish, service, network, of));
  return new Map(both.map(({ ip, id }) => [ip, id]));
}

/** Does it take new connections? */
export const isActive = ({ weight }: Backend): boolean => weight > 0;

/**
 * Backends of a port with policy local: those of this node. Where none of them takes new connections, the draining ones do
 * until they are gone, for nobody else is asked.
 */
export function localBackends(backends: readonly Backend[]): Backend[] {
  const here = backends.filter((backend) => backend.local);
  return here.some(isActive) ? here : here.map((backend) => ({ ...backend, weight: 1 }));
}

/**
 * Backends as the service wants them on this node: where it prefers local ones and one takes connections, those of other
 * nodes keep what they have and get no more.
 */
export function preferred({ spec }: Stored<'services'>, backends: readonly Backend[]): readonly Backend[] {
  if (!spec.preferLocal || !backends.some((backend) => backend.local && isActive(backend))) return backends;
  return backends.map((backend) => (backend.local ? backend : { ...backend, weight: 0 }));
}

/** By service and id. */
const served = new WishIndex<Map<string, Map<string, Stored<'peers'>>>>(
  ['peers'],
  () => new Map(),
  (services, stored) => {
    const peer = stored as Stored<'peers'>;
    for (const service of servicesOf(peer.spec))
      services.set(service, (services.get(service) ?? new Map()).set(peer.id, peer));
  },
  (services, stored) => {
    for (const service of servicesOf((stored as Stored<'peers'>).spec)) {
      const peers = services.get(service);
      peers?.delete(stored.id);
      if (peers?.size === 0) services.delete(service);
    }
  },
);

/** Peers of a service, in the order of their ids: of two with one address every node takes the same. */
const peersOf = (wish: Wish, service: string): Stored<'peers'>[] =>
  [...(served.of(wish).get(service)?.values() ?? [])].sort((a, b) => (a.id < b.id ? -1 : 1));

const deadCache = new WeakMap<Wish['nodes'], ReadonlySet<Ip>>();

/** VTEPs of nodes that are known to be dead; made once for each reading of the table. */
function deadVteps({ nodes }: Wish): ReadonlySet<Ip> {
  let dead = deadCache.get(nodes);
  if (!dead) {
    dead = new Set([...nodes.values()].filter((node) => !node.spec.alive).map((node) => node.spec.vtep));
    deadCache.set(nodes, dead);
  }
  return dead;
}

/** A number for an address that fits a connection mark: the IPv4 address itself, or four bytes of the SHA-256 of the other. */
export function backendId(ip: Ip): number {
  const bytes = ipBytes(ip);
  const four = bytes.length === 4 ? bytes : createHash('sha256').update(bytes).digest();
  return Buffer.from(four).readUInt32BE(0);
}

/** IPPROTO_* of linux/in.h. */
export const IPPROTO = { tcp: 6, udp: 17, sctp: 132 } as const;

/** Whether the UDP flows of a backend that drains stay with it; else the next packet of each goes to another. */
export const keepsDatagrams = ({ spec }: Stored<'services'>): boolean => spec.udpDrain === 'keep';

/** What a balancer listens on: a VIP with all its ports, or this node's ingress address with one published port. */
export interface Frontend {
  ip: Ip;
  port?: { proto: number; number: number };
  /** Tells it from others of the service; part of chain names. */
  label: string;
}

/** Each published port of a service on an ingress address; ranges port by port. */
export function publishedFrontends(ip: Ip, publish: readonly PublishedPort[]): Frontend[] {
  return publish
    .filter((p) => p.mode === 'ingress' && familiesOfPort(p).includes(family(ip)))
    .flatMap((p) => {
      const count = (p.publishedEnd ?? p.published) - p.published + 1;
      return Array.from({ length: count }, (_, i) => {
        const number = meshNumber(p) + i;
        return { ip, port: { proto: IPPROTO[p.proto], number }, label: `${number}-${p.proto}` };
      });
    });
}
