import type { InspectRow, Listing } from '../../api/agent.js';
import { WeftError } from '../../base/errors.js';
import type { Flow } from '../../codec/conntrack.js';
import type { ListeningSocket } from '../../codec/proc-net.js';
import type { Kernel } from '../../kernel/port.js';
import type { FlowQuery } from '../../kernel/real/flows.js';
import type { VirtualServerView } from '../../kernel/real/ipvs-state.js';
import type { Listener } from '../../kernel/real/listeners.js';
import type { World } from '../../network/world.js';
import { ingressNetwork, networkNs } from '../../network/world.js';
import { type Kind, NODE_NS, type Ns } from '../../objects/kind.js';
import { KINDS } from '../../objects/registry.js';
import type { Desired } from '../../reconcile/desired.js';
import type { Held, Wanted } from '../../reconcile/plan.js';

/** What listings show and no kernel kind observes: it changes by itself and nobody wishes it. */
export interface Readers {
  ipvs(ns: Ns): Promise<VirtualServerView[]>;
  flows(...query: FlowQuery): Promise<{ flows: Flow[]; more: number }>;
  listeners(wanted: (socket: ListeningSocket) => boolean): Promise<Listener[]>;
}

/** What a listing looks at. */
export interface Look {
  kernel: Kernel;
  desired: Desired;
  /** What the loop holds back. */
  held: readonly Held[];
  world: World;
  readers: Readers;
  query: URLSearchParams;
}

/** A listing: rows as the kernel has them now, each compared with the wish. */
export type View = (look: Look) => Promise<InspectRow[] | Listing>;

export type Drift = InspectRow['drift'];

/** An object of the kernel, or one that is wished and missing there, and how the two compare. */
export interface Compared<T> {
  ns: Ns;
  object: T;
  /** Object of the wish it is there for; '' where nothing wishes it. */
  owner: string;
  drift: Drift;
  reason?: string;
}

/** All objects of a kind in a namespace, those of others included. */
export async function compare<T>(look: Look, kindName: string, ns: Ns): Promise<Compared<T>[]> {
  const kind = KINDS.get(kindName) as unknown as Kind<T>;
  const wished = look.desired.in(ns, kindName) as Wanted<T>[];
  const wanted = new Map(wished.map((w) => [kind.key(w.object), w]));
  const have = (await look.kernel.port(kindName).observe(
    ns,
    wished.map((w) => w.object),
  )) as T[];
  // One key is one thing, though the kernel may tell of it twice: a bridge with VLANs has a row of the FDB in each.
  const existing = new Map(have.map((object) => [kind.key(object), object]));
  const out: Compared<T>[] = [...existing].map(([key, object]) => {
    const want = wanted.get(key);
    wanted.delete(key);
    return { ns, object, ...judge(look, kind, ns, object, want) };
  });
  for (const { object, owner, because } of wanted.values()) {
    out.push({ ns, object, owner, drift: 'missing', reason: because });
  }
  return out;
}

function judge<T>(
  look: Look,
  kind: Kind<T>,
  ns: Ns,
  object: T,
  want: Wanted<T> | undefined,
): Omit<Compared<T>, 'ns' | 'object'> {
  if (want) {
    const reason = kind.same(want.object, object);
    return reason ? { owner: want.owner, drift: 'differs', reason } : { owner: want.owner, drift: 'ok' };
  }
  const key = kind.key(object);
  const held = look.held.find((h) => h.ns === ns && h.kind === kind.name && h.key === key);
  if (held) return { owner: '', drift: 'held', reason: held.text };
  const ours = kind.owns(object, look.kernel.where(ns) ?? { ns, nsOwned: true });
  return { owner: '', drift: 'foreign', reason: ours ? 'nothing wishes it' : 'not weft’s' };
}

/** `{drift, reason}` of a row; the worst of several things that make it up. */
export function mark(...parts: readonly { drift: Drift; reason?: string }[]): { drift: Drift; reason?: string } {
  const { drift, reason } = parts.find((part) => part.drift !== 'ok') ?? { drift: 'ok' };
  return { drift, ...(reason !== undefined && { reason }) };
}

/**
 * Namespaces a listing covers: all of ours and the sandboxes', or the one that `?namespace=` names.
 * @throws WEFT_NOT_FOUND for another name
 */
export async function namespaces(look: Look): Promise<Ns[]> {
  const all = new Set<Ns>([NODE_NS, ...(await look.kernel.namespaces())]);
  for (const { ns } of look.desired.scopes()) all.add(ns);
  const asked = look.query.get('namespace');
  if (asked === null) return [...all];
  const ingress = ingressNetwork(look.world.wish);
  const ns = asked === 'ingress' && ingress ? networkNs(ingress.id) : asked;
  if (all.has(ns)) return [ns];
  throw new WeftError('WEFT_NOT_FOUND', `there is no namespace "${asked}"`, `there are ${[...all].sort().join(', ')}`);
}
