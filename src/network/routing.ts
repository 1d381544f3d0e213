import { type Cidr, type Family, family } from '../base/ip.js';
import { optionsOf, parentOf } from '../model/options.js';
import type { Stored } from '../model/registry.js';
import { MAIN_TABLE } from '../objects/route.js';
import { gatewayFor } from './addressing.js';
import { endpointsOf } from './on-network.js';
import { familiesOf, type Wants, type World } from './world.js';

export const DEFAULT_ROUTE: Readonly<Record<Family, Cidr>> = { 4: '0.0.0.0/0', 6: '::/0' };

type Endpoint = Stored<'endpoints'>;
type Network = Stored<'networks'>;

/**
 * The endpoint by which packets to anywhere leave a sandbox: of those that may (network not internal, not
 * `defaultRoute: false`) and can in that family, the one with the highest `gwPriority`, of equals the first by the name
 * of its network. An overlay's way out is the sandbox's leg to the gateway bridge.
 */
export function wayOut(world: Leading, sandbox: string, of: Family): Endpoint | undefined {
  let best: Endpoint | undefined;
  for (const endpoint of endpointsOf(world.wish, sandbox)) {
    const network = world.wish.networks.get(endpoint.spec.network);
    if (!network || !leadsOut(world, network, endpoint, of)) continue;
    if (!best || precedes(endpoint.spec, best.spec)) best = endpoint;
  }
  return best;
}

/** Does the sandbox's default route of that family lead over the gateway bridge? */
export function leavesByGateway(world: Leading, sandbox: string, of: Family): boolean {
  const out = wayOut(world, sandbox, of);
  return out !== undefined && world.wish.networks.get(out.spec.network)?.spec.driver === 'overlay';
}

type Leading = Pick<World, 'wish' | 'gateway'>;

const precedes = (a: Endpoint['spec'], b: Endpoint['spec']): boolean =>
  a.gwPriority > b.gwPriority || (a.gwPriority === b.gwPriority && a.network < b.network);

function leadsOut(world: Leading, network: Network, { spec }: Endpoint, of: Family): boolean {
  if (!spec.defaultRoute || network.spec.internal) return false;
  if (network.spec.driver === 'overlay') return reachesGateway(world, network, of);
  if (network.spec.driver === 'macvlan' || network.spec.driver === 'ipvlan') {
    // A dummy leads nowhere.
    if (parentOf(network).own) return false;
  }
  return spec.addresses.some((ip) => family(ip) === of);
}

/** IPv4 always, as Docker's users expect; IPv6 where the network has it, and the node. */
const reachesGateway = ({ gateway }: Leading, network: Network, of: Family): boolean =>
  gateway[of] !== undefined && (of === 4 || familiesOf(network).includes(of));

/** An endpoint's default routes, where it is the way out and has a router on its own network, and its static routes. */
export function endpointRoutes(world: World, network: Network, endpoint: Endpoint, wants: Wants): void {
  const { sandbox, ifname: dev, addresses } = endpoint.spec;
  for (const ip of network.spec.driver === 'overlay' ? [] : addresses) {
    const of = family(ip);
    if (wayOut(world, sandbox, of) !== endpoint) continue;
    const via = isRouted(network) ? {} : { via: gatewayFor(network, ip) };
    const route = { dst: DEFAULT_ROUTE[of], dev, ...via, table: MAIN_TABLE };
    wants.add(sandbox, 'route', `default route of ${endpoint.id}`, route);
  }
}

/** An ipvlan of layer 3 hands packets to the node's routes by itself; it asks no neighbour. */
const isRouted = (network: Network): boolean =>
  network.spec.driver === 'ipvlan' && optionsOf('ipvlan', network.spec).mode !== 'l2';

const SETTING = /^net\.(ipv4|ipv6)\.(conf|neigh)\.IFNAME\.(.+)$/;

/** An endpoint's own routes, and its settings of the interface. */
export function endpointSettings({ id, spec }: Endpoint, wants: Wants): void {
  const { sandbox, ifname, routes, sysctls } = spec;
  for (const { dst, via, metric, type } of routes) {
    const how = type === 'unicast' ? { dev: ifname, ...(via !== undefined && { via }) } : { type };
    const route = { dst, ...how, ...(metric !== undefined && { metric }), table: MAIN_TABLE };
    wants.add(sandbox, 'route', `route of ${id}`, route);
  }
  for (const [key, value] of Object.entries(sysctls)) {
    const [, family, group, name] = SETTING.exec(key) as unknown as string[];
    wants.sysctls(sandbox, `setting of ${id}`, { [`net/${family}/${group}/${ifname}/${name}`]: value });
  }
}
