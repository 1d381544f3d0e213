import type { Family, Ip } from '../base/ip.js';
import { differences, type Kind, STAGE } from './kind.js';

/** An IPVS virtual server by firewall mark. */
export interface VirtualServer {
  family: Family;
  fwmark: number;
  scheduler: string;
  /** Of `sh` and `mh`: clients of a server that drains get another instead of a refusal. */
  fallback: boolean;
  /** Seconds that a client stays with its server; 0: not at all. */
  persistence: number;
}

/** A real server of a virtual server; always direct routing: only the destination MAC is chosen. */
export interface RealServer {
  family: Family;
  fwmark: number;
  ip: Ip;
  /** 0: established connections go on, new ones go elsewhere. */
  weight: number;
  /** Observed ones: what was sent to it since it was made. No part of the comparison. */
  counter?: { packets: number; bytes: number; connections: number };
}

/** Seconds without a packet after which IPVS forgets a connection; one set for a namespace. */
export interface IpvsTimeouts {
  tcp: number;
  /** After the client's FIN; its acknowledgements count as packets. */
  tcpFin: number;
  udp: number;
}

const server = (o: { family: Family; fwmark: number }): string => `v${o.family} mark ${o.fwmark}`;

export const virtualServerKind: Kind<VirtualServer> = {
  name: 'virtual-server',
  stages: [STAGE.virtualServer],
  stage: () => STAGE.virtualServer,
  rank: () => 0,
  key: server,
  same: (want, have) => differences(want, have, ['scheduler', 'fallback', 'persistence']),
  owns: (_have, where) => where.nsOwned,
  describe: (o) => `virtual server ${server(o)}`,
};

export const realServerKind: Kind<RealServer> = {
  name: 'real-server',
  stages: [STAGE.realServer],
  stage: () => STAGE.realServer,
  rank: () => 0,
  key: (o) => `${server(o)} ${o.ip}`,
  same: (want, have) => differences(want, have, ['weight']),
  owns: (_have, where) => where.nsOwned,
  describe: (o) => `real server ${o.ip} of ${server(o)}`,
};

export const ipvsTimeoutsKind: Kind<IpvsTimeouts> = {
  name: 'ipvs-timeouts',
  stages: [STAGE.virtualServer],
  stage: () => STAGE.virtualServer,
  rank: () => 0,
  key: () => 'timeouts',
  same: (want, have) => differences(want, have, ['tcp', 'tcpFin', 'udp']),
  // Like a sysctl they are always there: what nobody wishes any more stays as it is.
  owns: () => false,
  adopts: () => true,
  describe: (o) => `IPVS timeouts ${o.tcp}/${o.tcpFin}/${o.udp} s`,
};
