import { backendId, backendIds, IPPROTO, keepsDatagrams } from '../balance/backends.js';
import { datagramMarks } from '../balance/ipvs/balancer.js';
import { family, type Ip } from '../base/ip.js';
import type { Flow, TcpState } from '../codec/conntrack.js';
import { valueHex } from '../codec/nft/types.js';
import { flowsOf } from '../kernel/real/flows.js';
import { ipvsState } from '../kernel/real/ipvs-state.js';
import { countLearned } from '../kernel/real/learned-flows.js';
import type { Spaces } from '../kernel/real/spaces.js';
import type { Stored } from '../model/registry.js';
import { isHere, networkNs, type World } from '../network/world.js';
import type { Backend } from '../state/drain.js';

/** Backends of one network whose connections are counted. */
interface Counted {
  network: Stored<'networks'>;
  /** By address: do UDP flows count too? */
  keeps: Map<Ip, boolean>;
  /** The same by the mark of their flows. */
  marks: Map<number, boolean>;
  /** Services that keep them. */
  keeping: Set<Stored<'services'>>;
}

/**
 * Connections that this node's balancers hold through backends: from IPVS, connection tracking or the flow memory,
 * whichever of them balances. UDP flows count where the service keeps them, for others have no end to wait for.
 * @throws WEFT_NETLINK
 */
export async function connectionsThrough(world: World, spaces: Spaces, backends: readonly Backend[]): Promise<number> {
  const { name, bridgeConntrack } = world.balancer;
  const count = name === 'ipvs' ? inIpvs : bridgeConntrack ? inConntrack : inFlowMemory;
  let sum = 0;
  for (const counted of byNetwork(world, backends)) sum += await count(world, spaces, counted);
  return sum;
}

function byNetwork(world: World, backends: readonly Backend[]): Counted[] {
  const out = new Map<string, Counted>();
  for (const backend of backends) {
    const network = world.wish.networks.get(backend.spec.network);
    const service = world.wish.services.get(backend.spec.service ?? '');
    if (!network || !service || !isHere(world, network)) continue;
    const counted = out.get(network.id) ?? { network, keeps: new Map(), marks: new Map(), keeping: new Set() };
    const ids = backendIds(world.wish, service.id, network.id);
    for (const ip of addressesOf(backend)) {
      counted.keeps.set(ip, keepsDatagrams(service));
      counted.marks.set(ids.get(ip) ?? backendId(ip), keepsDatagrams(service));
    }
    if (keepsDatagrams(service)) counted.keeping.add(service);
    out.set(network.id, counted);
  }
  return [...out.values()];
}

function addressesOf(backend: Backend): Ip[] {
  if (backend.table === 'endpoints') return (backend as Stored<'endpoints'>).spec.addresses;
  const { address, addressV6 } = (backend as Stored<'peers'>).spec;
  return addressV6 === undefined ? [address] : [address, addressV6];
}

/** IPVS sees the client's side alone; what it calls inactive has been closed from there, or is UDP. */
async function inIpvs(world: World, spaces: Spaces, { network, keeps, keeping }: Counted): Promise<number> {
  const datagrams = new Set([...keeping].flatMap((service) => datagramMarks(world, service, network)));
  let sum = 0;
  for (const { key, servers } of await ipvsState(spaces, networkNs(network.id))) {
    const isKept = 'fwmark' in key && datagrams.has(key.fwmark);
    for (const { addr, active, inactive } of servers) if (keeps.has(addr)) sum += active + (isKept ? inactive : 0);
  }
  return sum;
}

/** Both sides were seen, and one of them may still send. */
const OPEN: ReadonlySet<TcpState> = new Set(['synRecv', 'established', 'finWait', 'closeWait', 'lastAck']);

async function inConntrack(_world: World, spaces: Spaces, { network, marks }: Counted): Promise<number> {
  const counts = ({ mark, original, tcpState }: Flow): boolean => {
    const keep = marks.get(mark);
    if (keep === undefined) return false;
    if (original.protocol === IPPROTO.tcp) return tcpState !== undefined && OPEN.has(tcpState);
    return original.protocol !== IPPROTO.udp || keep;
  };
  const { more } = await flowsOf(spaces, networkNs(network.id), {}, counts, 0);
  return more;
}

async function inFlowMemory(_world: World, spaces: Spaces, { network, keeps, marks }: Counted): Promise<number> {
  const byMark = new Map([...marks].map(([mark, keep]) => [valueHex('mark', mark), keep]));
  let sum = 0;
  for (const of of new Set([...keeps.keys()].map(family))) {
    const set = { family: 'bridge', table: 'weft', set: `flows${of}` } as const;
    const udp = valueHex('inet_proto', IPPROTO.udp);
    // After the client's address and port, each padded to whole registers.
    const at = of === 4 ? 16 : 40;
    sum += await countLearned(spaces, networkNs(network.id), set, (key, value) => {
      const keep = byMark.get(value);
      return keep !== undefined && (keep || key.slice(at, at + udp.length) !== udp);
    });
  }
  return sum;
}
