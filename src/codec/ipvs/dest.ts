import { WeftError } from '../../base/errors.js';
import { type Family, family, type Ip } from '../../base/ip.js';
import { AttrReader, type AttrWriter } from '../attr.js';
import { afOf, familyOf, readUnion, unionIp, writeUnion } from './address.js';
import { type IpvsStats, readStats } from './stats.js';

/* linux/ip_vs.h, IPVS_DEST_ATTR_*; the receiving side is net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_genl_parse_dest. */
const IPVS_DEST_ATTR_ADDR = 1;
const IPVS_DEST_ATTR_PORT = 2;
const IPVS_DEST_ATTR_FWD_METHOD = 3;
const IPVS_DEST_ATTR_WEIGHT = 4;
const IPVS_DEST_ATTR_U_THRESH = 5;
const IPVS_DEST_ATTR_L_THRESH = 6;
const IPVS_DEST_ATTR_ACTIVE_CONNS = 7;
const IPVS_DEST_ATTR_INACT_CONNS = 8;
const IPVS_DEST_ATTR_PERSIST_CONNS = 9;
const IPVS_DEST_ATTR_ADDR_FAMILY = 11;
const IPVS_DEST_ATTR_STATS64 = 12;

/** IP_VS_CONN_F_MASQ 0, _LOCALNODE 1, _TUNNEL 2, _DROUTE 3, _BYPASS 4. */
const METHODS = ['masq', 'local', 'tunnel', 'direct', 'bypass'] as const;
const IP_VS_CONN_F_FWD_MASK = 0x0007;

/** The kernel keeps the weight in an int and refuses negative ones. */
const WEIGHT_MAX = 0x7fffffff;

/** How a packet travels on. `local` and `bypass` are set by the kernel. */
export type ForwardingMethod = (typeof METHODS)[number];

/** Which real server of a service. Family may differ from the service's only with `tunnel`. */
export interface DestKey {
  addr: Ip;
  /** Ignored on the way by everything but `masq`, part of the key nevertheless; 0 in services by mark. */
  port: number;
}

export interface RealServer extends DestKey {
  method: ForwardingMethod;
  /** 0: no new connections, established ones go on. */
  weight: number;
  /** Connections from which on the server gets no more (0: no limit) … */
  upper: number;
  /** … until it has fewer than these. Not above `upper`. */
  lower: number;
}

/** As observed. */
export interface RealServerState extends RealServer {
  active: number;
  inactive: number;
  persistent: number;
  stats?: IpvsStats;
}

/** Payload of IPVS_CMD_ATTR_DEST that only names a real server: enough for DEL. */
export function writeDestKey(a: AttrWriter, dest: DestKey): void {
  // Kernels before 3.18 lack ADDR_FAMILY and take the service's; later ones do the same when it is absent.
  a.u16(IPVS_DEST_ATTR_ADDR_FAMILY, afOf(family(dest.addr)));
  writeUnion(a, IPVS_DEST_ATTR_ADDR, dest.addr);
  a.be16(IPVS_DEST_ATTR_PORT, dest.port);
}

/**
 * The whole real server; the kernel insists on method, weight and both thresholds for NEW and SET.
 * @throws WEFT_INVALID_ARGUMENT, WEFT_INVALID_ADDRESS
 */
export function writeDest(a: AttrWriter, dest: RealServer): void {
  if (dest.weight > WEIGHT_MAX) throw new WeftError('WEFT_INVALID_ARGUMENT', `a weight of ${dest.weight} is too large`);
  if (dest.upper < dest.lower) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `lower threshold ${dest.lower} is above the upper one, ${dest.upper}`);
  }
  writeDestKey(a, dest);
  a.u32(IPVS_DEST_ATTR_FWD_METHOD, METHODS.indexOf(dest.method))
    .u32(IPVS_DEST_ATTR_WEIGHT, dest.weight)
    .u32(IPVS_DEST_ATTR_U_THRESH, dest.upper)
    .u32(IPVS_DEST_ATTR_L_THRESH, dest.lower);
}

/** Reads the payload of IPVS_CMD_ATTR_DEST as the kernel fills it; `of` is the service's family. @throws WEFT_INTERNAL */
export function readDest(attributes: Uint8Array, of: Family): RealServerState {
  const a = new AttrReader(attributes, 'ipvs destination');
  const counts = { active: 0, inactive: 0, persistent: 0 };
  const out = { port: 0, weight: 0, upper: 0, lower: 0 };
  let af = afOf(of);
  let addr: Uint8Array | undefined;
  let method: ForwardingMethod = 'masq';
  let stats: IpvsStats | undefined;
  while (a.next()) {
    switch (a.type) {
      case IPVS_DEST_ATTR_ADDR:
        addr = readUnion(a);
        break;
      case IPVS_DEST_ATTR_PORT:
        out.port = a.be16();
        break;
      case IPVS_DEST_ATTR_FWD_METHOD:
        method = methodOf(a.u32());
        break;
      case IPVS_DEST_ATTR_WEIGHT:
        out.weight = a.u32();
        break;
      case IPVS_DEST_ATTR_U_THRESH:
        out.upper = a.u32();
        break;
      case IPVS_DEST_ATTR_L_THRESH:
        out.lower = a.u32();
        break;
      case IPVS_DEST_ATTR_ACTIVE_CONNS:
        counts.active = a.u32();
        break;
      case IPVS_DEST_ATTR_INACT_CONNS:
        counts.inactive = a.u32();
        break;
      case IPVS_DEST_ATTR_PERSIST_CONNS:
        counts.persistent = a.u32();
        break;
      case IPVS_DEST_ATTR_ADDR_FAMILY:
        af = a.u16();
        break;
      case IPVS_DEST_ATTR_STATS64:
        stats = readStats(a.nested('ipvs destination stats'));
        break;
    }
  }
  if (!addr) throw new WeftError('WEFT_INTERNAL', 'ipvs destination: came without address');
  return { addr: unionIp(addr, familyOf(af)), method, ...out, ...counts, ...(stats !== undefined && { stats }) };
}

function methodOf(flags: number): ForwardingMethod {
  const method = METHODS[flags & IP_VS_CONN_F_FWD_MASK];
  if (method === undefined) throw new WeftError('WEFT_INTERNAL', `ipvs destination: forwarding method ${flags}`);
  return method;
}
