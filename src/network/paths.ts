import { family, type Ip } from '../base/ip.js';
import type { Stored, Wish } from '../model/registry.js';
import { NODE_NS } from '../objects/kind.js';
import type { Route } from '../objects/route.js';
import { isHere, type Wants, type World } from './world.js';

/** How packets to a VTEP leave this node, by its own rules and routes. */
export interface UnderlayPath {
  /** Interface of the node. */
  dev: string;
  via?: Ip;
  onlink?: boolean;
  prefSrc?: Ip;
  /** The table in which the route was found. */
  table: number;
  /** Bytes of an IP packet: of the route where it says so, at most of the interface. */
  mtu: number;
}

/**
 * Where the node of a peer is reached. A node that returns with another underlay address says so in its own row, and its
 * peers' rows may still bear the old one: what was heard later counts.
 */
export function vtepOf(wish: Wish, peer: Stored<'peers'>): Ip {
  const node = peer.node === undefined ? undefined : wish.nodes.get(peer.node);
  return node && node.revision > peer.revision ? node.spec.vtep : peer.spec.vtep;
}

/** VTEPs of other nodes, alive as far as is known, with which networks of this node exchange packets. */
export function remoteVteps(world: Pick<World, 'wish' | 'self'>): Set<Ip> {
  const { wish, self } = world;
  const here = new Set([...wish.networks.values()].filter((network) => isHere(world, network)).map(({ id }) => id));
  const out = new Set<Ip>();
  for (const peer of wish.peers.values()) if (here.has(peer.spec.network)) out.add(vtepOf(wish, peer));
  for (const { spec } of wish.nodes.values()) {
    if (!spec.alive) out.delete(spec.vtep);
    else if (Object.keys(spec.addresses).some((network) => here.has(network))) out.add(spec.vtep);
  }
  out.delete(self.vtep);
  for (const vtep of out) if (family(vtep) !== family(self.vtep)) out.delete(vtep);
  return out;
}

/**
 * Host routes in front of the routes to nodes whose path carries less than the route promises. VXLAN then tells senders
 * in containers at once what they may send, whether or not the routers on the way would have. Locked, because learned
 * values expire and may be forged.
 */
export function pathRoutes(world: World, wants: Wants): void {
  for (const [vtep, { dev, via, onlink, prefSrc, table, mtu }] of world.smallPaths) {
    const six = family(vtep) === 6;
    const route: Route = {
      dst: `${vtep}/${six ? 128 : 32}`,
      dev,
      table,
      // Before any other route to that address. In IPv6 "none" is 1024.
      metric: six ? 1 : 0,
      mtu,
      mtuLock: true,
      ...(via !== undefined && { via }),
      ...(onlink && { onlink }),
      ...(prefSrc !== undefined && { prefSrc }),
    };
    wants.add(NODE_NS, 'route', `the path to ${vtep} carries ${mtu} bytes`, route);
  }
}
