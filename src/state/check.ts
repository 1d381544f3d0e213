import { cidrText, contains, last, overlaps, type Prefix, parseCidr } from '../base/cidr.js';
import { WeftError } from '../base/errors.js';
import { family, type Ip } from '../base/ip.js';
import type { Endpoint } from '../model/endpoint.js';
import { endpointsOf, holdersOf } from '../model/holders.js';
import { hasInterfaces, isLocalScope, type Network } from '../model/network.js';
import { SINGULAR, type Stored, type Table, type Wish } from '../model/registry.js';
import type { Sandbox } from '../model/sandbox.js';
import { NAME_PATTERN } from '../model/scalars.js';
import type { Scheduler, Service } from '../model/service.js';
import { checkDriver, checkDriverAgainst } from './check-driver.js';
import { checkPlace, checkRoutes, checkSysctls } from './check-endpoint.js';
import { vnisOf } from './overlay.js';
import { asPrefix } from './pools.js';
import { checkRoom, checkSubnets } from './subnets.js';

/** Refuses ids that cannot be names. Peers have composite keys of the control plane's making. */
export function checkId(table: Table, id: string): void {
  const parts = table === 'endpoints' ? id.split(':') : table === 'peers' ? [] : [id];
  if (table === 'endpoints' && parts.length !== 2) {
    throw new WeftError(
      'WEFT_INVALID_NAME',
      `"${id}" is not SANDBOX:NETWORK`,
      'the id of an endpoint is its sandbox and network',
    );
  }
  const bad = parts.find((part) => !NAME_PATTERN.test(part));
  if (bad !== undefined || id === '') {
    throw new WeftError('WEFT_INVALID_NAME', `"${bad ?? id}" is not a name`, 'use 1-63 of [a-zA-Z0-9][a-zA-Z0-9_.-]*');
  }
}

/** Refuses networks that contradict themselves or others. Throws before anything changes. */
export function checkNetwork(wish: Wish, id: string, spec: Network): void {
  checkNetworkAlone(id, spec);
  const prefixes = spec.subnets.map(parseCidr);
  for (const other of wish.networks.values()) if (other.id !== id) checkAgainst(id, spec, prefixes, other);
}

/** Refuses networks that contradict themselves or ask for what is not there yet. */
export function checkNetworkAlone(id: string, spec: Network): void {
  if (spec.encrypted) {
    throw new WeftError(
      'WEFT_NOT_SUPPORTED',
      `network "${id}": encrypted overlays are not supported yet`,
      'leave out --encrypted',
    );
  }
  checkDriver(id, spec);
  if (!hasInterfaces(spec.driver)) return;
  if (spec.subnets.length === 0) throw subnetError(`network "${id}" has no subnet`, 'give --subnet CIDR');
  const prefixes = spec.subnets.map(parseCidr);
  checkSubnets(spec, prefixes);
  for (const [i, prefix] of prefixes.entries()) {
    const text = spec.subnets[i] as string;
    const smallest = prefix.family === 4 ? 30 : 126;
    if (prefix.length > smallest)
      throw subnetError(`${text} has no room for a gateway and an endpoint`, `use a /${smallest} or larger`);
    const twin = prefixes.slice(0, i).find((other) => overlaps(other, prefix));
    if (twin) throw subnetError(`${text} overlaps ${cidrText(twin)} of the same network`, 'give each subnet once');
    checkGateway(text, prefix, spec.gateways[i]);
  }
  const extra = spec.gateways[prefixes.length];
  if (extra !== undefined) {
    const second = prefixes.find((prefix) => contains(prefix, extra));
    const why = second ? `a second gateway of ${cidrText(second)}` : `outside ${spec.subnets.join(', ')}`;
    throw subnetError(`gateway ${extra} is ${why}`, 'give one address of each subnet at most');
  }
  for (const range of spec.ipRanges) {
    const inner = parseCidr(range);
    if (!prefixes.some((p) => contains(p, inner.first) && inner.length >= p.length)) {
      throw subnetError(`range ${range} is not inside ${spec.subnets.join(', ')}`, 'give a part of a subnet');
    }
  }
  checkRoom(spec);
}

function subnetError(message: string, hint: string): WeftError {
  return new WeftError('WEFT_INVALID_SUBNET', message, hint);
}

function checkGateway(text: string, prefix: Prefix, gateway: Ip | undefined): void {
  if (gateway === prefix.first || (prefix.family === 4 && gateway === last(prefix))) {
    const what = prefix.family === 4 ? 'network or broadcast address' : 'subnet-router anycast address (RFC 4291)';
    throw subnetError(`gateway ${gateway} is the ${what} of ${text}`, 'choose another address');
  }
}

