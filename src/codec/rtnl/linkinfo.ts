import { AttrReader, type AttrWriter } from '../attr.js';
import { type Bridge, readBridge, writeBridge } from './bridge.js';
import { type BridgePort, readBridgePort, writeBridgePort } from './bridge-port.js';
import { readVxlan, type Vxlan, writeVxlan } from './vxlan.js';

/* Inside IFLA_LINKINFO, linux/if_link.h. */
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;

const IFLA_VLAN_ID = 1;
const IFLA_MACVLAN_MODE = 1;
const IFLA_IPVLAN_MODE = 1;
const IFLA_IPVLAN_FLAGS = 2;

export const MACVLAN_MODE_PRIVATE = 1;
export const MACVLAN_MODE_VEPA = 2;
export const MACVLAN_MODE_BRIDGE = 4;
export const MACVLAN_MODE_PASSTHRU = 8;
export const IPVLAN_MODE_L2 = 0;
export const IPVLAN_MODE_L3 = 1;
export const IPVLAN_MODE_L3S = 2;
/** Flags; without one the mode is "bridge". */
export const IPVLAN_F_PRIVATE = 1;
export const IPVLAN_F_VEPA = 2;

/** linux/veth.h: its payload is a whole ifinfomsg with attributes, so it carries no NLA_F_NESTED. */
const VETH_INFO_PEER = 1;

/** A driver's name and options. `Peer` is the link message, which nests in itself through veth. */
export type LinkInfo<Peer> =
  | ({ kind: 'bridge' } & Bridge)
  | ({ kind: 'vxlan' } & Vxlan)
  /** `peer` is for creation only; the kernel never reports it. */
  | { kind: 'veth'; peer?: Peer }
  | { kind: 'dummy' }
  | { kind: 'ifb' }
  | { kind: 'vlan'; id?: number }
  | { kind: 'macvlan'; mode?: number }
  | { kind: 'ipvlan'; mode?: number; flags?: number }
  /** A kind without codec keeps its name and a copy of IFLA_INFO_DATA (a view would keep a whole dump in memory). */
  | { kind: 'other'; name: string; raw?: Uint8Array };

/** What the master's driver says about this link. */
export type SlaveInfo = ({ kind: 'bridge' } & BridgePort) | { kind: 'other'; name: string; raw?: Uint8Array };

export interface LinkInfos<Peer> {
  info?: LinkInfo<Peer>;
  slave?: SlaveInfo;
}

/** The body of a link message, given by link.ts: it and this file need each other for veth. */
export interface PeerCodec<Peer> {
  write(a: AttrWriter, peer: Peer): void;
  read(bytes: Uint8Array): Peer;
}

/** The contents of IFLA_LINKINFO. */
export function writeLinkInfo<Peer>(a: AttrWriter, l: LinkInfos<Peer>, peer: PeerCodec<Peer>): void {
  const { info, slave } = l;
  if (info) {
    a.text(IFLA_INFO_KIND, info.kind === 'other' ? info.name : info.kind);
    writeKind(a, info, peer);
  }
  if (slave) {
    a.text(IFLA_INFO_SLAVE_KIND, slave.kind === 'other' ? slave.name : slave.kind);
    if (slave.kind === 'bridge') a.nest(IFLA_INFO_SLAVE_DATA, (a) => writeBridgePort(a, slave));
    else a.bytes(IFLA_INFO_SLAVE_DATA, slave.raw);
  }
}

function writeKind<Peer>(a: AttrWriter, info: LinkInfo<Peer>, codec: PeerCodec<Peer>): void {
  switch (info.kind) {
    case 'bridge':
      a.nest(IFLA_INFO_DATA, (a) => writeBridge(a, info));
      break;
    case 'vxlan':
      a.nest(IFLA_INFO_DATA, (a) => writeVxlan(a, info));
      break;
    case 'veth': {
      const { peer } = info;
      if (peer) a.nest(IFLA_INFO_DATA, (a) => a.block(VETH_INFO_PEER, (a) => codec.write(a, peer)));
      break;
    }
    case 'vlan':
      a.nest(IFLA_INFO_DATA, (a) => a.u16(IFLA_VLAN_ID, info.id));
      break;
    case 'macvlan':
      a.nest(IFLA_INFO_DATA, (a) => a.u32(IFLA_MACVLAN_MODE, info.mode));
      break;
    case 'ipvlan':
      a.nest(IFLA_INFO_DATA, (a) => a.u16(IFLA_IPVLAN_MODE, info.mode).u16(IFLA_IPVLAN_FLAGS, info.flags));
      break;
    case 'other':
      a.bytes(IFLA_INFO_DATA, info.raw);
      break;
  }
}

/** Kind and data may come in either order, so both are collected before the data is read. */
export function readLinkInfo<Peer>(a: AttrReader, peer: PeerCodec<Peer>): LinkInfos<Peer> {
  let kind: string | undefined;
  let slaveKind: string | undefined;
  let payload: Uint8Array | undefined;
  let slavePayload: Uint8Array | undefined;
  while (a.next()) {
    switch (a.type) {
      case IFLA_INFO_KIND:
        kind = a.string();
        break;
      case IFLA_INFO_DATA:
        payload = a.bytes();
        break;
      case IFLA_INFO_SLAVE_KIND:
        slaveKind = a.string();
        break;
      case IFLA_INFO_SLAVE_DATA:
        slavePayload = a.bytes();
        break;
    }
  }
  const out: LinkInfos<Peer> = {};
  if (kind !== undefined) out.info = readKind(kind, payload, peer);
  if (slaveKind !== undefined) out.slave = readSlave(slaveKind, slavePayload);
  return out;
}

function readKind<Peer>(kind: string, payload: Uint8Array | undefined, codec: PeerCodec<Peer>): LinkInfo<Peer> {
  const a = new AttrReader(payload ?? new Uint8Array(0), `link kind ${kind}`);
  switch (kind) {
    case 'bridge':
      return { kind, ...readBridge(a) };
    case 'vxlan':
      return { kind, ...readVxlan(a) };
    case 'veth':
      while (a.next()) if (a.type === VETH_INFO_PEER) return { kind, peer: codec.read(a.bytes()) };
      return { kind };
    case 'dummy':
    case 'ifb':
      return { kind };
    case 'vlan':
      while (a.next()) if (a.type === IFLA_VLAN_ID) return { kind, id: a.u16() };
      return { kind };
    case 'macvlan':
      while (a.next()) if (a.type === IFLA_MACVLAN_MODE) return { kind, mode: a.u32() };
      return { kind };
    case 'ipvlan':
      return readIpvlan(a);
    default:
      return { kind: 'other', name: kind, ...(payload && { raw: Uint8Array.from(payload) }) };
  }
}

function readIpvlan(a: AttrReader): Extract<LinkInfo<never>, { kind: 'ipvlan' }> {
  const out: Extract<LinkInfo<never>, { kind: 'ipvlan' }> = { kind: 'ipvlan' };
  while (a.next()) {
    if (a.type === IFLA_IPVLAN_MODE) out.mode = a.u16();
    else if (a.type === IFLA_IPVLAN_FLAGS) out.flags = a.u16();
  }
  return out;
}

function readSlave(kind: string, payload: Uint8Array | undefined): SlaveInfo {
  if (kind !== 'bridge') return { kind: 'other', name: kind, ...(payload && { raw: Uint8Array.from(payload) }) };
  return { kind, ...readBridgePort(new AttrReader(payload ?? new Uint8Array(0), 'bridge port')) };
}
