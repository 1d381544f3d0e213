import { contains, parseCidr } from '../base/cidr.js';
import { WeftError } from '../base/errors.js';
import type { Endpoint } from '../model/endpoint.js';
import {
  backendsOfService,
  type Chosen,
  clashText,
  type NodePort,
  nodePorts,
  portsMeet,
  portsOfSandbox,
  portsOfService,
  portText,
} from '../model/published.js';
import { nameOf, type Wish } from '../model/registry.js';
import type { Sandbox } from '../model/sandbox.js';
import type { AnyPort, Service } from '../model/service.js';
import { servicesOf } from '../model/serving.js';

/** Refuses ports of a service that contradict themselves or are had by others of this node. */
export function checkServicePorts(wish: Wish, id: string, spec: Service, chosen: Chosen): void {
  const meshed = spec.publish.some((p) => p.mode === 'ingress');
  if (meshed && ![...wish.networks.values()].some((n) => n.spec.ingress)) {
    throw new WeftError(
      'WEFT_NOT_FOUND',
      'a published port needs an ingress network and there is none',
      'weft network create ingress --ingress --subnet CIDR --vni N',
    );
  }
  for (const p of spec.publish) checkPort(p);
  const mine = portsOfService(id, spec.publish, backendsOfService(wish, id));
  checkAgainst(wish, mine, ({ owner }) => owner !== nameOf({ table: 'services', id }), chosen);
}

/** The same of the ports of a sandbox. */
export function checkSandboxPorts(wish: Wish, id: string, spec: Sandbox, chosen: Chosen): void {
  for (const p of spec.ports) checkPort(p);
  if (spec.host && spec.ports.length > 0) {
    throw new WeftError(
      'WEFT_INVALID_ARGUMENT',
      `sandbox "${id}" is in the namespace of the node: its ports are the node's already`,
      'publish nothing for it',
    );
  }
  checkAgainst(
    wish,
    portsOfSandbox(id, spec.ports),
    ({ owner }) => owner !== nameOf({ table: 'sandboxes', id }),
    chosen,
  );
}

/** An endpoint that becomes a backend brings its services' ports (mode=host) to this node. */
export function checkBackendPorts(wish: Wish, spec: Endpoint, chosen: Chosen): void {
  for (const id of spec.state === 'active' ? servicesOf(spec) : []) {
    const publish = (wish.services.get(id)?.spec.publish ?? []).filter((p) => p.mode === 'host');
    if (publish.length === 0) continue;
    const owner = nameOf({ table: 'services', id });
    const others = (port: NodePort) =>
      port.owner !== owner || (port.sandbox !== undefined && port.sandbox !== spec.sandbox);
    checkAgainst(wish, portsOfService(id, publish, [spec.sandbox]), others, chosen);
  }
}

/** RFC 4291. */
const LINK_LOCAL = parseCidr('fe80::/10');

function checkPort(p: AnyPort): void {
  const end = p.publishedEnd ?? p.published;
  if (p.published === 0 && p.mode === 'ingress') {
    throw invalid('port 0 is the same on no two nodes', 'give a number, or mode=host');
  }
  if (p.published === 0 && end > 0) throw invalid('a range needs its first port', 'give PUBLISHED-END');
  if (end < p.published)
    throw invalid(`range ${p.published}-${end} ends before it begins`, 'give the lower port first');
  if (p.target + end - p.published > 65535)
    throw invalid(`the range of targets from ${p.target} passes 65535`, 'choose a lower target or a shorter range');
  if (p.hostIp === '::1') {
    throw new WeftError('WEFT_INVALID_ADDRESS', 'the kernel translates nothing that is sent to ::1', 'use 127.0.0.1');
  }
  if (p.mode === 'ingress' && p.hostIp !== undefined && contains(LINK_LOCAL, p.hostIp)) {
    const message = `${p.hostIp} is a link-local address, and the kernel sends no reply for it by another link`;
    throw new WeftError('WEFT_INVALID_ADDRESS', message, 'use another address of the node, or mode=host');
  }
}

const invalid = (message: string, hint?: string) => new WeftError('WEFT_INVALID_PORT', message, hint);

function checkAgainst(
  wish: Wish,
  mine: readonly NodePort[],
  isOther: (port: NodePort) => boolean,
  chosen: Chosen,
): void {
  if (mine.length === 0) return;
  const others = nodePorts(wish).filter(isOther);
  for (const [i, port] of mine.entries()) {
    const clash = [...mine.slice(0, i), ...others].find((other) => portsMeet(other, port, chosen));
    if (clash) throw conflict(port, clash, chosen);
  }
}

function conflict(port: NodePort, holder: NodePort, chosen: Chosen): WeftError {
  const [kind, name] = holder.owner.split('/') as [string, string];
  if (port.owner === holder.owner && port.sandbox !== holder.sandbox) {
    return new WeftError(
      'WEFT_CONFLICT',
      `${portText(port, chosen)} of ${kind} "${name}" (mode=host) leads to sandbox "${holder.sandbox}" on this node and cannot lead to "${port.sandbox}" too`,
      'run one replica a node, or publish it without a number',
    );
  }
  return new WeftError('WEFT_CONFLICT', clashText(port, holder, chosen), 'choose another port');
}
