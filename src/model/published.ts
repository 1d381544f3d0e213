import { shortDigest } from '../base/digest.js';
import { type Family, family, type Ip } from '../base/ip.js';
import { stateOf } from './backend-state.js';
import { nameOf, type Wish } from './registry.js';
import type { AnyPort, HostPort, PublishedPort } from './service.js';
import { servicesOf } from './serving.js';

/** A socket of the node that waits for callers, and who has it, as far as that is known. */
export interface PortHolder {
  proto: PublishedPort['proto'];
  /** The unspecified address where it takes all. */
  address: Ip;
  port: number;
  pid?: number;
  program?: string;
}

/** A port or range of this node that somebody published. */
export interface NodePort {
  /** Object of the wish: `service/web`, `sandbox/c1`. */
  owner: string;
  p: AnyPort;
  /** mode=host: where it leads; missing while no backend of the service is on this node. */
  sandbox?: string;
  /** Where the number is this node's choice: the name under which it is kept. It begins with the sandbox. */
  chosenAs?: string;
}

/** First and last number, and on which addresses. */
export interface Span {
  proto: PublishedPort['proto'];
  hostIp: Ip | undefined;
  from: number;
  to: number;
}

/** The number kept under a name; undefined until it is chosen. */
export type Chosen = (name: string) => number | undefined;

/** Published by a service on this node: into the mesh whatever runs here, else to each of its backends here. */
export function portsOfService(id: string, publish: readonly PublishedPort[], backends: readonly string[]): NodePort[] {
  const owner = nameOf({ table: 'services', id });
  return publish.flatMap((p): NodePort[] => {
    if (p.mode === 'ingress' || backends.length === 0) return [{ owner, p }];
    return backends.map((sandbox) => hostPort(owner, p, sandbox));
  });
}

/** Published for a sandbox itself. */
export function portsOfSandbox(id: string, ports: readonly HostPort[]): NodePort[] {
  const owner = nameOf({ table: 'sandboxes', id });
  return ports.map((p) => hostPort(owner, p, id));
}

function hostPort(owner: string, p: AnyPort, sandbox: string): NodePort {
  if (p.published > 0) return { owner, p, sandbox };
  return { owner, p, sandbox, chosenAs: `${sandbox}/${owner}/${p.proto}/${p.hostIp ?? '*'}/${p.target}` };
}

/** Sandboxes of this node by the service that they are backends of, each list in the order of their names. */
function backendsHere(wish: Wish): Map<string, string[]> {
  const found = new Map<string, Set<string>>();
  for (const endpoint of wish.endpoints.values()) {
    for (const service of servicesOf(endpoint.spec)) {
      // A draining one takes nothing new.
      if (stateOf(endpoint, service) !== 'active') continue;
      const list = found.get(service) ?? new Set();
      found.set(service, list.add(endpoint.spec.sandbox));
    }
  }
  return new Map([...found].map(([service, sandboxes]) => [service, [...sandboxes].sort()]));
}

const portsCache = new WeakMap<Wish, readonly NodePort[]>();

/** All that is published on this node: the mesh's first, then mode host, each by the owners' names. Made once a reading. */
export function nodePorts(wish: Wish): readonly NodePort[] {
  let ports = portsCache.get(wish);
  if (!ports) {
    const backends = backendsHere(wish);
    const services = [...wish.services.values()].flatMap(({ id, spec }) =>
      spec.publish.length === 0 ? [] : portsOfService(id, spec.publish, backends.get(id) ?? []),
    );
    const sandboxes = [...wish.sandboxes.values()].flatMap(({ id, spec }) => portsOfSandbox(id, spec.ports));
    const host = [...services.filter(({ p }) => p.mode === 'host'), ...sandboxes];
    ports = [...services.filter(({ p }) => p.mode === 'ingress').sort(byOwner), ...host.sort(byOwner)];
    portsCache.set(wish, ports);
  }
  return ports;
}

function byOwner(a: NodePort, b: NodePort): number {
  const [x, y] = [a, b].map(({ owner, sandbox }) => `${owner} ${sandbox ?? ''}`) as [string, string];
  return x < y ? -1 : x > y ? 1 : 0;
}

