import type { Cidr, Family, Ip } from '../base/ip.js';
import type { Stored, Wish } from '../model/registry.js';
import { NODE_NS, type Ns } from '../objects/kind.js';
import type { Wanted } from '../reconcile/plan.js';
import type { UnderlayPath } from './paths.js';

/** This node. */
export interface Self {
  name: string;
  vtep: Ip;
  /** VRF that the VTEP address is in. */
  vrf?: string;
  dataPathPort: number;
  /**
   * The address as which callers appear elsewhere whose own means nothing there: of each family that the node has one
   * of; the VTEP of its own family.
   */
  addresses: Readonly<Partial<Record<Family, Ip>>>;
}

/** Everything that the pure functions from wish to kernel objects may look at. */
export interface World {
  wish: Wish;
  self: Self;
  /** The smallest MTU of the routes to other nodes; of the interface with the VTEP address while there are none. */
  underlayMtu: number;
  /** By VTEP: paths that were found to carry less than their route says; `mtu` is what they carry. */
  smallPaths: ReadonlyMap<Ip, UnderlayPath>;
  /** Who chooses a backend, and how it remembers flows. */
  balancer: BalancerChoice;
  /** The kernel has nf_tables of the IP layer (family inet), and not of the bridge alone. */
  nftInet: boolean;
  /** Of the gateway bridge, by family; none of IPv6 where the node has no IPv6 or no subnet to spare. */
  gateway: { readonly 4: GatewaySubnet; readonly 6?: GatewaySubnet };
  /** A number that stays with a name over restarts, from `first` upwards, unique in its space. */
  number(space: string, name: string, first: number): number;
  /** The number of a published port that was left to this node; undefined until it is chosen. */
  chosenPort(name: string): number | undefined;
  /** Ports at which the resolver listens in a sandbox; undefined while it does not. */
  resolverPorts(sandbox: string): { udp: number; tcp: number } | undefined;
}

/** A subnet of the gateway bridge, and the bridge's own address in it. */
export interface GatewaySubnet {
  subnet: Cidr;
  address: Ip;
}

export interface BalancerChoice {
  name: 'ipvs' | 'nft';
  /** The kernel has nf_conntrack_bridge: flows are remembered by connection tracking, else in dynamic sets. */
  bridgeConntrack: boolean;
  /** The kernel has nft_hash: balancer nft can choose by the client's address. */
  hash: boolean;
}

/** Families of a network's subnets. */
export function familiesOf(network: Stored<'networks'>): Family[] {
  return [...new Set(network.spec.subnets.map((subnet): Family => (subnet.includes(':') ? 6 : 4)))];
}

/** This node's own addresses on the ingress network: what published ports are translated to. */
export function ownIngressAddresses(world: World, network: Stored<'networks'>): Ip[] {
  return world.wish.nodes.get(world.self.name)?.spec.addresses[network.id] ?? [];
}

export function ingressNetwork(wish: Wish): Stored<'networks'> | undefined {
  return [...wish.networks.values()].find((network) => network.spec.ingress);
}

/** Namespace of an overlay network. */
export const networkNs = (network: string): Ns => `net-${network}`;

/** Bytes that VXLAN adds over an IPv4 underlay: inner Ethernet 14, VXLAN 8, UDP 8, IP 20 (RFC 7348 section 5). */
const VXLAN_OVERHEAD_V4 = 50;
const VXLAN_OVERHEAD_V6 = 70;

export function overlayMtu(world: World, network: Stored<'networks'>): number {
  const overhead = world.self.vtep.includes(':') ? VXLAN_OVERHEAD_V6 : VXLAN_OVERHEAD_V4;
  return network.spec.mtu ?? world.underlayMtu - overhead;
}

/** What of a wish is on this node; made once for each reading of it. */
interface Here {
  networks: ReadonlySet<string>;
  /** `NETWORK ADDRESS` of endpoints here. */
  addresses: ReadonlySet<string>;
}
const hereCache = new WeakMap<Wish, Here>();

function hereIn(wish: Wish): Here {
  let here = hereCache.get(wish);
  if (!here) {
    const endpoints = [...wish.endpoints.values()].map((endpoint) => endpoint.spec);
    here = {
      networks: new Set(endpoints.map((spec) => spec.network)),
      addresses: new Set(endpoints.flatMap((spec) => spec.addresses.map((ip) => `${spec.network} ${ip}`))),
    };
    hereCache.set(wish, here);
  }
  return here;
}

/** Does this node carry the network? Asked for here, needed by an endpoint here, or the ingress network. */
export function isHere(world: Pick<World, 'wish'>, network: Stored<'networks'>): boolean {
  return network.origin === 'api' || network.spec.ingress || hereIn(world.wish).networks.has(network.id);
}

/** Does an endpoint of this node have the address? */
export function isLocal(world: World, network: string, ip: Ip): boolean {
  return hereIn(world.wish).addresses.has(`${network} ${ip}`);
}

/** Collects wanted objects of one owner. */
export class Wants {
  readonly list: Wanted[] = [];
  constructor(readonly owner: string) {}

  add<T>(ns: Ns, kind: string, because: string, object: T): void {
    this.list.push({ ns, kind, object, because, owner: this.owner });
  }

  namespace(name: Ns, because: string): void {
    this.add(NODE_NS, 'netns', because, { name });
    this.add(name, 'link', because, { name: 'lo', type: 'present', up: true });
  }

  sysctls(ns: Ns, because: string, values: Record<string, string | number>, optional = false): void {
    for (const [path, value] of Object.entries(values)) {
      this.add(ns, 'sysctl', because, { path, value: String(value), ...(optional && { optional }) });
    }
  }
}
