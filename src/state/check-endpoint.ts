import { cidrText, contains, overlaps, parseCidr } from '../base/cidr.js';
import { WeftError } from '../base/errors.js';
import { family } from '../base/ip.js';
import type { Endpoint } from '../model/endpoint.js';
import { hasInterfaces } from '../model/network.js';
import { optionsOf } from '../model/options.js';
import type { Stored, Wish } from '../model/registry.js';

const metricOf = ({ metric }: Endpoint['routes'][number]): number => metric ?? 0;

/** Refuses static routes that cannot work or that another route of the sandbox stands for. @throws WEFT_INVALID_ARGUMENT, WEFT_CONFLICT */
export function checkRoutes(wish: Wish, id: string, spec: Endpoint, siblings: readonly Stored<'endpoints'>[]): void {
  const networks = [...siblings.map((e) => e.spec.network), spec.network].flatMap((n) => wish.networks.get(n) ?? []);
  const others = siblings.flatMap((e) => e.spec.routes.map((route) => ({ route, by: e.id })));
  for (const [i, route] of spec.routes.entries()) {
    checkRoute(wish.networks.get(spec.network) as Stored<'networks'>, id, spec, route);
    const same = (other: typeof route) => other.dst === route.dst && metricOf(other) === metricOf(route);
    const twin = spec.routes.slice(0, i).some(same) ? id : others.find((other) => same(other.route))?.by;
    const subnet = networks.find((network) => network.spec.subnets.includes(route.dst));
    const holder = twin ?? (subnet && `the subnet of network "${subnet.id}"`);
    if (holder === undefined) continue;
    throw new WeftError('WEFT_CONFLICT', `endpoint "${id}": ${holder} has route ${route.dst}`, 'give another metric');
  }
}

function checkRoute(
  network: Stored<'networks'>,
  id: string,
  { addresses }: Endpoint,
  route: Endpoint['routes'][number],
): void {
  const { dst, via, type } = route;
  const refuse = (why: string, hint: string): never => {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `endpoint "${id}": route ${dst} ${why}`, hint);
  };
  const prefix = parseCidr(dst);
  if (prefix.length === 0) refuse('is the default route', 'the network’s gateway gives it: see gwPriority');
  if (type !== 'unicast' && via !== undefined) refuse(`is ${type} and has a next hop`, 'leave out via');
  if (type === 'unicast' && !addresses.some((ip) => family(ip) === prefix.family))
    refuse(`is IPv${prefix.family}, and the endpoint has no address of it`, 'give the network a subnet of that family');
  if (via === undefined) return;
  if (family(via) !== prefix.family) refuse(`has next hop ${via} of the other family`, 'give one of its own');
  const subnet = network.spec.subnets.map(parseCidr).find((s) => contains(s, via));
  if (!subnet) refuse(`has next hop ${via} outside ${network.spec.subnets.join(', ')}`, 'give one on the network');
  if (subnet && overlaps(subnet, prefix) && contains(prefix, via) && prefix.length >= subnet.length)
    refuse(`leads to its own next hop, in ${cidrText(subnet)}`, 'leave it out: the subnet is reached directly');
}

/** Settings that weft keeps itself, where the endpoint's place in the network needs them. */
const KEPT = /\.(accept_local|src_valid_mark|disable_ipv6|accept_ra)$/;

/** @throws WEFT_INVALID_ARGUMENT */
export function checkSysctls(id: string, { sysctls }: Endpoint): void {
  const kept = Object.keys(sysctls).find((key) => KEPT.test(key));
  if (kept === undefined) return;
  throw new WeftError('WEFT_INVALID_ARGUMENT', `endpoint "${id}": weft keeps ${kept} itself`, 'leave it out');
}

/** What the namespace of the sandbox allows. @throws WEFT_CONFLICT, WEFT_INVALID_ARGUMENT */
export function checkPlace(wish: Wish, id: string, spec: Endpoint, network: Stored<'networks'>): void {
  const sandbox = wish.sandboxes.get(spec.sandbox)?.spec;
  const { driver } = network.spec;
  if (sandbox?.share !== undefined) {
    throw new WeftError(
      'WEFT_CONFLICT',
      `sandbox "${spec.sandbox}" shares the namespace of "${sandbox.share}", with its endpoints`,
      `weft connect ${sandbox.share} ${network.id}`,
    );
  }
  if ((sandbox?.host === true) !== (driver === 'host')) {
    throw new WeftError(
      'WEFT_CONFLICT',
      driver === 'host'
        ? `network "${network.id}" is the node's own, and sandbox "${spec.sandbox}" has a namespace of its own`
        : `sandbox "${spec.sandbox}" is in the node's namespace, where network "${network.id}" has no endpoints`,
      driver === 'host' ? 'weft sandbox create NAME --host' : 'connect it to a network of driver host, or to none',
    );
  }
  if (!hasInterfaces(driver) && (spec.addresses.length > 0 || spec.routes.length > 0 || hasSettings(spec))) {
    throw new WeftError(
      'WEFT_INVALID_ARGUMENT',
      `endpoint "${id}": driver ${driver} makes no interface that could have addresses, routes or settings`,
      'leave them out',
    );
  }
  if (driver === 'macvlan' && optionsOf('macvlan', network.spec).mode === 'passthru') checkSingle(wish, id, network.id);
}

const hasSettings = ({ sysctls }: Endpoint): boolean => Object.keys(sysctls).length > 0;

/** In passthru one link has all that the parent receives. */
function checkSingle(wish: Wish, id: string, network: string): void {
  const holder = [...wish.endpoints.values()].find((e) => e.spec.network === network && e.id !== id);
  if (!holder) return;
  throw new WeftError(
    'WEFT_CONFLICT',
    `network "${network}" is in mode passthru, and ${holder.id} has its parent`,
    `weft disconnect ${holder.spec.sandbox} ${network}, or use mode bridge`,
  );
}
