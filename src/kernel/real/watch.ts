import { type FSWatcher, watch } from 'node:fs';
import { type Message, NETLINK_ROUTE, NLM_F_CREATE, NLM_F_EXCL, parseMessages } from '../../codec/netlink.js';
import { RTM_DELADDR, RTM_NEWADDR } from '../../codec/rtnl/address.js';
import { AF_BRIDGE } from '../../codec/rtnl/family.js';
import { RTM_DELLINK, RTM_NEWLINK } from '../../codec/rtnl/link.js';
import { NUD_NOARP, NUD_PERMANENT, RTM_DELNEIGH, RTM_NEWNEIGH, readNeighbour } from '../../codec/rtnl/neigh.js';
import { RTM_GETNSID, RTM_NEWNSID, readNsid, writeNsid } from '../../codec/rtnl/nsid.js';
import { RTM_DELROUTE, RTM_NEWROUTE } from '../../codec/rtnl/route.js';
import { RTM_DELRULE, RTM_NEWRULE } from '../../codec/rtnl/rule.js';
import { NODE_NS, type Ns } from '../../objects/kind.js';
import { Dirt } from '../../reconcile/desired.js';
import type { Monitor, MonitorRecord } from './native.js';
import type { Spaces } from './spaces.js';

/** RTNLGRP_* of linux/rtnetlink.h: LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE. */
const ROUTE_GROUPS = [1, 3, 5, 7, 8, 9, 11, 19];

const KIND_OF = new Map<number, string>([
  [RTM_NEWLINK, 'link'],
  [RTM_DELLINK, 'link'],
  [RTM_NEWADDR, 'address'],
  [RTM_DELADDR, 'address'],
  [RTM_NEWROUTE, 'route'],
  [RTM_DELROUTE, 'route'],
  [RTM_NEWRULE, 'rule'],
  [RTM_DELRULE, 'rule'],
]);

/**
 * Listens to the kernel in all namespaces of the agent through one socket (NETLINK_LISTEN_ALL_NSID); a namespace is
 * heard once it has an nsid. The agent's own changes are filtered out by port id in the addon.
 */
export class Watch {
  readonly #names = new Map<number, Ns>();
  readonly #ids = new Map<Ns, { nsid: number; inode: bigint }>();
  #monitor: Monitor | undefined;
  #files: FSWatcher | undefined;

  constructor(
    readonly spaces: Spaces,
    /** `lost`: notifications were dropped, everything needs a look. */
    readonly onDirt: (dirt: Dirt, lost: boolean) => void,
  ) {}

  start(): void {
    const { native } = this.spaces;
    const monitor = native.monitorStart((records) => this.#take(records), { maxPendingBytes: 4 * 1024 * 1024 });
    native.monitorAdd(monitor, -1, NETLINK_ROUTE, ROUTE_GROUPS, true);
    this.#monitor = monitor;
    this.spaces.onSockets = () => native.monitorIgnore(monitor, this.spaces.portIds());
    // A pin that somebody removes is no netlink event.
    this.#files = watch(this.spaces.dir, () => {
      const dirt = new Dirt();
      dirt.add(NODE_NS, 'netns');
      this.onDirt(dirt, false);
    });
    this.#files.unref();
  }

  stop(): void {
    this.#files?.close();
    if (this.#monitor) this.spaces.native.monitorStop(this.#monitor);
    this.spaces.onSockets = () => {};
  }

  /** Gives a namespace an nsid, so that it is heard; called for every namespace of the wish after each pass. */
  async listenTo(ns: Ns): Promise<void> {
    if (ns === NODE_NS) return;
    const space = this.spaces.open(ns);
    const known = this.#ids.get(ns);
    if (!space || known?.inode === space.inode) return;
    if (known) this.#names.delete(known.nsid);
    const node = this.spaces.open(NODE_NS);
    if (!node) return;
    await node.rtnl.request(RTM_NEWNSID, NLM_F_CREATE | NLM_F_EXCL, writeNsid, { fd: space.fd, nsid: -1 });
    const { message } = await node.rtnl.get(RTM_GETNSID, writeNsid, { fd: space.fd });
    const nsid = message && readNsid(message.body).nsid;
    if (nsid === undefined || nsid < 0) return;
    this.#names.set(nsid, ns);
    this.#ids.set(ns, { nsid, inode: space.inode });
  }

  #take(records: MonitorRecord[]): void {
    const dirt = new Dirt();
    let lost = false;
    for (const record of records) {
      if (record.lost) lost = true;
      else {
        const ns = record.nsid < 0 ? NODE_NS : this.#names.get(record.nsid);
        if (ns !== undefined) for (const message of parseMessages(record.bytes)) mark(dirt, ns, message);
      }
    }
    if (lost || dirt.scopes.size > 0) this.onDirt(dirt, lost);
  }
}

function mark(dirt: Dirt, ns: Ns, message: Message): void {
  const kind = KIND_OF.get(message.type);
  if (kind !== undefined) {
    dirt.add(ns, kind);
    return;
  }
  if (message.type !== RTM_NEWNEIGH && message.type !== RTM_DELNEIGH) return;
  const { family, state } = readNeighbour(message.body);
  // Containers resolve neighbours all the time; what is ours is permanent or static. A deleted entry is told as FAILED.
  if (message.type === RTM_DELNEIGH || state & (NUD_PERMANENT | NUD_NOARP))
    dirt.add(ns, family === AF_BRIDGE ? 'fdb' : 'neighbour');
}
