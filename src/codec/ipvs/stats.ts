import type { AttrReader } from '../attr.js';

/*
 * linux/ip_vs.h, IPVS_STATS_ATTR_*. The kernel sends counters twice: STATS (32 bits for connections and packets, wraps) and,
 * since 4.1, STATS64, all u64 in host order. Only the second is read; every kernel with IPVS that weft runs on has it.
 */
const IPVS_STATS_ATTR_CONNS = 1;
const IPVS_STATS_ATTR_INPKTS = 2;
const IPVS_STATS_ATTR_OUTPKTS = 3;
const IPVS_STATS_ATTR_INBYTES = 4;
const IPVS_STATS_ATTR_OUTBYTES = 5;
const IPVS_STATS_ATTR_CPS = 6;
const IPVS_STATS_ATTR_INPPS = 7;
const IPVS_STATS_ATTR_OUTPPS = 8;
const IPVS_STATS_ATTR_INBPS = 9;
const IPVS_STATS_ATTR_OUTBPS = 10;

/** Counters since creation, and rates the kernel estimates every two seconds. "Out" stays 0 under direct routing. */
export interface IpvsStats {
  /** Connections scheduled. */
  connections: bigint;
  inPackets: bigint;
  outPackets: bigint;
  inBytes: bigint;
  outBytes: bigint;
  /** Per second, each. */
  connectionRate: bigint;
  inPacketRate: bigint;
  outPacketRate: bigint;
  inByteRate: bigint;
  outByteRate: bigint;
}

function noStats(): IpvsStats {
  return {
    connections: 0n,
    inPackets: 0n,
    outPackets: 0n,
    inBytes: 0n,
    outBytes: 0n,
    connectionRate: 0n,
    inPacketRate: 0n,
    outPacketRate: 0n,
    inByteRate: 0n,
    outByteRate: 0n,
  };
}

/** Reads the payload of a STATS64 attribute. */
export function readStats(a: AttrReader): IpvsStats {
  const out = noStats();
  while (a.next()) {
    switch (a.type) {
      case IPVS_STATS_ATTR_CONNS:
        out.connections = a.u64();
        break;
      case IPVS_STATS_ATTR_INPKTS:
        out.inPackets = a.u64();
        break;
      case IPVS_STATS_ATTR_OUTPKTS:
        out.outPackets = a.u64();
        break;
      case IPVS_STATS_ATTR_INBYTES:
        out.inBytes = a.u64();
        break;
      case IPVS_STATS_ATTR_OUTBYTES:
        out.outBytes = a.u64();
        break;
      case IPVS_STATS_ATTR_CPS:
        out.connectionRate = a.u64();
        break;
      case IPVS_STATS_ATTR_INPPS:
        out.inPacketRate = a.u64();
        break;
      case IPVS_STATS_ATTR_OUTPPS:
        out.outPacketRate = a.u64();
        break;
      case IPVS_STATS_ATTR_INBPS:
        out.inByteRate = a.u64();
        break;
      case IPVS_STATS_ATTR_OUTBPS:
        out.outByteRate = a.u64();
        break;
    }
  }
  return out;
}
