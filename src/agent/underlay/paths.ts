import { contains, parseCidr } from '../../base/cidr.js';
import type { Ip } from '../../base/ip.js';
import {
  type NextHop,
  type Route,
  RTM_F_FIB_MATCH,
  RTM_F_LOOKUP_TABLE,
  RTM_GETROUTE,
  RTN_UNICAST,
  RTNH_F_DEAD,
  RTNH_F_LINKDOWN,
  RTNH_F_ONLINK,
  readRoute,
  writeRouteDump,
  writeRouteLookup,
} from '../../codec/rtnl/route.js';
import type { NetlinkSocket } from '../../kernel/real/netlink-socket.js';
import type { UnderlayPath } from '../../network/paths.js';
import { WEFT_PROTOCOL } from '../../objects/address.js';
import type { UnderlayLink } from './links.js';

const IPPROTO_UDP = 17;

/** What a lookup needs to know of this node. */
export interface Vantage {
  rtnl: NetlinkSocket;
  links: ReadonlyMap<number, UnderlayLink>;
  advertise: Ip;
  dataPathPort: number;
  /** ifindex of the VRF that the advertised address is in. */
  vrf?: number;
}

/** A route that leads to a VTEP, and the path MTU that a host route of ours in front of it bears. */
export interface Found {
  path: UnderlayPath;
  locked?: number;
}

/**
 * Finds how the node's rules and routes lead VXLAN packets to VTEPs. Host routes of weft's own stand in front of what the
 * node has (network/paths.ts) and are looked through: the answer is the route as it would be without them.
 */
export class PathFinder {
  readonly #tables = new Map<string, Promise<Route[]>>();

  constructor(readonly from: Vantage) {}

  /** undefined where nothing leads there, or the address is this node's. */
  async to(vtep: Ip): Promise<Found | undefined> {
    const { rtnl, advertise, vrf, dataPathPort } = this.from;
    const query = {
      dst: vtep,
      src: advertise,
      ...(vrf !== undefined && { oif: vrf }),
      ipProto: IPPROTO_UDP,
      dport: dataPathPort,
      flags: RTM_F_LOOKUP_TABLE | RTM_F_FIB_MATCH,
    };
    const { message, ack } = await rtnl.get(RTM_GETROUTE, writeRouteLookup, query);
    if (message === undefined || ack.errno !== 0) return undefined;
    const route = readRoute(message.body);
    if (route.type !== RTN_UNICAST) return undefined;
    const found = isOurs(route) ? await this.#behind(route, vtep) : route;
    const path = found && this.#path(found);
    const locked = isOurs(route) ? route.metrics?.mtu : undefined;
    return path && { path, ...(locked !== undefined && { locked }) };
  }

  /** The longest match of the table without our own routes. */
  async #behind(ours: Route, vtep: Ip): Promise<Route | undefined> {
    const key = `${ours.family} ${ours.table}`;
    const table = this.#tables.get(key) ?? this.#dump(ours);
    this.#tables.set(key, table);
    const usable = (await table).filter((r) => r.type === RTN_UNICAST && !isOurs(r) && !(r.flags & RTNH_F_DEAD));
    const matching = usable.filter((r) => r.dst === undefined || contains(parseCidr(`${r.dst}/${r.dstLength}`), vtep));
    return matching.sort((a, b) => b.dstLength - a.dstLength || metricOf(a) - metricOf(b))[0];
  }

  async #dump({ family, table }: Route): Promise<Route[]> {
    const rows = await this.from.rtnl.dump(RTM_GETROUTE, writeRouteDump, { family, table });
    return rows.map((row) => readRoute(row.body));
  }

  #path(route: Route): UnderlayPath | undefined {
    const { links } = this.from;
    const hops = hopsOf(route).filter((hop) => !(hop.flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)));
    // Packets of one flow take one of several next hops, so the smallest counts; a host route goes by the first.
    const mtus = hops.flatMap((hop) => links.get(hop.oif)?.mtu ?? []);
    const [first] = hops;
    const dev = first && links.get(first.oif)?.name;
    if (!first || dev === undefined) return undefined;
    const { prefsrc, metrics, table } = route;
    return {
      dev,
      table,
      mtu: Math.min(metrics?.mtu ?? Number.POSITIVE_INFINITY, ...mtus),
      ...(first.gateway !== undefined && { via: first.gateway }),
      ...(prefsrc !== undefined && { prefSrc: prefsrc }),
      ...((first.flags & RTNH_F_ONLINK) !== 0 && { onlink: true }),
    };
  }
}

const isOurs = (route: Route): boolean => route.protocol === WEFT_PROTOCOL;

const metricOf = ({ priority }: Route): number => priority ?? 0;

function hopsOf({ multipath, oif, gateway, flags }: Route): NextHop[] {
  if (multipath) return multipath;
  return oif === undefined ? [] : [{ oif, weight: 1, flags, ...(gateway !== undefined && { gateway }) }];
}
