import { NETLINK_ROUTE } from '../../codec/netlink.js';
import {
  RTEXT_FILTER_SKIP_STATS,
  RTM_DELLINK,
  RTM_GETLINK,
  readLink,
  writeLink,
  writeLinkDump,
} from '../../codec/rtnl/link.js';
import { RTM_GETNSID, readNsid, writeNsid } from '../../codec/rtnl/nsid.js';
import type { Vxlan } from '../../codec/rtnl/vxlan.js';
import { type HostNamespace, hostNamespaces } from './host-namespaces.js';
import type { Native } from './native.js';
import { NetlinkSocket } from './netlink-socket.js';

/** A VXLAN device that was created from the agent's namespace, wherever it is now. */
export interface HostVxlan {
  name: string;
  index: number;
  alias?: string;
  group?: number;
  options: Vxlan;
  at: HostNamespace;
}

/**
 * All VXLAN devices that share the UDP sockets of the agent's namespace: VNI and port are unique among them. 200
 * namespaces take 20 ms, so this is asked only when the kernel refuses a device.
 */
export async function hostVxlans(native: Native): Promise<HostVxlan[]> {
  const own = native.netnsOpen('/proc/self/ns/net');
  try {
    const inode = Number(native.netnsIdentity(own).ino);
    const all = [];
    for (const at of await hostNamespaces()) all.push(...(await vxlansIn(native, at, { fd: own, inode })));
    return all;
  } finally {
    native.closeFd(own);
  }
}

/** Deletes it. @returns whether it is gone */
export async function deleteVxlan(native: Native, { at, index }: HostVxlan): Promise<boolean> {
  return within(native, at, false, async (socket) => {
    return (await socket.request(RTM_DELLINK, 0, writeLink, { index })).errno === 0;
  });
}

async function vxlansIn(native: Native, at: HostNamespace, own: { fd: number; inode: number }): Promise<HostVxlan[]> {
  return within(native, at, [], async (socket) => {
    const filter = { kind: 'vxlan', extMask: RTEXT_FILTER_SKIP_STATS };
    const links = (await socket.dump(RTM_GETLINK, writeLinkDump, filter)).map((row) => readLink(row.body));
    if (!links.some(({ info }) => info?.kind === 'vxlan')) return [];
    const { message } = await socket.get(RTM_GETNSID, writeNsid, { fd: own.fd });
    const ownId = message && readNsid(message.body).nsid;
    // Without an id the device was created where it is.
    const isOurs = (id: number | undefined) => (id === undefined ? at.inode === own.inode : id >= 0 && id === ownId);
    return links.flatMap(({ name = '', index = 0, alias, group, info, linkNetnsid }): HostVxlan[] =>
      info?.kind === 'vxlan' && isOurs(linkNetnsid)
        ? [
            {
              name,
              index,
              ...(alias !== undefined && { alias }),
              ...(group !== undefined && { group }),
              options: info,
              at,
            },
          ]
        : [],
    );
  });
}

/** With a socket there; `none` where the namespace is gone by now. Nothing stays open: that would keep it alive. */
async function within<T>(
  native: Native,
  { path }: HostNamespace,
  none: T,
  use: (socket: NetlinkSocket) => Promise<T>,
): Promise<T> {
  let fd: number;
  try {
    fd = native.netnsOpen(path);
  } catch {
    return none;
  }
  try {
    const socket = new NetlinkSocket(native, fd, NETLINK_ROUTE);
    try {
      return await use(socket);
    } finally {
      socket.close();
    }
  } finally {
    native.closeFd(fd);
  }
}