/** Undefined while the number is not chosen. */
export function spanOf({ p, chosenAs }: NodePort, chosen: Chosen): Span | undefined {
  const from = chosenAs === undefined ? p.published : chosen(chosenAs);
  if (from === undefined || from === 0) return undefined;
  return { proto: p.proto, hostIp: p.hostIp, from, to: Math.max(from, p.publishedEnd ?? from) };
}

/** Of a port whose number is given. */
export const publishedSpan = ({ proto, hostIp, published, publishedEnd }: PublishedPort): Span => ({
  proto,
  hostIp,
  from: published,
  to: publishedEnd ?? published,
});

/** Do two spans take callers of the same address and number? */
export function spansMeet(a: Span, b: Span): boolean {
  return a.proto === b.proto && a.from <= b.to && b.from <= a.to && addressesMeet(a.hostIp, b.hostIp);
}

/** Can both not be had on one node? A service's port in mode host takes none of a node without backends of it. */
export function portsMeet(a: NodePort, b: NodePort, chosen: Chosen): boolean {
  if (a.p.mode === 'host' && b.p.mode === 'host' && (a.sandbox === undefined || b.sandbox === undefined)) return false;
  const [one, other] = [spanOf(a, chosen), spanOf(b, chosen)];
  if (one !== undefined && other !== undefined && spansMeet(one, other)) return true;
  return a.p.mode === 'ingress' && b.p.mode === 'ingress' && meetInMesh(a.p, b.p);
}

/**
 * First number of a port on the ingress network, the same on every node: there the task knows by it which of its ports was
 * dialled. It is the published one, but where it is published on one address that may be another service's on the next: then
 * it is one of the upper half that address, protocol and number make (SHA-256).
 */
export function meshNumber({ proto, published, publishedEnd, hostIp }: PublishedPort): number {
  if (oneAddress({ hostIp }) === undefined) return published;
  const room = 65535 - ((publishedEnd ?? published) - published);
  const digest = Number.parseInt(shortDigest(`${hostIp} ${proto} ${published}`, 8), 16);
  return room <= UPPER ? room : UPPER + (digest % (room - UPPER + 1));
}
const UPPER = 32768;

/** Would the two be one on the ingress network? */
function meetInMesh(a: PublishedPort, b: PublishedPort): boolean {
  if (a.proto !== b.proto || !familiesOfPort(a).some((of) => familiesOfPort(b).includes(of))) return false;
  const last = (p: PublishedPort) => meshNumber(p) + (p.publishedEnd ?? p.published) - p.published;
  return meshNumber(a) <= last(b) && meshNumber(b) <= last(a);
}

/**
 * Ports that this node cannot have, for others come before them in the order of `nodePorts`, with the one that has each. A
 * local PUT is refused such a port; rows of other nodes bring it.
 */
export function contended(wish: Wish, chosen: Chosen): ReadonlyMap<NodePort, NodePort> {
  const had = new Map<string, NodePort[]>();
  const out = new Map<NodePort, NodePort>();
  for (const port of nodePorts(wish)) {
    const places = placesOf(port, chosen);
    const holder = places.flatMap((place) => had.get(place) ?? []).find((other) => portsMeet(other, port, chosen));
    if (holder) out.set(port, holder);
    else for (const place of places) had.set(place, [...(had.get(place) ?? []), port]);
  }
  return out;
}

/** Numbers at which a port may meet another. */
function placesOf(port: NodePort, chosen: Chosen): string[] {
  const { p } = port;
  const span = spanOf(port, chosen);
  if (!span || (p.mode === 'host' && port.sandbox === undefined)) return [];
  const numbers = Array.from({ length: span.to - span.from + 1 }, (_, i) => i);
  const mesh = p.mode === 'ingress' ? meshNumber(p) : span.from;
  return numbers.flatMap((i) => {
    const own = `${p.proto} ${span.from + i}`;
    return mesh === span.from ? [own] : [own, `${p.proto} ${mesh + i}`];
  });
}

