import type { InspectRow } from '../../api/agent.js';
import { publishedFrontends } from '../../balance/backends.js';
import type { Listener } from '../../kernel/real/listeners.js';
import { takes } from '../../model/published.js';
import type { PublishedPort } from '../../model/service.js';
import { ingressNetwork, networkNs, ownIngressAddresses } from '../../network/world.js';
import type { IptablesObject, RuleChain } from '../../objects/iptables.js';
import { NODE_NS } from '../../objects/kind.js';
import { type Balancing, balancingIn } from './balancing.js';
import { type Compared, compare, type Drift, type Look, mark, type View } from './look.js';

/** What all published ports of a node share. */
interface Mesh {
  own: string | undefined;
  rules: (p: PublishedPort) => { drift: Drift; reason?: string };
  balancing: Balancing | undefined;
  listeners: readonly Listener[];
}

/**
 * Published ports: of which service, where this node sends them, whether its rule is in the kernel, and who else listens
 * there on the node (and hears nothing, because the rule comes first).
 */
export const ports: View = async (look) => {
  const published = [...look.world.wish.services.values()].flatMap(({ id, spec }) =>
    spec.publish.map((p) => ({ service: id, p })),
  );
  if (published.length === 0) return [];
  const mesh = await meshOf(
    look,
    published.map(({ p }) => p),
  );
  return published.map(({ service, p }) => rowOf(look, mesh, service, p));
};

async function meshOf(look: Look, published: readonly PublishedPort[]): Promise<Mesh> {
  const network = ingressNetwork(look.world.wish);
  const own = network && ownIngressAddresses(look.world, network).find((ip) => !ip.includes(':'));
  const seen = await compare<IptablesObject>(look, 'iptables', NODE_NS);
  return {
    own,
    rules: ruleCheck(look, seen, own),
    balancing: network && (await balancingIn(look, networkNs(network.id))),
    listeners: await look.readers.listeners((socket) => published.some((p) => takes(socket, p))),
  };
}

function rowOf(look: Look, mesh: Mesh, service: string, p: PublishedPort): InspectRow {
  const end = p.publishedEnd ?? p.published;
  const { own, balancing } = mesh;
  const [frontend] = own === undefined ? [] : publishedFrontends(own, [p]);
  const backends = frontend && balancing?.observed.backends(look.world.balancer.name, 4, frontend);
  const holders = mesh.listeners.filter((listener) => takes(listener, p));
  return {
    port: end === p.published ? String(end) : `${p.published}-${end}`,
    proto: p.proto,
    service,
    mode: p.mode,
    target: p.target,
    ...(own !== undefined && { via: own }),
    ...backends,
    ...(holders.length > 0 && { listeners: holders.map(shownListener) }),
    ...mark(mesh.rules(p), balancing?.of(`service/${service}`) ?? { drift: 'ok' }),
  };
}

const shownListener = ({ address, pid, program }: Listener) => ({
  address,
  ...(pid !== undefined && { pid }),
  ...(program !== undefined && { program }),
});

const CHAIN = 'WEFT-INGRESS';

/** Tells whether the rule of a port is in the kernel, and is reached. */
function ruleCheck(look: Look, seen: readonly Compared<IptablesObject>[], own: string | undefined): Mesh['rules'] {
  const jumps = seen.filter(({ object }) => object.what === 'jump' && object.rule.endsWith(CHAIN));
  const broken = jumps.find(({ drift }) => drift !== 'ok');
  const wished = look.desired.in(NODE_NS, 'iptables').flatMap((w) => rulesOf(w.object as IptablesObject));
  const have = new Set(seen.flatMap(({ object, drift }) => (drift === 'missing' ? [] : rulesOf(object))));
  return (p) => {
    const node = look.world.self.name;
    if (own === undefined) {
      const hint = `weft node add ${node} --vtep ${look.world.self.vtep} --address INGRESS=IP`;
      return { drift: 'missing', reason: `node ${node} has no address on the ingress network (${hint})` };
    }
    const rule = wished.find((text) => text.startsWith(matchOf(p)));
    if (rule === undefined || !have.has(rule)) return { drift: 'missing', reason: `no rule for it in ${CHAIN}` };
    if (broken) return { drift: 'missing', reason: `no jump from ${broken.object.chain} to ${CHAIN}` };
    return { drift: 'ok' };
  };
}

const rulesOf = (o: IptablesObject): readonly string[] => (isIngress(o) ? o.rules : []);
const isIngress = (o: IptablesObject): o is RuleChain => o.what === 'chain' && o.chain === CHAIN;

function matchOf({ proto, published, publishedEnd }: PublishedPort): string {
  const ports = publishedEnd === undefined || publishedEnd === published ? published : `${published}:${publishedEnd}`;
  return `-p ${proto} -m ${proto} --dport ${ports} `;
}
