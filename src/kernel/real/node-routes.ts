import type { Cidr } from '../../base/ip.js';
import { AF_INET, AF_INET6 } from '../../codec/rtnl/family.js';
import { RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, readLink, writeLinkDump } from '../../codec/rtnl/link.js';
import { RTM_GETROUTE, RTN_UNICAST, readRoute, writeRouteDump } from '../../codec/rtnl/route.js';
import { WEFT_PROTOCOL } from '../../objects/address.js';
import { NODE_NS } from '../../objects/kind.js';
import { isMarked } from '../../objects/link.js';
import { MAIN_TABLE } from '../../objects/route.js';
import type { Spaces } from './spaces.js';

/** Where the node sends packets for a subnet. */
export interface NodeRoute {
  dst: Cidr;
  /** Name of the interface; absent for several next hops. */
  dev?: string;
}

/** Every interface has these; they overlap no network that could be asked for. */
const LINK_LOCAL = /^(fe80|ff00):/;

/** Routes of the node's main table that are not weft's, without default routes. */
export async function nodeRoutes(spaces: Spaces): Promise<NodeRoute[]> {
  const rtnl = spaces.open(NODE_NS)?.rtnl;
  if (!rtnl) return [];
  const links = (await rtnl.dump(RTM_GETLINK, writeLinkDump, { extMask: RTEXT_FILTER_SKIP_STATS })).map((row) =>
    readLink(row.body),
  );
  const names = new Map(links.map((link) => [link.index, link.name]));
  const ours = new Set(links.filter((link) => isMarked(link)).map((link) => link.index));
  const out: NodeRoute[] = [];
  for (const family of [AF_INET, AF_INET6]) {
    for (const row of await rtnl.dump(RTM_GETROUTE, writeRouteDump, { family })) {
      const { dst, dstLength, table, type, protocol, oif } = readRoute(row.body);
      if (table !== MAIN_TABLE || type !== RTN_UNICAST || protocol === WEFT_PROTOCOL) continue;
      if (dst === undefined || dstLength === 0 || LINK_LOCAL.test(dst) || (oif !== undefined && ours.has(oif)))
        continue;
      const dev = oif === undefined ? undefined : names.get(oif);
      out.push({ dst: `${dst}/${dstLength}`, ...(dev !== undefined && { dev }) });
    }
  }
  return out;
}
