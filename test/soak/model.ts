import type { Random } from './random.js';

export type Family = 4 | 6;
/** Of all drivers the soak asks for these. */
type Driver = 'overlay' | 'bridge';

/** What the orchestrator of the soak has asked for and got: what should be, kept apart from weft. */
export interface Network {
  name: string;
  driver: Driver;
  /** 0 for a bridge network. */
  vni: number;
  /** By family: `10.30.7.` is 10.30.7.0/24, and `fd30:7::` a /64; the gateway is the first address. */
  prefixes: Partial<Record<Family, string>>;
  internal: boolean;
  /** Nodes by number that were asked for it over the socket; others know an overlay by gossip. */
  askedOf: Set<number>;
}

export interface Endpoint {
  sandbox: string;
  network: string;
  /** IPv4 before IPv6; the MAC follows from the first. */
  addresses: string[];
  ifname: string;
  extras: Extras;
}

/** What an endpoint has besides its addresses. */
export interface Extras {
  routes: { dst: string; via?: string; type?: 'blackhole' | 'unreachable' }[];
  /** Bits a second. */
  bandwidth: { toSandbox?: number; fromSandbox?: number };
}

export interface Sandbox {
  name: string;
  node: number;
  /** By network. */
  endpoints: Map<string, Endpoint>;
  /** Ports of its node that lead to it, of TCP. */
  ports: Set<number>;
}

/** So few that names, VNIs and subnets come again with other neighbours. */
const NETWORKS = 6;
const BRIDGES = 4;
const SANDBOXES = 18;
const FIRST_VNI = 5000;
/** Of the hosts of a subnet. */
const HOSTS = 40;
/** What may be published; a number is used once in the cluster, so that it can move with its sandbox. */
export const PORTS: readonly number[] = Array.from({ length: 24 }, (_, n) => 7000 + n);

/** The n-th address of a network in a family. */
export const addressOf = ({ prefixes }: Network, of: Family, n: number): string =>
  `${prefixes[of]}${of === 6 ? n.toString(16) : n}`;

export const familiesOf = ({ prefixes }: Network): Family[] => ([4, 6] as const).filter((of) => prefixes[of]);

export const LENGTH: Readonly<Record<Family, number>> = { 4: 24, 6: 64 };

export const familyOf = (ip: string): Family => (ip.includes(':') ? 6 : 4);

/** Name of the bridge of such a network. */
export const bridgeOf = ({ name }: Network): string => `x-${name}`;

/** Body of `PUT /v1/networks/NAME`. */
export function bodyOf(network: Network): object {
  const { driver, vni, internal } = network;
  const subnets = familiesOf(network).map((of) => `${network.prefixes[of]}${of === 4 ? '0' : ''}/${LENGTH[of]}`);
  return driver === 'overlay'
    ? { subnets, vni, internal }
    : { driver, subnets, internal, options: { name: bridgeOf(network) } };
}

export class Model {
  readonly networks = new Map<string, Network>();
  readonly sandboxes = new Map<string, Sandbox>();

  endpoints(): Endpoint[] {
    return [...this.sandboxes.values()].flatMap(({ endpoints }) => [...endpoints.values()]);
  }

  on(network: string): Endpoint[] {
    return this.endpoints().filter((endpoint) => endpoint.network === network);
  }

  at(node: number): Sandbox[] {
    return [...this.sandboxes.values()].filter((sandbox) => sandbox.node === node);
  }

  nodeOf(endpoint: Endpoint): number {
    return (this.sandboxes.get(endpoint.sandbox) as Sandbox).node;
  }

  /** Networks that a node carries: asked for there, or with an endpoint there. */
  carriedBy(node: number, driver?: Driver): Network[] {
    return [...this.networks.values()].filter(
      (network) =>
        (driver ?? network.driver) === network.driver &&
        (network.askedOf.has(node) || this.on(network.name).some((endpoint) => this.nodeOf(endpoint) === node)),
    );
  }

  /** Sandboxes of a node with a leg to the gateway bridge. */
  withGateway(node: number): Sandbox[] {
    const open = ({ network }: Endpoint) => {
      const { driver, internal } = this.networks.get(network) as Network;
      return driver === 'overlay' && !internal;
    };
    return this.at(node).filter(({ endpoints }) => [...endpoints.values()].some(open));
  }

  /** The interface by which packets to anywhere leave a sandbox: the first network by name that leads out decides. */
  wayOut({ endpoints }: Sandbox, of: Family): string | undefined {
    for (const { network: name, ifname, addresses } of [...endpoints.values()].sort((a, b) =>
      a.network < b.network ? -1 : 1,
    )) {
      const { driver, internal, prefixes } = this.networks.get(name) as Network;
      if (internal) continue;
      if (driver === 'bridge' && addresses.some((ip) => familyOf(ip) === of)) return ifname;
      if (driver === 'overlay' && (of === 4 || prefixes[6])) return 'gw0';
    }
    return undefined;
  }

