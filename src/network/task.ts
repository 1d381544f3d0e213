import type { Ip } from '../base/ip.js';
import type { Stored } from '../model/registry.js';
import type { Service } from '../model/service.js';
import { WEFT_PROTOCOL } from '../objects/address.js';
import { gatewayAddress } from './gateway.js';
import { leavesByGateway, wayOut } from './routing.js';
import type { Wants, World } from './world.js';

/** "Came through the mesh": one bit in a sandbox, names no node (design.md section 3). */
const MESH_BIT = 0x08000000;
const BIT = `0x${MESH_BIT.toString(16)}/0x${MESH_BIT.toString(16)}`;
/** Table and priority of the rule that sends replies of the mesh back into it. */
const TABLE = 18600;
const FAMILY = 4;
interface Membership {
  endpoint: Stored<'endpoints'>;
  network: Stored<'networks'>;
  service?: { id: string; spec: Service };
}

/**
 * What a sandbox's own namespace does for its services: translates VIP and published port to the task, and sends replies
 * back the way the packets came. Constant per endpoint and own service; nothing here grows with the cluster.
 */
export function taskObjects(world: World, sandbox: Stored<'sandboxes'>, wants: Wants): void {
  const memberships = membershipsOf(world, sandbox.id);
  const serving = memberships.filter((m) => m.service);
  const vips = serving.flatMap((m) => ownVips(m).map((vip) => ({ vip, endpoint: m.endpoint })));
  const ingress = serving.find((m) => m.network.spec.ingress);
  const chains = new Chains(sandbox.id, wants);
  if (vips.length) hairpin(chains, vips, sandbox.id, wants);
  if (ingress) meshReturn(chains, ingress, sandbox.id, wants);
  chains.add('nat', 'PREROUTING', 'WEFT-TASK-IN', [
    ...vips.map(
      ({ vip, endpoint }) => `-d ${vip}/32 -i ${endpoint.spec.ifname} -j DNAT --to-destination ${v4(endpoint)}`,
    ),
    ...(ingress ? ports(ingress, answering(world, ingress)) : []),
  ]);
}

function membershipsOf(world: World, sandbox: string): Membership[] {
  const out: Membership[] = [];
  for (const endpoint of world.wish.endpoints.values()) {
    const network = endpoint.spec.sandbox === sandbox ? world.wish.networks.get(endpoint.spec.network) : undefined;
    if (!network) continue;
    const service = endpoint.spec.service === undefined ? undefined : world.wish.services.get(endpoint.spec.service);
    out.push({ endpoint, network, ...(service && { service }) });
  }
  return out;
}

const ownVips = ({ service, network }: Membership): Ip[] =>
  (service?.spec.mode === 'vip' ? (service.spec.vips[network.id] ?? []) : []).filter((ip) => !ip.includes(':'));

const v4 = (endpoint: Stored<'endpoints'>): Ip => endpoint.spec.addresses.find((ip) => !ip.includes(':')) as Ip;

/**
 * The address published ports are translated to: the one the task's default route prefers as source. A UDP server that
 * does not look at the destination answers from there, and only then is its answer the reply of the flow.
 */
function answering(world: World, { endpoint }: Membership): Ip {
  const { sandbox } = endpoint.spec;
  if (leavesByGateway(world, sandbox, FAMILY)) return gatewayAddress(world, sandbox);
  return v4(wayOut(world, sandbox, FAMILY) ?? endpoint);
}

/** As client of its own VIP a task is untracked, so that the packet that comes back to it is new and is translated. */
function hairpin(
  chains: Chains,
  vips: readonly { vip: Ip; endpoint: Stored<'endpoints'> }[],
  ns: string,
  wants: Wants,
): void {
  chains.add(
    'raw',
    'PREROUTING',
    'WEFT-TASK-RAW-IN',
    vips.map(({ vip, endpoint }) => `-s ${vip}/32 -i ${endpoint.spec.ifname} -j CT --notrack`),
  );
  chains.add(
    'raw',
    'OUTPUT',
    'WEFT-TASK-RAW-OUT',
    vips.map(({ vip }) => `-d ${vip}/32 -j CT --notrack`),
  );
  for (const { endpoint } of vips) {
    // The packet comes back with the task's own address as source.
    wants.sysctls(ns, endpoint.id, { [`net/ipv4/conf/${endpoint.spec.ifname}/accept_local`]: 1 });
  }
}

/** Replies to what came through the mesh leave by the ingress network, whatever the default route says. */
function meshReturn(chains: Chains, { endpoint, network }: Membership, ns: string, wants: Wants): void {
  const { ifname } = endpoint.spec;
  const why = `published ports of ${endpoint.id}`;
  const outside = `! -s ${network.spec.subnets[0]} -i ${ifname}`;
  chains.add('mangle', 'PREROUTING', 'WEFT-TASK-IN', [
    `${outside} -j CONNMARK --set-xmark ${BIT}`,
    `${outside} -j MARK --set-xmark ${BIT}`,
  ]);
  chains.add('mangle', 'OUTPUT', 'WEFT-TASK-OUT', [`-m connmark --mark ${BIT} -j MARK --set-xmark ${BIT}`]);
  const rule = {
    family: FAMILY,
    priority: TABLE,
    table: TABLE,
    fwmark: MESH_BIT,
    mask: MESH_BIT,
    protocol: WEFT_PROTOCOL,
  };
  wants.add(ns, 'rule', why, rule);
  wants.add(ns, 'route', why, { dst: '0.0.0.0/0', dev: ifname, via: network.spec.gateways[0], table: TABLE });
  wants.sysctls(ns, why, {
    // Strict rp_filter takes sources from outside on this interface only with the mark in the look-up.
    [`net/ipv4/conf/${ifname}/src_valid_mark`]: 1,
    // Accepted sockets carry the mark: no second routing decision a packet, and the right MSS.
    'net/ipv4/tcp_fwmark_accept': 1,
    // The same client port through two nodes: early demultiplexing finds the first connection's socket (6.1).
    'net/ipv4/tcp_early_demux': 0,
  });
}

function ports({ endpoint, service }: Membership, to: Ip): string[] {
  return (service?.spec.publish ?? [])
    .filter((p) => p.mode === 'ingress')
    .flatMap((p) => {
      const count = (p.publishedEnd ?? p.published) - p.published + 1;
      const match = (n: number) => `-i ${endpoint.spec.ifname} -p ${p.proto} -m ${p.proto} --dport ${p.published + n}`;
      return Array.from({ length: count }, (_, n) => `${match(n)} -j DNAT --to-destination ${to}:${p.target + n}`);
    });
}

/** Chains of a sandbox with the jumps to them; an empty one is left out. */
class Chains {
  constructor(
    readonly ns: string,
    readonly wants: Wants,
  ) {}

  add(table: string, from: string, chain: string, rules: readonly string[]): void {
    if (rules.length === 0) return;
    const why = `sandbox ${this.ns}`;
    this.wants.add(this.ns, 'iptables', why, { what: 'chain', family: FAMILY, table, chain, rules });
    this.wants.add(this.ns, 'iptables', why, { what: 'jump', family: FAMILY, table, chain: from, rule: `-j ${chain}` });
  }
}
