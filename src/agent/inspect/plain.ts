import type { InspectRow } from '../../api/agent.js';
import type { Fdb } from '../../objects/fdb.js';
import type { Link } from '../../objects/link.js';
import type { Neighbour } from '../../objects/neighbour.js';
import { type Compared, compare, type Look, mark, namespaces, type View } from './look.js';

/** VXLAN tunnel end points. */
export const vteps: View = (look) =>
  listed<Link>(look, 'link', (link) => {
    if (link.type !== 'vxlan') return undefined;
    const { name, vni, local, dstPort, mtu, up } = link;
    return { device: name, vni, local, port: dstPort, mtu, up };
  });

export const fdb: View = (look) => listed<Fdb>(look, 'fdb', (o) => ({ ...o }));

export const neighbours: View = (look) => listed<Neighbour>(look, 'neighbour', (o) => ({ ...o }));

/** One row an object of a kind, as `columns` shows it; undefined leaves it out. */
async function listed<T>(
  look: Look,
  kind: string,
  columns: (object: T) => Record<string, unknown> | undefined,
): Promise<InspectRow[]> {
  const row = (compared: Compared<T>): InspectRow[] => {
    const shown = columns(compared.object);
    return shown ? [{ namespace: compared.ns, ...shown, ...mark(compared) }] : [];
  };
  const out: InspectRow[] = [];
  for (const ns of await namespaces(look)) out.push(...(await compare<T>(look, kind, ns)).flatMap(row));
  return out;
}
