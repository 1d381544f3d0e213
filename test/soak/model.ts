import type { Random } from './random.js';

/** What the orchestrator of the soak has asked for and got: what should be, kept apart from weft. */
export interface Network {
  name: string;
  vni: number;
  /** `10.30.7`: the network is PREFIX.0/24, its gateway PREFIX.1. */
  prefix: string;
  internal: boolean;
  /** Nodes by number that were asked for it over the socket; others know it by gossip. */
  askedOf: Set<number>;
}

export interface Endpoint {
  sandbox: string;
  network: string;
  address: string;
  ifname: string;
}

export interface Sandbox {
  name: string;
  node: number;
  /** By network. */
  endpoints: Map<string, Endpoint>;
}

/** So few that names, VNIs and subnets come again with other neighbours. */
const NETWORKS = 6;
const SANDBOXES = 18;
const FIRST_VNI = 5000;

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
  carriedBy(node: number): Network[] {
    return [...this.networks.values()].filter(
      ({ name, askedOf }) => askedOf.has(node) || this.on(name).some((endpoint) => this.nodeOf(endpoint) === node),
    );
  }

  /** Sandboxes of a node with a way out. */
  withGateway(node: number): Sandbox[] {
    const open = ({ network }: Endpoint) => this.networks.get(network)?.internal === false;
    return this.at(node).filter(({ endpoints }) => [...endpoints.values()].some(open));
  }

  /** A network that does not exist yet; undefined where all do. */
  newNetwork(random: Random): Network | undefined {
    const free = (used: readonly (string | number)[], of: (n: number) => string | number) =>
      random.pick(Array.from({ length: NETWORKS }, (_, n) => n).filter((n) => !used.includes(of(n))));
    const all = [...this.networks.values()];
    const prefixOf = (n: number) => `10.30.${n + 1}`;
    const name = free([...this.networks.keys()], (n) => `net${n + 1}`);
    const vni = free(
      all.map((network) => network.vni),
      (n) => FIRST_VNI + n,
    );
    const subnet = free(
      all.map((network) => network.prefix),
      prefixOf,
    );
    if (name === undefined || vni === undefined || subnet === undefined) return undefined;
    return {
      name: `net${name + 1}`,
      vni: FIRST_VNI + vni,
      prefix: prefixOf(subnet),
      internal: random.chance(0.3),
      askedOf: new Set(),
    };
  }

  /** A sandbox that does not exist yet, on that node. */
  newSandbox(random: Random, node: number): Sandbox | undefined {
    const names = Array.from({ length: SANDBOXES }, (_, n) => `c${n + 1}`);
    const name = random.pick(names.filter((one) => !this.sandboxes.has(one)));
    return name === undefined ? undefined : { name, node, endpoints: new Map() };
  }

  /** An address of the network that nobody has. */
  freeAddress(random: Random, { name, prefix }: Network): string {
    const used = new Set(this.on(name).map(({ address }) => address));
    for (;;) {
      const address = `${prefix}.${2 + random.int(40)}`;
      if (!used.has(address)) return address;
    }
  }
}
