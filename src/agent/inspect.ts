import type { InspectRow } from '../api/agent.js';
import { WeftError } from '../base/errors.js';
import type { Kernel } from '../kernel/port.js';
import type { Kind } from '../objects/kind.js';
import { NODE_NS, type Ns } from '../objects/kind.js';
import type { Link } from '../objects/link.js';
import { KINDS } from '../objects/registry.js';
import type { Desired } from '../reconcile/desired.js';

/** One view of the kernel: which kind, and what of its rows to show. */
interface View {
  kind: string;
  row: (object: never) => Record<string, unknown> | undefined;
}

const all = (object: object): Record<string, unknown> => ({ ...object });

const VIEWS: Readonly<Record<string, View>> = {
  vteps: {
    kind: 'link',
    row: (link: Link) => {
      if (link.type !== 'vxlan') return undefined;
      const { name, vni, local, dstPort, mtu, up } = link;
      return { device: name, vni, local, port: dstPort, mtu, up };
    },
  },
  fdb: { kind: 'fdb', row: all },
  neighbours: { kind: 'neighbour', row: all },
};

export const inspectable = (): string[] => Object.keys(VIEWS);

/** Rows of a view as the kernel has them now, each compared with the wish; what is wished and missing is a row too. */
export async function inspect(kernel: Kernel, desired: Desired, what: string): Promise<InspectRow[]> {
  const view = VIEWS[what];
  if (!view) throw new WeftError('WEFT_NOT_FOUND', `there is no view "${what}"`);
  const kind = KINDS.get(view.kind) as unknown as Kind<unknown>;
  const spaces = new Set<Ns>([NODE_NS, ...(await kernel.namespaces())]);
  for (const scope of desired.scopes()) spaces.add(scope.ns);
  const rows: InspectRow[] = [];
  kernel.begin();
  try {
    for (const ns of spaces) rows.push(...(await rowsOf(kernel, desired, kind, view, ns)));
  } finally {
    kernel.passed();
  }
  return rows;
}

async function rowsOf(
  kernel: Kernel,
  desired: Desired,
  kind: Kind<unknown>,
  view: View,
  ns: Ns,
): Promise<InspectRow[]> {
  const wanted = new Map(desired.in(ns, kind.name).map((w) => [kind.key(w.object), w]));
  const where = kernel.where(ns) ?? { ns, nsOwned: true };
  const have = await kernel.port(kind.name).observe(
    ns,
    [...wanted.values()].map((w) => w.object),
  );
  const rows: InspectRow[] = [];
  for (const object of have) {
    const columns = view.row(object as never);
    const want = wanted.get(kind.key(object));
    wanted.delete(kind.key(object));
    if (!columns) continue;
    const reason = want
      ? kind.same(want.object, object)
      : kind.owns(object, where)
        ? 'nothing wishes it'
        : 'not weft’s';
    const drift = want ? (reason ? 'differs' : 'ok') : 'foreign';
    rows.push({ namespace: ns, ...columns, drift, ...(reason && { reason }) });
  }
  for (const want of wanted.values()) {
    const columns = view.row(want.object as never);
    if (columns) rows.push({ namespace: ns, ...columns, drift: 'missing', reason: want.because });
  }
  return rows;
}
