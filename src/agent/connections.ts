import { backendId, backendIds, IPPROTO, keepsDatagrams, publishedFrontends } from '../balance/backends.js';
import { marksThrough } from '../balance/ipvs/balancer.js';
import { OPEN_MEMORIES } from '../balance/nft/memory.js';
import { family, type Ip } from '../base/ip.js';
import type { Flow, TcpState } from '../codec/conntrack.js';
import { type KeyField, keyHex, valueHex } from '../codec/nft/types.js';
import { flowsOf } from '../kernel/real/flows.js';
import { ipvsState } from '../kernel/real/ipvs-state.js';
import { countLearned } from '../kernel/real/learned-flows.js';
import type { Spaces } from '../kernel/real/spaces.js';
import { meshPorts } from '../model/published.js';
import type { Stored } from '../model/registry.js';
import { servicesOf } from '../model/serving.js';
import { words } from '../network/bridge-table.js';
import { isHere, networkNs, type World } from '../network/world.js';
import type { Backend } from '../state/drain.js';

/** A service on one network, and those of its backends whose connections are counted. */
interface Counted {
  service: Stored<'services'>;
  network: Stored<'networks'>;
  ips: Set<Ip>;
  /** Of the backends' flows. */
  marks: Set<number>;
}

/**
 * Connections that this node's balancers hold through backends: from IPVS, connection tracking or the flow memory,
 * whichever of them balances. UDP flows count where the service keeps them, for others have no end to wait for.
 * @param service those of its callers alone; a backend may serve others too
 * @throws WEFT_NETLINK
 */
export async function connectionsThrough(
  world: World,
  spaces: Spaces,
  backends: readonly Backend[],
  service?: string,
): Promise<number> {
  const { name, bridgeConntrack } = world.balancer;
  const count = name === 'ipvs' ? inIpvs : bridgeConntrack ? inConntrack : inFlowMemory;
  const all = countedOf(world, backends, service);
  let sum = 0;
  for (const network of new Set(all.map((counted) => counted.network))) {
    const here = all.filter((counted) => counted.network === network);
    sum += await count(world, spaces, here, networkNs(network.id));
  }
  return sum;
}

function countedOf({ wish }: World, backends: readonly Backend[], only?: string): Counted[] {
  const out = new Map<string, Counted>();
  for (const backend of backends) {
    const network = wish.networks.get(backend.spec.network);
    if (!network || !isHere({ wish }, network)) continue;
    for (const id of only === undefined ? servicesOf(backend.spec) : [only]) {
      const service = wish.services.get(id);
      if (!service) continue;
      const key = `${id} ${network.id}`;
      const counted = out.get(key) ?? { service, network, ips: new Set(), marks: new Set() };
      const ids = backendIds(wish, id, network.id);
      for (const ip of addressesOf(backend)) {
        counted.ips.add(ip);
        counted.marks.add(ids.get(ip) ?? backendId(ip));
      }
      out.set(key, counted);
    }
  }
  return [...out.values()];
}

function addressesOf(backend: Backend): Ip[] {
  if (backend.table === 'endpoints') return (backend as Stored<'endpoints'>).spec.addresses;
  const { address, addressV6 } = (backend as Stored<'peers'>).spec;
  return addressV6 === undefined ? [address] : [address, addressV6];
}

/** IPVS sees the client's side alone; what it calls inactive has been closed from there, or is UDP. */
async function inIpvs(world: World, spaces: Spaces, all: readonly Counted[], ns: string): Promise<number> {
  const byMark = new Map(
    all.flatMap((counted) => {
      const marks = [...marksThrough(world, counted.service, counted.network)];
      return marks.map(([mark, kind]) => [mark, { ...counted, isDatagram: kind === 'datagram' }] as const);
    }),
  );
  let sum = 0;
  for (const { key, servers } of await ipvsState(spaces, ns)) {
    const counted = 'fwmark' in key ? byMark.get(key.fwmark) : undefined;
    if (!counted) continue;
    const isKept = counted.isDatagram && keepsDatagrams(counted.service);
    for (const { addr, active, inactive } of servers)
      if (counted.ips.has(addr)) sum += active + (isKept ? inactive : 0);
  }
  return sum;
}

