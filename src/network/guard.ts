import { family, type Ip, type Mac } from '../base/ip.js';
import { bridgeMac } from '../base/mac.js';
import {
  accept,
  bitsAre,
  CT_ESTABLISHED,
  CT_RELATED,
  counter,
  ct,
  drop,
  inSet,
  is,
  meta,
  notrack,
  raw,
  type Statement,
  udp,
} from '../codec/nft/build.js';
import { keyHex, valueHex } from '../codec/nft/types.js';
import { lanesOf } from '../model/lanes.js';
import type { Stored } from '../model/registry.js';
import { NODE_NS } from '../objects/kind.js';
import { TableWriter, words } from './bridge-table.js';
import { hostVteps } from './hosts.js';
import { INGRESS_LEG } from './ingress.js';
import { ingressNetwork, isHere, ownIngressAddresses, type Wants, type World } from './world.js';

/** The chain that counts what it drops. */
export const GUARD_CHAIN = 'guard';
/** Before whatever else looks at packets to the node; a packet is whole by then, put together from its fragments. */
const GUARD = -310;
/** NF_IP_PRI_RAW of linux/netfilter_ipv4.h: connection tracking comes at -200. */
const RAW = -300;

/** Behind the UDP header (8 bytes): flags and reserved (4), VNI (3), reserved (1), then the inner frame (RFC 7348). */
const VNI = { base: 'transport', offset: 12, bytes: 3 } as const;
const INNER_SOURCE = { base: 'transport', offset: 22, bytes: 6 } as const;
const vniTerm = raw(VNI.base, VNI.offset, VNI.bytes);
const innerSource = raw(INNER_SOURCE.base, INNER_SOURCE.offset, INNER_SOURCE.bytes);

/** What a connection that the node began, or took, is answered with. */
const REPLY = CT_ESTABLISHED | CT_RELATED;

const PEERS = { 4: 'peers4', 6: 'peers6' } as const;

/** Does this node carry a network with a tunnel? */
export const carriesOverlay = (world: World): boolean =>
  [...world.wish.networks.values()].some((n) => n.spec.driver === 'overlay' && isHere(world, n));

/** Has this node the leg into the ingress network? */
function bringsReplies(world: World): boolean {
  const network = ingressNetwork(world.wish);
  return network !== undefined && ownIngressAddresses(world, network).length > 0;
}

const vnisOf = ({ spec }: Stored<'networks'>): number[] => lanesOf(spec).map(({ vni }) => vni as number);

/**
 * VXLAN authenticates nobody: who can reach the data path port could put frames on any network. What arrives there for a
 * network of ours must come from a VTEP that has the inner source MAC on that network; else it is counted and dropped.
 * Other VNIs are not ours to judge. Tunnel packets of this node pay for no connection tracking either: their source port
 * is a hash of the inner flow, so that each flow would be one of the underlay's, and a reply never matches it.
 */
export function guard(world: World, wants: Wants): void {
  const { vtep, dataPathPort } = world.self;
  if (!world.nftInet || !carriesOverlay(world)) return;
  const of = family(vtep);
  const { address, saddr, daddr } = words[of];
  const w = writer(wants, 'guard of the data path port');
  const toPort = is(udp.dport, dataPathPort);
  const fromPeer: Statement = inSet([saddr, vniTerm, innerSource], PEERS[of]);
  w.table();
  w.set('vnis', { key: [VNI] });
  w.set(PEERS[of], { key: [address, VNI, INNER_SOURCE] });
  const own: Statement = { needs: fromPeer.needs, exprs: [] };
  w.chain(
    GUARD_CHAIN,
    [
      // The leg brings replies only; what it brings to others than the node meets WEFT-GUARD (rules/ingress.ts). Said first:
      // a task may forge a datagram of a peer's as well, and be on every network of the node.
      ...(bringsReplies(world) ? [[is(meta.iifname, INGRESS_LEG), bitsAre(ct.state, REPLY, 0), drop]] : []),
      [toPort, fromPeer, accept],
      [own, toPort, inSet([vniTerm], 'vnis'), counter, drop],
    ],
    {
      hook: 'input',
      priority: GUARD,
    },
  );
  w.chain('untracked-in', [[is(daddr, vtep), toPort, notrack]], { hook: 'prerouting', priority: RAW });
  w.chain('untracked-out', [[is(saddr, vtep), toPort, notrack]], { hook: 'output', priority: RAW });
}

/**
 * The guard watches over a network of ours. The `br0` of each node that hosts peers is heard, for it sends in the name of
 * endpoints where IPVS balances: said once a node here, not by each of its peers.
 */
export function guardNetwork(world: World, network: Stored<'networks'>, wants: Wants): void {
  if (!world.nftInet) return;
  const w = writer(wants, `network ${network.id}`);
  for (const vni of vnisOf(network)) w.element('vnis', valueHex(VNI, vni));
  for (const vtep of hostVteps(world.wish, network.id)) {
    if (vtep !== world.self.vtep) guardKnows(world, network, bridgeMac(vtep), vtep, wants);
  }
}

/** Frames of this MAC may come from that VTEP, on every lane: a frame travels on that of its receiver. */
export function guardKnows(world: World, network: Stored<'networks'>, mac: Mac, vtep: Ip, wants: Wants): void {
  const of = family(world.self.vtep);
  if (!world.nftInet || family(vtep) !== of) return;
  const w = writer(wants, wants.owner);
  for (const vni of vnisOf(network)) w.element(PEERS[of], elementKey(vtep, vni, mac));
}

function elementKey(vtep: Ip, vni: number, mac: Mac): string {
  const source = Number.parseInt(mac.replaceAll(':', ''), 16);
  return keyHex([words[family(vtep)].address, VNI, INNER_SOURCE], [vtep, vni, source]);
}

const writer = (wants: Wants, why: string) => new TableWriter(NODE_NS, wants, why, 'inet');