  /** An overlay that does not exist yet; undefined where all do. */
  newNetwork(random: Random): Network | undefined {
    const all = [...this.networks.values()];
    const name = free(random, NETWORKS, (n) => this.networks.has(`net${n + 1}`));
    const vni = free(random, NETWORKS, (n) => all.some((network) => network.vni === FIRST_VNI + n));
    const prefixesOf = (n: number) => ({ 4: `10.30.${n + 1}.`, 6: `fd30:${n + 1}::` });
    const taken = (n: number) =>
      all.some(({ prefixes }) => prefixes[4] === prefixesOf(n)[4] || prefixes[6] === prefixesOf(n)[6]);
    const subnet = free(random, NETWORKS, taken);
    if (name === undefined || vni === undefined || subnet === undefined) return undefined;
    return {
      name: `net${name + 1}`,
      driver: 'overlay',
      vni: FIRST_VNI + vni,
      prefixes: someFamilies(random, prefixesOf(subnet)),
      internal: random.chance(0.3),
      askedOf: new Set(),
    };
  }

  /** A bridge network that does not exist yet; undefined where all do. */
  newBridge(random: Random): Network | undefined {
    const n = free(random, BRIDGES, (i) => this.networks.has(`br${i + 1}`));
    if (n === undefined) return undefined;
    const prefixes = someFamilies(random, { 4: `10.40.${n + 1}.`, 6: `fd40:${n + 1}::` });
    return { name: `br${n + 1}`, driver: 'bridge', vni: 0, prefixes, internal: random.chance(0.3), askedOf: new Set() };
  }

  /** Networks that a sandbox can be connected to and is not. */
  open({ endpoints, node }: Sandbox): Network[] {
    return [...this.networks.values()].filter(
      ({ name, driver, askedOf }) => !endpoints.has(name) && (driver === 'overlay' || askedOf.has(node)),
    );
  }

  /** A sandbox that does not exist yet, on that node. */
  newSandbox(random: Random, node: number): Sandbox | undefined {
    const names = Array.from({ length: SANDBOXES }, (_, n) => `c${n + 1}`);
    const name = random.pick(names.filter((one) => !this.sandboxes.has(one)));
    return name === undefined ? undefined : { name, node, endpoints: new Map(), ports: new Set() };
  }

  /** Addresses of the network that nobody has, one a family. */
  freeAddresses(random: Random, network: Network): string[] {
    const used = new Set(this.on(network.name).flatMap(({ addresses }) => addresses));
    return familiesOf(network).map((of) => {
      for (;;) {
        const address = addressOf(network, of, 2 + random.int(HOSTS));
        if (!used.has(address)) return address;
      }
    });
  }

  /** A port that nobody has published. */
  freePort(random: Random): number | undefined {
    const used = new Set([...this.sandboxes.values()].flatMap(({ ports }) => [...ports]));
    return random.pick(PORTS.filter((port) => !used.has(port)));
  }
}

const free = (random: Random, count: number, taken: (n: number) => boolean): number | undefined =>
  random.pick(Array.from({ length: count }, (_, n) => n).filter((n) => !taken(n)));

/** Most networks have both families, some one. */
function someFamilies(random: Random, all: Record<Family, string>): Network['prefixes'] {
  const drawn = random.next();
  if (drawn < 0.6) return all;
  return drawn < 0.85 ? { 4: all[4] } : { 6: all[6] };
}

/** Static routes and limits of a new endpoint; destinations differ by network, so that no two of a sandbox meet. */
export function newExtras(random: Random, network: Network): Extras {
  const routes = familiesOf(network).flatMap((of): Extras['routes'] => {
    if (!random.chance(0.25)) return [];
    const number = network.name.replace('net', '1').replace('br', '2');
    const dst = of === 4 ? `10.98.${number}.0/24` : `fd98:${number}::/64`;
    const way = random.int(4);
    if (way > 1) return [{ dst, via: addressOf(network, of, 1) }];
    return [{ dst, ...(of === 4 && { type: way === 0 ? ('blackhole' as const) : ('unreachable' as const) }) }];
  });
  const rate = () => 8e6 * (1 + random.int(3));
  const bandwidth = {
    ...(random.chance(0.2) && { toSandbox: rate() }),
    ...(random.chance(0.2) && { fromSandbox: rate() }),
  };
  return { routes, bandwidth };
}
