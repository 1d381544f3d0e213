import { type Family, family, type Ip } from '../../base/ip.js';
import {
  type Address,
  IFA_F_DADFAILED,
  IFA_F_DEPRECATED,
  IFA_F_TEMPORARY,
  IFA_F_TENTATIVE,
  ownAddress,
  RTM_GETADDR,
  readAddress,
  writeAddressDump,
} from '../../codec/rtnl/address.js';
import { IFF_LOOPBACK, RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, readLink, writeLinkDump } from '../../codec/rtnl/link.js';
import { RT_SCOPE_UNIVERSE } from '../../codec/rtnl/route.js';
import type { NetlinkSocket } from '../../kernel/real/netlink-socket.js';
import { WEFT_PROTOCOL } from '../../objects/address.js';

/** An interface of the node, as the underlay needs it. */
export interface UnderlayLink {
  index: number;
  name: string;
  mtu: number;
  loopback: boolean;
  /** ifindex of the VRF, bridge or bond it belongs to. */
  master?: number;
  vrf: boolean;
}

/** Interfaces of the node by ifindex. */
export async function underlayLinks(rtnl: NetlinkSocket): Promise<Map<number, UnderlayLink>> {
  const out = new Map<number, UnderlayLink>();
  for (const row of await rtnl.dump(RTM_GETLINK, writeLinkDump, { extMask: RTEXT_FILTER_SKIP_STATS })) {
    const { index = 0, name = '', mtu = 0, flags = 0, master, info } = readLink(row.body);
    const vrf = info?.kind === 'other' && info.name === 'vrf';
    const loopback = (flags & IFF_LOOPBACK) !== 0;
    out.set(index, { index, name, mtu, loopback, vrf, ...(master !== undefined && { master }) });
  }
  return out;
}

/** Addresses of the node's interfaces. */
export async function underlayAddresses(rtnl: NetlinkSocket): Promise<Address[]> {
  const rows = await rtnl.dump(RTM_GETADDR, writeAddressDump, {});
  return rows.map((row) => readAddress(row.body));
}

/** Not usable (yet), or soon not any more. */
const UNFIT = IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED | IFA_F_TEMPORARY;

/**
 * An address of each family under which the node is known elsewhere: the advertised one, and of the other family one of
 * the same interface, or else of any that is not of weft's making.
 */
export function nodeAddresses(all: readonly Address[], advertise: Ip, holder: number): Partial<Record<Family, Ip>> {
  const own = all.filter((a) => a.scope === RT_SCOPE_UNIVERSE && !(a.flags & UNFIT) && a.protocol !== WEFT_PROTOCOL);
  const other = family(advertise) === 4 ? 6 : 4;
  const candidates = [...own.filter((a) => a.index === holder), ...own].map(ownAddress);
  const found = candidates.find((ip) => ip !== undefined && family(ip) === other);
  return { [family(advertise)]: advertise, ...(found !== undefined && { [other]: found }) };
}
