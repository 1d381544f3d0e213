import type { InspectRow, Listing } from '../../api/agent.js';
import { backendIds, IPPROTO, publishedFrontends } from '../../balance/backends.js';
import { WeftError } from '../../base/errors.js';
import type { Ip } from '../../base/ip.js';
import type { Flow } from '../../codec/conntrack.js';
import { meshPorts, oneAddress } from '../../model/published.js';
import type { PublishedPort } from '../../model/service.js';
import { ingressNetwork, networkNs, ownIngressAddresses, type World } from '../../network/world.js';
import { NODE_NS, type Ns } from '../../objects/kind.js';
import { type Drift, type Look, namespaces, type View } from './look.js';

/** Rows a listing has when it is not asked for more: a node may have hundreds of thousands of connections. */
const LIMIT = 1000;
const LIMIT_MAX = 100_000;
const PROTOCOLS: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(IPPROTO).map(([name, number]) => [number, name]),
);

/** Why a connection is listed: the service it is of, who answers, and whether it leads where it should. */
interface Judgement {
  service?: string;
  backend?: Ip;
  drift: Drift;
  reason?: string;
}

/** undefined: it is none of weft's. */
type Judge = (flow: Flow) => Judgement | undefined;

/**
 * Connections, as connection tracking has them, that concern weft: in the node's namespace those that published ports
 * sent into the mesh, elsewhere those to VIPs and to the addresses that stand for nodes. Nobody wishes a connection, so
 * none is missing; one that leads where it should not any more `differs`.
 */
export const conntrack: View = async (look): Promise<Listing> => {
  const limit = limitOf(look);
  const services = new Directory(look.world);
  const items: InspectRow[] = [];
  let more = 0;
  for (const ns of await namespaces(look)) {
    const judge = judgeOf(ns, services);
    const wanted = (flow: Flow) => judge(flow) !== undefined;
    const found = await look.readers.flows(ns, { family: 'ip' }, wanted, limit - items.length);
    more += found.more;
    for (const flow of found.flows) items.push(rowOf(ns, flow, judge(flow) as Judgement));
  }
  return { items, ...(more > 0 && { more }) };
};

function limitOf({ query }: Look): number {
  const text = query.get('limit') ?? String(LIMIT);
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= LIMIT_MAX) return limit;
  throw new WeftError('WEFT_INVALID_ARGUMENT', `limit="${text}" is not a number of 1 to ${LIMIT_MAX}`);
}

function judgeOf(ns: Ns, services: Directory): Judge {
  if (ns !== NODE_NS) return (flow) => services.balanced(ns, flow);
  return (flow) => services.published(flow);
}

function rowOf(ns: Ns, flow: Flow, judgement: Judgement): InspectRow {
  const { original, tcpState, timeout } = flow;
  const { src, dst, srcPort, dstPort, protocol } = original;
  return {
    namespace: ns,
    proto: PROTOCOLS[protocol] ?? String(protocol),
    source: src,
    sourcePort: srcPort,
    destination: dst,
    port: dstPort,
    ...(tcpState !== undefined && { state: tcpState }),
    ...(timeout !== undefined && { timeout }),
    ...judgement,
  };
}

const takenAt = (ip: Ip | undefined, proto: number, port: number): string => `${ip ?? '*'} ${proto} ${port}`;

/** What the wish says of addresses and ports, looked up once a connection. */
class Directory {
  readonly #vips = new Map<Ip, { service: string; network: string }>();
  /** By address where it is one, protocol and number as callers dial them. */
  readonly #taken = new Map<string, string>();
  /** By protocol and number as they are on the ingress network. */
  readonly #ports = new Map<string, string>();
  readonly #nodes = new Set<Ip>();
  readonly #own: ReadonlySet<Ip>;
  readonly #ingress: string | undefined;
  readonly #backends = new Map<string, ReadonlyMap<number, Ip>>();

  constructor(readonly world: World) {
    const { wish } = world;
    const network = ingressNetwork(wish);
    this.#ingress = network?.id;
    this.#own = new Set(network ? ownIngressAddresses(world, network) : []);
    for (const { spec } of wish.nodes.values()) {
      for (const ip of (network && spec.addresses[network.id]) ?? []) this.#nodes.add(ip);
    }
    for (const { id, spec } of wish.services.values()) {
      for (const [name, ips] of Object.entries(spec.vips))
        for (const ip of ips) this.#vips.set(ip, { service: id, network: name });
    }
    for (const [id, ports] of meshPorts(wish)) this.#publish(id, ports);
  }

  /** A number is a service's at all addresses or at one; on the ingress network it may be another. */
  #publish(service: string, ports: readonly PublishedPort[]): void {
    for (const p of ports) {
      for (let n = p.published; n <= (p.publishedEnd ?? p.published); n++)
        this.#taken.set(takenAt(oneAddress(p), IPPROTO[p.proto], n), service);
      for (const any of ['0.0.0.0', '::']) {
        for (const { port } of publishedFrontends(any, [p]))
          if (port) this.#ports.set(`${port.proto} ${port.number}`, service);
      }
    }
  }

  /** In the node's namespace: translated to the node's own ingress address. */
  published({ original, reply }: Flow): Judgement | undefined {
    if (!this.#own.has(reply.src)) return undefined;
    const { dst, protocol, dstPort = 0 } = original;
    const service =
      this.#taken.get(takenAt(dst, protocol, dstPort)) ?? this.#taken.get(takenAt(undefined, protocol, dstPort));
    if (service !== undefined) return { service, drift: 'ok' };
    return { drift: 'differs', reason: 'the port is not published any more' };
  }

  /** In a network's namespace or a sandbox: to a VIP, or to a published port of a node's ingress address. */
  balanced(ns: Ns, flow: Flow): Judgement | undefined {
    const { original, reply } = flow;
    const vip = this.#vips.get(original.dst);
    const service = vip?.service ?? this.#portOf(flow);
    if (service === undefined) return undefined;
    const network = vip?.network ?? this.#ingress;
    // In the network's namespace the mark names the backend; in a task the translation does.
    if (network !== undefined && ns === networkNs(network)) return this.#marked(service, network, flow.mark);
    return { service, drift: 'ok', ...(reply.src !== original.dst && { backend: reply.src }) };
  }

  #portOf({ original }: Flow): string | undefined {
    if (!this.#nodes.has(original.dst)) return undefined;
    return this.#ports.get(`${original.protocol} ${original.dstPort}`);
  }

  #marked(service: string, network: string, mark: number): Judgement {
    if (mark === 0) return { service, drift: 'ok' };
    const backend = this.#backendsOf(service, network).get(mark);
    if (backend !== undefined) return { service, backend, drift: 'ok' };
    return { service, drift: 'differs', reason: 'it leads to what is no backend any more' };
  }

  #backendsOf(service: string, network: string): ReadonlyMap<number, Ip> {
    const id = `${service} ${network}`;
    let known = this.#backends.get(id);
    if (!known) {
      known = new Map([...backendIds(this.world.wish, service, network)].map(([ip, id]) => [id, ip]));
      this.#backends.set(id, known);
    }
    return known;
  }
}
