import type { InspectRow } from '../../api/agent.js';
import type { ServiceKey } from '../../codec/ipvs/service.js';
import type { VirtualServerView } from '../../kernel/real/ipvs-state.js';
import type { RealServer, VirtualServer } from '../../objects/ipvs.js';
import type { Ns } from '../../objects/kind.js';
import { type Compared, compare, type Look, mark, namespaces, type View } from './look.js';

/**
 * Virtual servers with their real servers, one row each pair, as ipvsadm -Ln shows them; a virtual server without real
 * ones is a row without server. Those that others made (by address, or in a namespace of their own) are `foreign`.
 */
export const ipvs: View = async (look) => {
  const asked = look.query.get('namespace') !== null;
  const out: InspectRow[] = [];
  for (const ns of await namespaces(look)) {
    // Virtual servers of ours are in networks' namespaces; elsewhere one looks only when asked to.
    if (asked || ns.startsWith('net-')) out.push(...(await rowsIn(look, ns)));
  }
  return out;
};

async function rowsIn(look: Look, ns: Ns): Promise<InspectRow[]> {
  const virtual = new Map((await compare<VirtualServer>(look, 'virtual-server', ns)).map((c) => [id(c.object), c]));
  const real = await compare<RealServer>(look, 'real-server', ns);
  const seen = await look.readers.ipvs(ns);
  const rows = seen.flatMap((view) => ofView(ns, view, virtual, real));
  const present = new Set(seen.flatMap(({ key }) => ('fwmark' in key ? [id(key)] : [])));
  const gone = [...virtual.values()].filter(({ object }) => !present.has(id(object)));
  return [...rows, ...gone.flatMap((c) => missingServers(ns, c, real))];
}

type Virtual = ReadonlyMap<string, Compared<VirtualServer>>;
const id = (o: { family: number; fwmark: number }): string => `v${o.family} ${o.fwmark}`;

function ofView(
  ns: Ns,
  view: VirtualServerView,
  virtual: Virtual,
  real: readonly Compared<RealServer>[],
): InspectRow[] {
  const { key, scheduler } = view;
  const own = 'fwmark' in key ? virtual.get(id(key)) : undefined;
  const above = own ?? ({ drift: 'foreign', reason: 'not weft’s' } as const);
  const mine = 'fwmark' in key ? real.filter(({ object }) => id(object) === id(key)) : [];
  const base = { namespace: ns, virtual: keyText(key), ...numbers(key), ...serviceOf(own?.owner), scheduler };
  const rows: InspectRow[] = view.servers.map((server) => {
    const { addr: ip, method, weight, active, inactive } = server;
    const compared = mine.find(({ object, drift }) => object.ip === ip && drift !== 'missing');
    return { ...base, server: ip, method, weight, active, inactive, ...mark(compared ?? above, above) };
  });
  const missing = mine.filter((c) => c.drift === 'missing').map((c) => ({ ...base, ...serverRow(c) }));
  if (rows.length + missing.length === 0) return [{ ...base, ...mark(above) }];
  return [...rows, ...missing];
}

/** A virtual server that is wished and not there, with the real servers it should have. */
function missingServers(
  ns: Ns,
  { object, owner, drift, reason }: Compared<VirtualServer>,
  real: readonly Compared<RealServer>[],
): InspectRow[] {
  const { family, fwmark, scheduler } = object;
  const base = {
    namespace: ns,
    virtual: keyText({ family, fwmark }),
    family,
    mark: fwmark,
    ...serviceOf(owner),
    scheduler,
  };
  const servers = real.filter((c) => id(c.object) === id(object));
  if (servers.length === 0) return [{ ...base, ...mark({ drift, ...(reason !== undefined && { reason }) }) }];
  return servers.map((c) => ({ ...base, ...serverRow(c) }));
}

const serverRow = (c: Compared<RealServer>) => ({ server: c.object.ip, weight: c.object.weight, ...mark(c) });

const serviceOf = (owner: string | undefined) => (owner?.startsWith('service/') ? { service: owner.slice(8) } : {});

const numbers = (key: ServiceKey) => ({ family: key.family, ...('fwmark' in key && { mark: key.fwmark }) });

/** IPPROTO_* of linux/in.h. */
const PROTOCOLS: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };

/** `mark 256`, or address and port where somebody made it by those. */
function keyText(key: ServiceKey): string {
  if ('fwmark' in key) return `mark ${key.fwmark}${key.family === 6 ? ' v6' : ''}`;
  const host = key.family === 6 ? `[${key.addr}]` : key.addr;
  return `${host}:${key.port}/${PROTOCOLS[key.protocol] ?? key.protocol}`;
}