function checkAgainst(id: string, spec: Network, prefixes: Prefix[], other: Stored<'networks'>): void {
  checkDriverAgainst(id, spec, other);
  const vni = vnisOf(spec).find((mine) => vnisOf(other.spec).includes(mine));
  if (vni !== undefined) {
    throw new WeftError('WEFT_CONFLICT', `VNI ${vni} is used by network "${other.id}"`, 'choose another --vni');
  }
  if (spec.ingress && other.spec.ingress) {
    throw new WeftError(
      'WEFT_CONFLICT',
      `"${other.id}" is the ingress network; "${id}" would be a second`,
      'a node has one',
    );
  }
  for (const text of other.spec.subnets) {
    const clash = prefixes.find((prefix) => overlaps(prefix, parseCidr(text)));
    if (clash) {
      throw new WeftError(
        'WEFT_CONFLICT',
        `${cidrText(clash)} overlaps ${text} of network "${other.id}"`,
        'choose another --subnet',
      );
    }
  }
}

/** Networks cannot change under their endpoints: what shapes the kernel objects is fixed once made. */
export function checkNetworkChange(before: Stored<'networks'>, spec: Network): void {
  const fixed = ['driver', 'subnets', 'gateways', 'vni', 'vnis', 'ingress'] as const;
  const changed = fixed.filter((field) => JSON.stringify(before.spec[field]) !== JSON.stringify(spec[field]));
  if (changed.length === 0) return;
  throw new WeftError(
    'WEFT_CONFLICT',
    `network "${before.id}" exists with another ${changed.join(', ')}`,
    `remove it first, or choose another name`,
  );
}

/** Names the objects that keep a network from being removed. */
export function checkNetworkRemoval(wish: Wish, id: string): void {
  const endpoints = [...wish.endpoints.values()].filter((e) => e.spec.network === id).map((e) => e.id);
  const services = [...wish.services.values()].filter((s) => s.spec.networks.includes(id)).map((s) => s.id);
  if (endpoints.length) throw inUse('network', id, 'endpoints', endpoints, `weft disconnect SANDBOX ${id}`);
  if (services.length) throw inUse('network', id, 'services', services, 'weft service rm NAME');
}

export function checkSandboxRemoval(wish: Wish, id: string): void {
  const endpoints = endpointsOf(wish, id).map((e) => e.id);
  if (endpoints.length) throw inUse('sandbox', id, 'endpoints', endpoints, `weft disconnect ${id} NETWORK`);
  const sharing = [...wish.sandboxes.values()].filter((s) => s.spec.share === id).map((s) => s.id);
  if (sharing.length) throw inUse('sandbox', id, 'sandboxes in its namespace', sharing, 'weft sandbox rm NAME');
}

function inUse(what: string, id: string, users: string, names: string[], command: string): WeftError {
  const shown = names.slice(0, 5).join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '');
  return new WeftError('WEFT_IN_USE', `${what} "${id}" has ${users}: ${shown}`, `${command} first`, { [users]: names });
}

export function checkSandbox(wish: Wish, id: string, spec: Sandbox, before: Stored<'sandboxes'> | undefined): void {
  if (id.startsWith('net-') || id === 'ingress') {
    throw new WeftError(
      'WEFT_INVALID_NAME',
      `"${id}" is reserved for namespaces of networks`,
      'choose a name that does not start with net-',
    );
  }
  checkShare(wish, id, spec);
  checkNameServers(id, spec);
  if (spec.host && spec.ports.length > 0) {
    throw new WeftError(
      'WEFT_INVALID_ARGUMENT',
      `sandbox "${id}" is in the namespace of the node, whose ports it has without weft`,
      'leave out ports',
    );
  }
  const fixed = ['netns', 'pid', 'host', 'share'] as const;
  if (before && fixed.some((field) => before.spec[field] !== spec[field])) {
    throw new WeftError(
      'WEFT_CONFLICT',
      `sandbox "${id}" exists with another namespace`,
      `weft sandbox rm ${id} first`,
    );
  }
}

/** Where the resolver of a sandbox answers in it. */
const RESOLVER = '127.0.0.11';