/** A port with its number, in mode host, with a sandbox here to lead to. */
export interface ServedPort extends NodePort {
  sandbox: string;
  span: Span;
}

/** Ports that lead to sandboxes of this node. Where two cannot both be had (other nodes' rows), the earlier is. */
export function servedPorts(wish: Wish, chosen: Chosen): ServedPort[] {
  const lost = contended(wish, chosen);
  return nodePorts(wish).flatMap((port) => {
    const { sandbox } = port;
    const span = sandbox === undefined ? undefined : spanOf(port, chosen);
    return sandbox === undefined || span === undefined || lost.has(port) ? [] : [{ ...port, sandbox, span }];
  });
}

const meshCache = new WeakMap<Wish, ReadonlyMap<string, readonly PublishedPort[]>>();

/** Ports of the mesh that this node takes callers of, by service. Made once for each reading of the wish. */
export function meshPorts(wish: Wish): ReadonlyMap<string, readonly PublishedPort[]> {
  let ports = meshCache.get(wish);
  if (!ports) {
    const found = new Map<string, PublishedPort[]>();
    // They come before ports of mode host, so that no number left to the node decides.
    const lost = contended(wish, () => undefined);
    for (const port of nodePorts(wish)) {
      if (port.p.mode !== 'ingress' || lost.has(port)) continue;
      const service = port.owner.slice(port.owner.indexOf('/') + 1);
      found.set(service, [...(found.get(service) ?? []), port.p]);
    }
    ports = found;
    meshCache.set(wish, ports);
  }
  return ports;
}

const UNSPECIFIED = new Set(['0.0.0.0', '::']);

/** Families in which a published port answers. */
export const familiesOfPort = ({ hostIp }: Pick<PublishedPort, 'hostIp'>): readonly Family[] =>
  hostIp === undefined ? [4, 6] : [family(hostIp)];

/** The one address a port is published on; undefined where it is all, or all of a family. */
export const oneAddress = ({ hostIp }: Pick<PublishedPort, 'hostIp'>): Ip | undefined =>
  hostIp === undefined || UNSPECIFIED.has(hostIp) ? undefined : hostIp;

function addressesMeet(a: Ip | undefined, b: Ip | undefined): boolean {
  if (a === undefined || b === undefined || a === b) return true;
  return family(a) === family(b) && (UNSPECIFIED.has(a) || UNSPECIFIED.has(b));
}

/** Does the socket stand where the port would be? One of all IPv6 addresses takes IPv4 too, mostly; /proc does not tell. */
export function takes({ proto, address, port }: PortHolder, span: Span): boolean {
  if (proto !== span.proto || port < span.from || port > span.to) return false;
  return address === '::' || addressesMeet(address.replace(/^::ffff:/, ''), span.hostIp);
}

/** The number as people write it: `8080` or `8000-8010`. */
export const spanText = ({ from, to }: Span): string => (from === to ? `${from}` : `${from}-${to}`);

/** How a port is spoken of: `port 8080/tcp`, `port 8000-8010/udp`. */
export function portText(port: NodePort, chosen: Chosen): string {
  const span = spanOf(port, chosen);
  return `port ${span ? spanText(span) : port.p.published}/${port.p.proto}`;
}

/** Why a port cannot be had beside another. */
export function clashText(port: NodePort, holder: NodePort, chosen: Chosen): string {
  const [kind, name] = holder.owner.split('/') as [string, string];
  const [mine, its] = [spanOf(port, chosen), spanOf(holder, chosen)];
  if (!mine || !its || spansMeet(mine, its)) return `${portText(port, chosen)} is published by ${kind} "${name}"`;
  // One of them is published on one address, and its number there is made from it.
  const numbers = `${portText(port, chosen)} and ${portText(holder, chosen)} of ${kind} "${name}"`;
  return `${numbers} would be the same number on the ingress network`;
}

/** Backends here of one service. */
export const backendsOfService = (wish: Wish, service: string): readonly string[] =>
  backendsHere(wish).get(service) ?? [];
