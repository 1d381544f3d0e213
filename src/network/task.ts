import { IPPROTO } from '../balance/backends.js';
import { bits, type Family, family, type Ip, withPort } from '../base/ip.js';
import { familiesOfPort, meshNumber, publishedSpan } from '../model/published.js';
import type { Stored } from '../model/registry.js';
import type { PublishedPort, Service } from '../model/service.js';
import { servicesOf } from '../model/serving.js';
import { WEFT_PROTOCOL } from '../objects/address.js';
import { gatewayFor } from './addressing.js';
import { gatewayAddress } from './gateway.js';
import { DEFAULT_ROUTE, leavesByGateway, wayOut } from './routing.js';
import { translate } from './rules/ports.js';
import { LIBERAL, TCP_MEMORY } from './sysctls.js';
import type { Wants, World } from './world.js';

/** "Came through the mesh": one bit in a sandbox, names no node (design.md section 3). */
const MESH_BIT = 0x08000000;
const BIT = `0x${MESH_BIT.toString(16)}/0x${MESH_BIT.toString(16)}`;
/** Table and priority of the rule that sends replies of the mesh back into it. */
const TABLE = 18600;
/** After the tables main (32766) and default (32767): where nothing else leads. */
const LAST_RESORT = 32_768;

export interface Membership {
  endpoint: Stored<'endpoints'>;
  network: Stored<'networks'>;
  service: { id: string; spec: Service };
}

interface OwnVip extends Membership {
  vip: Ip;
}

/**
 * What a sandbox's own namespace does for its services: translates VIP and published port to the task, and sends replies
 * back the way the packets came. Constant per endpoint and own service; nothing here grows with the cluster.
 */
export function taskObjects(world: World, sandbox: Stored<'sandboxes'>, wants: Wants): void {
  const serving = membershipsOf(world, sandbox.id);
  for (const of of [4, 6] as const) {
    const here = serving.filter(({ endpoint }) => ownAddress(endpoint, of) !== undefined);
    const vips = here.flatMap((m) => ownVips(m, of).map((vip): OwnVip => ({ vip, ...m })));
    const ingress = here.filter(({ network }) => network.spec.ingress);
    const [leg] = ingress;
    const chains = new Chains(sandbox.id, of, wants);
    chains.add(
      'nat',
      'INPUT',
      'WEFT-TASK-SOURCE',
      serving.filter(isHiding).flatMap((m) => bridgeAsSource(m, of)),
    );
    // Forgotten too soon, what the task sends next leaves with its own address instead of the one that was dialled.
    if (vips.length || leg) wants.sysctls(sandbox.id, `sandbox ${sandbox.id}`, { ...TCP_MEMORY, ...LIBERAL });
    if (vips.length) hairpin(chains, vips);
    if (leg) meshReturn(chains, leg);
    if (leg && wayOut(world, sandbox.id, of) === undefined) lastResort(sandbox.id, of, ingress, wants);
    chains.add('nat', 'PREROUTING', 'WEFT-TASK-IN', [
      ...vips.flatMap((own) => fromVip(own, of)),
      ...ingress.flatMap((member) => ports(member, of, answering(world, member, of))),
    ]);
  }
}

/** Each service of each endpoint of a sandbox. */
export function membershipsOf(world: World, sandbox: string): Membership[] {
  const out: Membership[] = [];
  for (const endpoint of world.wish.endpoints.values()) {
    const network = endpoint.spec.sandbox === sandbox ? world.wish.networks.get(endpoint.spec.network) : undefined;
    if (!network) continue;
    for (const id of servicesOf(endpoint.spec)) {
      const service = world.wish.services.get(id);
      if (service) out.push({ endpoint, network, service });
    }
  }
  return out;
}

export const ownVips = ({ service, network }: Membership, of: Family): Ip[] =>
  (service.spec.vips[network.id] ?? []).filter((ip) => family(ip) === of);

export const ownAddress = (endpoint: Stored<'endpoints'>, of: Family): Ip | undefined =>
  endpoint.spec.addresses.find((ip) => family(ip) === of);

const isHiding = ({ service }: Membership): boolean => service.spec.clientIp === 'snat';

/**
 * Callers of a VIP with `clientIp: snat` appear as the network's gateway, the bridge where they were balanced. Translated
 * here, where the flow ends: the balancer only chooses a MAC and remembers no source, and one rule a VIP does for all callers.
 */
function bridgeAsSource(member: Membership, of: Family): string[] {
  const { endpoint, network } = member;
  const own = ownAddress(endpoint, of);
  if (own === undefined) return [];
  const to = `-j SNAT --to-source ${gatewayFor(network, own)}`;
  return ownVips(member, of).map((vip) => `-i ${endpoint.spec.ifname} -m conntrack --ctorigdst ${vip} ${to}`);
}

/** A VIP's declared ports are translated, the others stay as they are. */
function fromVip({ vip, endpoint, service }: OwnVip, of: Family): string[] {
  const at = `-d ${host(vip)} -i ${endpoint.spec.ifname}`;
  const own = ownAddress(endpoint, of) as Ip;
  const declared = service.spec.ports.map(
    ({ port, target, proto }) =>
      `${at} -p ${proto} -m ${proto} --dport ${port} -j DNAT --to-destination ${withPort(own, target)}`,
  );
  return [...declared, `${at} -j DNAT --to-destination ${own}`];
}

/** An address as iptables-save prints it. */
const host = (ip: Ip): string => `${ip}/${bits(family(ip))}`;

/**
 * The address published ports are translated to: the one the task's default route prefers as source. A UDP server that
 * does not look at the destination answers from there, and only then is its answer the reply of the flow.
 */
