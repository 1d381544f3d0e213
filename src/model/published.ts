import { type Family, family, type Ip } from '../base/ip.js';
import type { Endpoint } from './endpoint.js';
import { nameOf, type Wish } from './registry.js';
import type { PublishedPort } from './service.js';

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
  p: PublishedPort;
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
export function portsOfSandbox(id: string, ports: readonly PublishedPort[]): NodePort[] {
  const owner = nameOf({ table: 'sandboxes', id });
  return ports.map((p) => hostPort(owner, p, id));
}

function hostPort(owner: string, p: PublishedPort, sandbox: string): NodePort {
  if (p.published > 0) return { owner, p, sandbox };
  return { owner, p, sandbox, chosenAs: `${sandbox}/${owner}/${p.proto}/${p.hostIp ?? '*'}/${p.target}` };
}

/** Does the endpoint make its sandbox one to which ports of its service lead? A draining one takes nothing new. */
export const takesPorts = (endpoint: Endpoint): boolean =>
  endpoint.service !== undefined && endpoint.state === 'active';

/** Sandboxes of this node by the service that they are backends of, each list in the order of their names. */
function backendsHere(wish: Wish): Map<string, string[]> {
  const found = new Map<string, Set<string>>();
  for (const { spec } of wish.endpoints.values()) {
    if (!takesPorts(spec)) continue;
    const service = spec.service as string;
    const list = found.get(service) ?? new Set();
    found.set(service, list.add(spec.sandbox));
  }
  return new Map([...found].map(([service, sandboxes]) => [service, [...sandboxes].sort()]));
}

const portsCache = new WeakMap<Wish, readonly NodePort[]>();

/** All that is published on this node: the mesh's first, then mode host by the owners' names. Made once a reading. */
export function nodePorts(wish: Wish): readonly NodePort[] {
  let ports = portsCache.get(wish);
  if (!ports) {
    const backends = backendsHere(wish);
    const services = [...wish.services.values()].flatMap(({ id, spec }) =>
      spec.publish.length === 0 ? [] : portsOfService(id, spec.publish, backends.get(id) ?? []),
    );
    const sandboxes = [...wish.sandboxes.values()].flatMap(({ id, spec }) => portsOfSandbox(id, spec.ports));
    const host = [...services.filter(({ p }) => p.mode === 'host'), ...sandboxes];
    ports = [...services.filter(({ p }) => p.mode === 'ingress'), ...host.sort(byOwner)];
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

/** Do two spans take callers of the same address and number? */
export function spansMeet(a: Span, b: Span): boolean {
  return a.proto === b.proto && a.from <= b.to && b.from <= a.to && addressesMeet(a.hostIp, b.hostIp);
}

/** Can both not be had on one node? A service's port in mode host takes none of a node without backends of it. */
export function portsMeet(a: NodePort, b: NodePort, chosen: Chosen): boolean {
  if (a.p.mode === 'host' && b.p.mode === 'host' && (a.sandbox === undefined || b.sandbox === undefined)) return false;
  const [one, other] = [spanOf(a, chosen), spanOf(b, chosen)];
  return one !== undefined && other !== undefined && spansMeet(one, other);
}

/** A port with its number, in mode host, with a sandbox here to lead to. */
export interface ServedPort extends NodePort {
  sandbox: string;
  span: Span;
}

/** Ports that lead to sandboxes of this node. Where two cannot both be had (other nodes' rows), the earlier is. */
export function servedPorts(wish: Wish, chosen: Chosen): ServedPort[] {
  const before: NodePort[] = [];
  const out: ServedPort[] = [];
  for (const port of nodePorts(wish)) {
    const { sandbox } = port;
    const span = sandbox === undefined ? undefined : spanOf(port, chosen);
    const isHad =
      sandbox !== undefined && span !== undefined && !before.some((other) => portsMeet(other, port, chosen));
    if (isHad) out.push({ ...port, sandbox, span });
    if (isHad || port.p.mode === 'ingress') before.push(port);
  }
  return out;
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

/** Backends here of one service. */
export const backendsOfService = (wish: Wish, service: string): readonly string[] =>
  backendsHere(wish).get(service) ?? [];
