import { bits, family, type Ip, primary } from '../base/ip.js';
import { bridgeMac, endpointMac } from '../base/mac.js';
import { meshPorts } from '../model/published.js';
import type { Stored, Wish } from '../model/registry.js';
import { BRIDGE } from '../network/overlay/names.js';
import { familiesOf, isHere, networkNs, ownIngressAddresses, type Wants, type World } from '../network/world.js';
import { backendsOf, localBackends, preferred, publishedFrontends } from './backends.js';
import type { Arena, Assignment } from './balancer.js';
import { BALANCERS } from './registry.js';

function arenaOf(world: World, network: Stored<'networks'>): Arena {
  return {
    ns: networkNs(network.id),
    families: familiesOf(network),
    bridge: bridgeMac(world.self.vtep),
    ingress: network.spec.ingress,
  };
}

const servedCache = new WeakMap<Wish, ReadonlySet<string>>();

/** Networks with a VIP, and the ingress network: on others no frame shall pay for a balancer. Made once for each reading of the wish. */
export function isServed(wish: Wish, { id, spec }: Stored<'networks'>): boolean {
  let served = servedCache.get(wish);
  if (!served) {
    const services = [...wish.services.values()].map((service) => service.spec);
    served = new Set(services.flatMap(({ networks, vips }) => networks.filter((network) => vips[network]?.length)));
    servedCache.set(wish, served);
  }
  return spec.ingress || served.has(id);
}

/** What balancing needs in a network's namespace whatever its services. */
export function balanceNetwork(world: World, network: Stored<'networks'>, wants: Wants): void {
  if (!isServed(world.wish, network)) return;
  const arena = arenaOf(world, network);
  const balancer = BALANCERS[world.balancer.name];
  balancer.arena(world, arena, wants);
  if (!arena.ingress) return;
  const addresses = ownIngressAddresses(world, network);
  for (const own of addresses) {
    balancer.ingress(world, arena, own, endpointMac(primary(addresses) as Ip), wants);
  }
}

/** An endpoint of this node, as a client of VIPs. */
export function balanceClient(
  world: World,
  network: Stored<'networks'>,
  endpoint: Stored<'endpoints'>,
  wants: Wants,
): void {
  if (!isServed(world.wish, network)) return;
  BALANCERS[world.balancer.name].client(world, arenaOf(world, network), endpoint.spec.mac, wants);
}

/** What is asked of a balancer, and where. */
export interface Asked {
  arena: Arena;
  assignment: Assignment;
}

/** What a service asks of the balancer: of each network with its VIPs, and of the ingress network with its published ports. */
export function* assignmentsOf(world: World, service: Stored<'services'>): Generator<Asked> {
  for (const network of world.wish.networks.values()) {
    if (!isHere(world, network)) continue;
    if (network.spec.ingress) yield* publish(world, network, service);
    else if (service.spec.networks.includes(network.id)) yield* vip(world, network, service);
  }
}

/** A service: its VIPs on every network it is on, and its published ports on the ingress network. */
export function balanceService(world: World, service: Stored<'services'>, wants: Wants): void {
  for (const { arena, assignment } of assignmentsOf(world, service)) {
    // The bridge answers ARP, ND and ping for the VIP, and refuses what finds no backend.
    for (const { ip } of arena.ingress ? [] : assignment.frontends) {
      wants.add(arena.ns, 'address', `VIP of ${service.id}`, { dev: BRIDGE, ip, length: bits(assignment.family) });
    }
    BALANCERS[world.balancer.name].service(world, arena, assignment, wants);
  }
}

function* vip(world: World, network: Stored<'networks'>, service: Stored<'services'>): Generator<Asked> {
  const arena = arenaOf(world, network);
  for (const of of arena.families) {
    const vips = (service.spec.vips[network.id] ?? []).filter((ip) => family(ip) === of);
    if (vips.length === 0) continue;
    const frontends = vips.map((ip, i) => ({ ip, label: `${of}-${i}` }));
    const backends = preferred(service, backendsOf(world.wish, service.id, network.id, of));
    const assignment = { service, network: network.id, family: of, frontends, backends };
    yield { arena, assignment };
  }
}

function* publish(world: World, network: Stored<'networks'>, service: Stored<'services'>): Generator<Asked> {
  const arena = arenaOf(world, network);
  const ports = meshPorts(world.wish).get(service.id) ?? [];
  for (const own of ownIngressAddresses(world, network)) {
    const of = family(own);
    if (!arena.families.includes(of)) continue;
    const all = preferred(service, backendsOf(world.wish, service.id, network.id, of));
    for (const policy of ['cluster', 'local'] as const) {
      const frontends = publishedFrontends(
        own,
        ports.filter((p) => p.policy === policy),
      );
      if (frontends.length === 0) continue;
      const backends = policy === 'local' ? localBackends(all) : all;
      const assignment = { service, network: network.id, family: of, frontends, backends };
      yield { arena, assignment };
    }
  }
}
