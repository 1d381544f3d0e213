import { family, type Ip } from '../base/ip.js';
import type { Stored, Wish } from '../model/registry.js';
import { isHere, type World } from './world.js';

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