export function answering(world: World, { endpoint }: Membership, of: Family): Ip {
  const { sandbox } = endpoint.spec;
  if (leavesByGateway(world, sandbox, of)) return gatewayAddress(world, sandbox, of);
  return ownAddress(wayOut(world, sandbox, of) ?? endpoint, of) as Ip;
}

/** As client of its own VIP a task is untracked, so that the packet that comes back to it is new and is translated. */
function hairpin(chains: Chains, vips: readonly { vip: Ip; endpoint: Stored<'endpoints'> }[]): void {
  chains.add(
    'raw',
    'PREROUTING',
    'WEFT-TASK-RAW-IN',
    vips.map(({ vip, endpoint }) => `-s ${host(vip)} -i ${endpoint.spec.ifname} -j CT --notrack`),
  );
  chains.add(
    'raw',
    'OUTPUT',
    'WEFT-TASK-RAW-OUT',
    vips.map(({ vip }) => `-d ${host(vip)} -j CT --notrack`),
  );
  // The packet comes back with the task's own address as source, which IPv6 takes as it is.
  if (chains.of === 6) return;
  for (const { endpoint } of vips) {
    chains.wants.sysctls(chains.ns, endpoint.id, { [`net/ipv4/conf/${endpoint.spec.ifname}/accept_local`]: 1 });
  }
}

/**
 * Replies to what came through the mesh leave by the ingress network, whatever the default route says. What came through
 * it bears the address of the node that took the connection as destination, not the task's own.
 */
function meshReturn(chains: Chains, { endpoint, network }: Membership): void {
  const { ns, of, wants } = chains;
  const { ifname } = endpoint.spec;
  const why = `published ports of ${endpoint.id}`;
  const own = ownAddress(endpoint, of) as Ip;
  const throughMesh = `! -d ${host(own)} -i ${ifname}`;
  chains.add('mangle', 'PREROUTING', 'WEFT-TASK-IN', [
    `${throughMesh} -j CONNMARK --set-xmark ${BIT}`,
    `${throughMesh} -j MARK --set-xmark ${BIT}`,
  ]);
  chains.add('mangle', 'OUTPUT', 'WEFT-TASK-OUT', [`-m connmark --mark ${BIT} -j MARK --set-xmark ${BIT}`]);
  const rule = { family: of, priority: TABLE, table: TABLE, fwmark: MESH_BIT, mask: MESH_BIT, protocol: WEFT_PROTOCOL };
  wants.add(ns, 'rule', why, rule);
  const back = { dst: DEFAULT_ROUTE[of], dev: ifname, via: gatewayFor(network, own), table: TABLE };
  wants.add(ns, 'route', why, back);
  wants.sysctls(ns, why, {
    // Strict rp_filter takes sources from outside on this interface only with the mark in the look-up.
    ...(of === 4 && { [`net/ipv4/conf/${ifname}/src_valid_mark`]: 1 }),
    // Accepted sockets carry the mark: no second routing decision a packet, and the right MSS. (Of both families.)
    'net/ipv4/tcp_fwmark_accept': 1,
    // The same client port through two nodes: early demultiplexing finds the first connection's socket (6.1).
    'net/ipv4/tcp_early_demux': 0,
    // A router on the way to a client may be mute about its MTU: a stalled connection tries smaller segments after 3 s.
    'net/ipv4/tcp_mtu_probing': 1,
  });
}

/**
 * A task that nothing leads out of answers callers of its published ports all the same. A TCP socket has the mark of what
 * it accepted, and refusals get it by fwmark_reflect; a plain server of datagrams chooses its way before the mark is there,
 * so what is sent from its port has the mesh for its last resort. To elsewhere there is no way, which is said at once.
 */
function lastResort(ns: string, of: Family, members: readonly Membership[], wants: Wants): void {
  const why = `published ports of ${members[0]?.endpoint.id}`;
  wants.sysctls(ns, why, { [`net/ipv${of}/fwmark_reflect`]: 1 });
  for (const p of members.flatMap(({ service }) => meshPortsOf(service, of))) {
    if (p.proto === 'tcp') continue;
    const { from, to } = publishedSpan(p);
    const sent = { iif: 'lo', ipProto: IPPROTO[p.proto], sourcePorts: { start: p.target, end: p.target + to - from } };
    wants.add(ns, 'rule', why, { family: of, priority: LAST_RESORT, table: TABLE, ...sent, protocol: WEFT_PROTOCOL });
  }
}

export const meshPortsOf = (service: Membership['service'], of: Family): PublishedPort[] =>
  service.spec.publish.filter((p) => p.mode === 'ingress' && familiesOfPort(p).includes(of));

/** One rule a port or range. Who may call, and at which address, was decided where the connection was taken. */
function ports({ endpoint, service }: Membership, of: Family, to: Ip): string[] {
  return meshPortsOf(service, of).flatMap((p) => {
    const { from, to: end, ...span } = publishedSpan(p);
    const first = meshNumber(p);
    const numbers = { ...span, hostIp: undefined, from: first, to: first + end - from };
    const rules = translate({ ...p, hostIp: undefined, allow: [] }, numbers, of, to, p.target);
    return rules.map((rule) => `-i ${endpoint.spec.ifname} ${rule}`);
  });
}

/** Chains of a sandbox in one family with the jumps to them; an empty one is left out. */
class Chains {
  constructor(
    readonly ns: string,
    readonly of: Family,
    readonly wants: Wants,
  ) {}

  add(table: string, from: string, chain: string, rules: readonly string[]): void {
    if (rules.length === 0) return;
    const { ns, of, wants } = this;
    const why = `sandbox ${ns}`;
    wants.add(ns, 'iptables', why, { what: 'chain', family: of, table, chain, rules });
    wants.add(ns, 'iptables', why, { what: 'jump', family: of, table, chain: from, rule: `-j ${chain}` });
  }
}
