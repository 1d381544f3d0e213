import type { Ip } from '../../base/ip.js';
import { ownAddress, RTM_GETADDR, readAddress, writeAddressDump } from '../../codec/rtnl/address.js';
import { IFF_LOOPBACK, RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, readLink, writeLinkDump } from '../../codec/rtnl/link.js';
import type { NetlinkSocket } from '../../kernel/real/netlink-socket.js';

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

/** ifindex of the interface that has the address; undefined where none has. */
export async function holderOf(rtnl: NetlinkSocket, address: Ip): Promise<number | undefined> {
  const rows = await rtnl.dump(RTM_GETADDR, writeAddressDump, {});
  return rows.map((row) => readAddress(row.body)).find((a) => ownAddress(a) === address)?.index;
}
