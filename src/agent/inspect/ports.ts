import type { InspectRow } from '../../api/agent.js';
import { publishedFrontends } from '../../balance/backends.js';
import { family, type Ip } from '../../base/ip.js';
import type { Listener } from '../../kernel/real/listeners.js';
import {
  clashText,
  contended,
  type NodePort,
  nodePorts,
  type Span,
  spanOf,
  spanText,
  takes,
} from '../../model/published.js';
import type { PublishedPort } from '../../model/service.js';
import { ingressNetwork, networkNs, ownIngressAddresses } from '../../network/world.js';
import type { IptablesObject } from '../../objects/iptables.js';
import { NODE_NS } from '../../objects/kind.js';
import { type Balancing, balancingIn } from './balancing.js';
import { compare, type Look, mark, type View } from './look.js';
import { type Check, hostCheck, meshCheck } from './port-rules.js';

/** What all published ports of a node share. */
interface Node {
  /** The node's own addresses on the ingress network. */
  own: readonly Ip[];
  mesh: (p: PublishedPort) => Check;
  host: (port: NodePort, span: Span) => Check;
  balancing: Balancing | undefined;
  listeners: readonly Listener[];
  /** Ports that others have. */
  lost: ReadonlyMap<NodePort, NodePort>;
}

/**
 * Published ports: of what, where this node sends them, whether its rules are in the kernel, and who else listens there
 * on the node (and hears nothing, because the rules come first).
 */
export const ports: View = async (look) => {
  const published = nodePorts(look.world.wish).map((port) => ({ port, span: spanOf(port, look.world.chosenPort) }));
  if (published.length === 0) return [];
  const node = await nodeOf(
    look,
    published.flatMap(({ span }) => span ?? []),
  );
  return published.map(({ port, span }) => rowOf(look, node, port, span));
};

async function nodeOf(look: Look, spans: readonly Span[]): Promise<Node> {
  const network = ingressNetwork(look.world.wish);
  const own = network ? ownIngressAddresses(look.world, network) : [];
  const seen = await compare<IptablesObject>(look, 'iptables', NODE_NS);
  const listeners = await look.readers.listeners((socket) => spans.some((span) => takes(socket, span)));
  return {
    own,
    mesh: meshCheck(look, seen, own),
    host: hostCheck(look, seen),
    balancing: network && (await balancingIn(look, networkNs(network.id))),
    // Sockets of the agent itself hold the ports for what is published.
    listeners: listeners.filter(({ pid }) => pid !== process.pid),
    lost: contended(look.world.wish, look.world.chosenPort),
  };
}

function rowOf(look: Look, node: Node, port: NodePort, span: Span | undefined): InspectRow {
  const { p, owner, sandbox } = port;
  const [kind, name] = owner.split('/') as [string, string];
  const holders = span ? node.listeners.filter((listener) => takes(listener, span)) : [];
  return {
    ...(p.hostIp !== undefined && { address: p.hostIp }),
    port: span ? spanText(span) : '',
    proto: p.proto,
    ...(kind === 'service' && { service: name }),
    ...(sandbox !== undefined && { sandbox }),
    mode: p.mode,
    ...(p.mode === 'ingress' && p.policy === 'local' && { policy: p.policy }),
    target: p.target,
    ...(p.allow.length > 0 && { allow: p.allow }),
    ...(p.mode === 'ingress' ? meshed(look, node, port, p) : hosted(node, port, span)),
    ...(holders.length > 0 && { listeners: holders.map(shownListener) }),
  };
}

function meshed(look: Look, { own, balancing, mesh, lost }: Node, port: NodePort, p: PublishedPort) {
  const holder = lost.get(port);
  if (holder) return mark({ drift: 'missing', reason: clashText(port, holder, look.world.chosenPort) });
  const [frontend] = [4, 6]
    .flatMap((of) => own.filter((ip) => family(ip) === of))
    .flatMap((ip) => publishedFrontends(ip, [p]));
  const backends = frontend && balancing?.observed.backends(look.world.balancer.name, family(frontend.ip), frontend);
  return {
    ...(own.length > 0 && { via: own.join(',') }),
    ...backends,
    ...mark(mesh(p), balancing?.of(port.owner) ?? { drift: 'ok' }),
  };
}

function hosted({ host }: Node, port: NodePort, span: Span | undefined): Check {
  if (port.sandbox === undefined) return { drift: 'ok', reason: 'no backend of it is on this node' };
  if (!span) return { drift: 'missing', reason: 'no number is chosen for it yet' };
  return host(port, span);
}

const shownListener = ({ address, pid, program }: Listener) => ({
  address,
  ...(pid !== undefined && { pid }),
  ...(program !== undefined && { program }),
});