/** Both sides were seen, and one of them may still send. */
const OPEN: ReadonlySet<TcpState> = new Set(['synRecv', 'established', 'finWait', 'closeWait', 'lastAck']);

async function inConntrack(world: World, spaces: Spaces, all: readonly Counted[], ns: string): Promise<number> {
  const byVip = new Map(all.flatMap((counted) => vipsOf(counted).map((vip) => [vip, counted] as const)));
  const byPort = new Map<string, Counted>(
    all.flatMap((counted) =>
      portsOf(world, counted).map(({ proto, number }) => [`${proto} ${number}`, counted] as const),
    ),
  );
  const counts = ({ mark, original, tcpState }: Flow): boolean => {
    const { dst, protocol, dstPort } = original;
    const counted = byVip.get(dst) ?? byPort.get(`${protocol} ${dstPort}`);
    if (!counted?.marks.has(mark)) return false;
    if (protocol === IPPROTO.tcp) return tcpState !== undefined && OPEN.has(tcpState);
    return protocol !== IPPROTO.udp || keepsDatagrams(counted.service);
  };
  const { more } = await flowsOf(spaces, ns, {}, counts, 0);
  return more;
}

async function inFlowMemory(world: World, spaces: Spaces, all: readonly Counted[], ns: string): Promise<number> {
  let sum = 0;
  for (const of of new Set(all.flatMap(({ ips }) => [...ips].map(family)))) {
    const { address } = words[of];
    // Client's address and port, protocol, VIP or node's address, port; each padded to whole registers.
    const [proto, destination, port] = [2, 3, 4].map((i) => offset(flowKey(address), i)) as [number, number, number];
    const byVip = new Map(
      all.flatMap((counted) =>
        vipsOf(counted)
          .filter((vip) => family(vip) === of)
          .map((vip) => [valueHex(address, vip) as string, counted] as const),
      ),
    );
    const byPort = new Map(
      all.flatMap((counted) =>
        portsOf(world, counted).map(
          (p) => [keyHex(['inet_proto', 'inet_service'], [p.proto, p.number]), counted] as const,
        ),
      ),
    );
    const udp = valueHex('inet_proto', IPPROTO.udp);
    const marks = new Map(all.map((counted) => [counted, new Set([...counted.marks].map((m) => valueHex('mark', m)))]));
    const counts = (key: string, value: string): boolean => {
      const ofPort = key.slice(proto, destination) + key.slice(port);
      const counted = byVip.get(key.slice(destination, port)) ?? byPort.get(ofPort);
      if (!counted || !marks.get(counted)?.has(value)) return false;
      return keepsDatagrams(counted.service) || key.slice(proto, proto + udp.length) !== udp;
    };
    for (const memory of OPEN_MEMORIES)
      sum += await countLearned(spaces, ns, { family: 'bridge', table: 'weft', set: `${memory}${of}` }, counts);
  }
  return sum;
}

/** Of map `flows` (balance/nft/table.ts). */
const flowKey = (address: 'ipv4_addr' | 'ipv6_addr'): KeyField[] => [
  address,
  'inet_service',
  'inet_proto',
  address,
  'inet_service',
];

/** Where a field begins in the text of a key: fields are padded to registers of four bytes. */
const offset = (fields: readonly KeyField[], index: number): number =>
  fields.slice(0, index).reduce((sum, field) => sum + (field === 'ipv6_addr' ? 32 : 8), 0);

/** None on the ingress network, where a service is found by its ports. */
const vipsOf = ({ service, network }: Counted): readonly Ip[] =>
  network.spec.ingress ? [] : (service.spec.vips[network.id] ?? []);

/** Numbers on the ingress network that lead to a service. */
function portsOf({ wish }: World, { service, network }: Counted): { proto: number; number: number }[] {
  if (!network.spec.ingress) return [];
  const ports = meshPorts(wish).get(service.id) ?? [];
  return ['0.0.0.0', '::'].flatMap((any) => publishedFrontends(any, ports).flatMap(({ port }) => port ?? []));
}