function checkNameServers(id: string, { dns, dnsSplit, dnsFrom }: Sandbox): void {
  const servers = [dns, ...Object.values(dnsSplit)].flat();
  if (dnsFrom !== 'sandbox' || !servers.some((server) => server.split('#')[0] === RESOLVER)) return;
  throw new WeftError(
    'WEFT_INVALID_ARGUMENT',
    `the resolver of sandbox "${id}" would ask itself: in the sandbox ${RESOLVER} is its own address`,
    'give another name server, or --dns-from node',
  );
}

/** The namespace that a sandbox shares is another's own. */
function checkShare(wish: Wish, id: string, { share }: Sandbox): void {
  if (share === undefined) return;
  const other = wish.sandboxes.get(share)?.spec;
  if (!other) throw missing('sandbox', share, `weft sandbox create ${share}`);
  if (share !== id && other.share === undefined && !other.host) return;
  const what = other.host ? 'is in the namespace of the node' : `shares that of "${other.share ?? share}"`;
  throw new WeftError(
    'WEFT_CONFLICT',
    `sandbox "${share}" has no namespace of its own: it ${what}`,
    other.host ? 'give --host' : 'share that one',
  );
}

/** Refuses endpoints outside their network or on top of another's address. */
export function checkEndpoint(wish: Wish, id: string, spec: Endpoint): void {
  const network = wish.networks.get(spec.network);
  if (!network) throw missing('network', spec.network, 'weft network ls');
  if (!wish.sandboxes.has(spec.sandbox)) throw missing('sandbox', spec.sandbox, `weft sandbox create ${spec.sandbox}`);
  checkPlace(wish, id, spec, network);
  if (Object.keys(spec.bandwidth).length > 0 && !LIMITED.has(network.spec.driver)) {
    throw new WeftError(
      'WEFT_NOT_SUPPORTED',
      `endpoint "${id}": driver ${network.spec.driver} has no host end at which to limit bandwidth`,
      'limit it at the parent, or use driver bridge',
    );
  }
  checkSysctls(id, spec);
  const siblings = endpointsOf(wish, spec.sandbox).filter((e) => e.id !== id);
  checkRoutes(wish, id, spec, siblings);
  if (!hasInterfaces(network.spec.driver)) return;
  checkFamilies(spec.addresses);
  for (const ip of spec.addresses) checkAddress(wish, network, ip, id);
  checkMac(wish, network.id, spec.mac, id);
  checkInterfaceName(spec.ifname);
  const twin = siblings.find((e) => e.spec.ifname === spec.ifname);
  if (twin)
    throw new WeftError(
      'WEFT_CONFLICT',
      `interface ${spec.ifname} of "${spec.sandbox}" belongs to ${twin.id}`,
      'choose another --ifname',
    );
}

/** Drivers whose endpoints have an end on the node, where a limit is out of the container's reach. */
const LIMITED: ReadonlySet<string> = new Set(['overlay', 'bridge']);

/** Names that the kernel refuses or uses itself, below /proc/sys/net too, and the leg to the gateway bridge. */
const RESERVED_INTERFACES = new Set(['.', '..', 'all', 'default', 'lo', 'gw0']);

function checkInterfaceName(ifname: string): void {
  if (!RESERVED_INTERFACES.has(ifname)) return;
  throw new WeftError(
    'WEFT_INVALID_NAME',
    `"${ifname}" cannot be the name of an endpoint's interface`,
    'for example eth1',
  );
}

/** One MAC address at two places of a network: frames would go to either. */
function checkMac(wish: Wish, network: string, mac: string, claimant: string): void {
  const holder = holdersOf(wish, network).ofMac(mac).find(isAnother(claimant));
  if (!holder) return;
  throw new WeftError(
    'WEFT_CONFLICT',
    `MAC ${mac} on network "${network}" belongs to ${holderText(holder)}`,
    'give another --mac',
  );
}

/** At most one address a family. */
export function checkFamilies(addresses: readonly Ip[]): void {
  const second = addresses.find((ip, i) => addresses.slice(0, i).some((other) => family(other) === family(ip)));
  if (second === undefined) return;
  const first = addresses.find((ip) => family(ip) === family(second));
  throw new WeftError('WEFT_INVALID_ADDRESS', `${first} and ${second} are of one family`, 'give at most one of each');
}

/** The address is in a subnet of the network and nobody else's. */
export function checkAddress(wish: Wish, network: Stored<'networks'>, ip: Ip, claimant: string): void {
  const subnet = network.spec.subnets.map(parseCidr).find((p) => contains(p, ip));
  if (!subnet) {
    throw new WeftError(
      'WEFT_INVALID_ADDRESS',
      `${ip} is outside ${network.spec.subnets.join(', ')} of network "${network.id}"`,
      'choose an address of its subnets',
    );
  }
  if (ip === subnet.first || (family(ip) === 4 && ip === last(subnet))) {
    const what = family(ip) === 4 ? 'network or broadcast address' : 'subnet-router anycast address (RFC 4291)';
    throw new WeftError(
      'WEFT_INVALID_ADDRESS',
      `${ip} is the ${what} of ${cidrText(subnet)}`,
      'choose another address',
    );
  }
  const gateway = network.spec.gateways.includes(ip);
  const holder = holdersOf(wish, network.id).of(ip).find(isAnother(claimant));
  if (!gateway && !holder) return;
  throw new WeftError(
    'WEFT_CONFLICT',
    `${ip} on network "${network.id}" belongs to ${gateway || !holder ? 'the gateway' : holderText(holder)}`,
    'choose another address',
  );
}

/** Static requests for what is reserved are refused, as Docker's for auxiliary addresses: somebody else has it. */
export function checkReserved(network: Stored<'networks'>, addresses: readonly Ip[], before: readonly Ip[]): void {
  for (const ip of addresses) {
    const reserved = network.spec.reserved.find((text) => contains(asPrefix(text), ip));
    if (reserved === undefined || before.includes(ip)) continue;
    throw new WeftError(
      'WEFT_CONFLICT',
      `${ip} is reserved on network "${network.id}" (${reserved})`,
      'choose another address',
    );
  }
}

/** The word of an endpoint's old node may still be about when it comes here with its address: NODE/SANDBOX:NETWORK. */
const isAnother =
  (claimant: string) =>
  (holder: Stored): boolean =>
    holderText(holder) !== claimant && !(holder.table === 'peers' && holder.id.endsWith(`/${claimant}`));

const holderText = ({ table, id }: Stored): string => (table === 'endpoints' ? id : `${SINGULAR[table]} ${id}`);

export function missing(what: string, id: string, command?: string): WeftError {
  return new WeftError('WEFT_NOT_FOUND', `there is no ${what} "${id}"`, command);
}

/** Refuses services that name absent networks, take used addresses, or ask for what is not there yet. */
export function checkService(wish: Wish, id: string, spec: Service, balancing: Balancing): void {
  for (const network of spec.networks) {
    const stored = wish.networks.get(network);
    if (!stored) throw missing('network', network, 'weft network ls');
    checkSpanning(stored, `service "${id}"`);
    checkFamilies(spec.vips[network] ?? []);
    for (const ip of spec.vips[network] ?? []) checkAddress(wish, stored, ip, `service ${id}`);
  }
  for (const network of Object.keys(spec.vips)) {
    if (!spec.networks.includes(network)) {
      throw new WeftError(
        'WEFT_INVALID_ARGUMENT',
        `service "${id}" has a VIP on "${network}" but is not on that network`,
        'add the network, or leave out the VIP',
      );
    }
  }
  checkVipPorts(id, spec);
  checkScheduler(id, spec, balancing);
}

/** A port of a VIP leads to one port. */
function checkVipPorts(id: string, { ports }: Service): void {
  const twice = ports.find(({ port, proto }, i) =>
    ports.slice(0, i).some((other) => other.port === port && other.proto === proto),
  );
  if (!twice) return;
  throw new WeftError(
    'WEFT_INVALID_PORT',
    `service "${id}" leads port ${twice.port}/${twice.proto} of its VIP to two ports`,
    'give each port and protocol once',
  );
}

/** Refuses what has parts on several nodes on a network that has not. */
export function checkSpanning({ id, spec }: Stored<'networks'>, what: string): void {
  if (!isLocalScope(spec.driver)) return;
  throw new WeftError(
    'WEFT_INVALID_ARGUMENT',
    `${what} cannot be on network "${id}": driver ${spec.driver} ends at this node`,
    'use an overlay network',
  );
}

/** What this node's balancer can do. */
export interface Balancing {
  name: string;
  schedulers: readonly Scheduler[];
}

function checkScheduler(id: string, { scheduler }: Service, { name, schedulers }: Balancing): void {
  if (schedulers.includes(scheduler)) return;
  throw new WeftError(
    'WEFT_NOT_SUPPORTED',
    `service "${id}": balancer ${name} of this node cannot do scheduler ${scheduler}`,
    `use ${schedulers.join(', ')}, or run the agents with --lb ipvs`,
  );
}
