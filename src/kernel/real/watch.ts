import { type FSWatcher, watch } from 'node:fs';
import { AttrReader } from '../../codec/attr.js';
import {
  type Message,
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  NLM_F_CREATE,
  NLM_F_EXCL,
  parseMessages,
} from '../../codec/netlink.js';
import { NFNL_SUBSYS_NFTABLES, NFNLGRP_NFTABLES, nfproto } from '../../codec/nfnl.js';
import { NFT_MSG_NEWGEN } from '../../codec/nft/change.js';
import { RTM_DELADDR, RTM_NEWADDR } from '../../codec/rtnl/address.js';
import { RTM_DELLINK, RTM_NEWLINK } from '../../codec/rtnl/link.js';
import { RTM_GETNSID, RTM_NEWNSID, readNsid, writeNsid } from '../../codec/rtnl/nsid.js';
import { RTM_DELROUTE, RTM_NEWROUTE } from '../../codec/rtnl/route.js';
import { RTM_DELRULE, RTM_NEWRULE } from '../../codec/rtnl/rule.js';
import { RTM_DELQDISC, RTM_DELTFILTER, RTM_NEWQDISC, RTM_NEWTFILTER } from '../../codec/rtnl/tc.js';
import { NODE_NS, type Ns } from '../../objects/kind.js';
import { Dirt } from '../../reconcile/desired.js';
import type { Monitor, MonitorRecord } from './native.js';
import { NFT_TABLE } from './nft-port.js';
import type { Space, Spaces } from './spaces.js';
import { ToldRows } from './told-rows.js';

/** RTNLGRP_* of linux/rtnetlink.h: LINK, NEIGH, TC, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE. */
const ROUTE_GROUPS = [1, 3, 4, 5, 7, 8, 9, 11, 19];

const KIND_OF = new Map<number, string>([
  [RTM_NEWLINK, 'link'],
  [RTM_DELLINK, 'link'],
  [RTM_NEWADDR, 'address'],
  [RTM_DELADDR, 'address'],
  [RTM_NEWROUTE, 'route'],
  [RTM_DELROUTE, 'route'],
  [RTM_NEWRULE, 'rule'],
  [RTM_DELRULE, 'rule'],
  [RTM_NEWQDISC, 'qdisc'],
  [RTM_DELQDISC, 'qdisc'],
  [RTM_NEWTFILTER, 'qdisc'],
  [RTM_DELTFILTER, 'qdisc'],
]);

/** sizeof(struct nfgenmsg), which begins every message of nfnetlink with the family. */
const NFGENMSG_LENGTH = 4;
/** NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE: all the same number. */
const NFTA_TABLE = 1;
/** Tables of iptables-nft that hold rules of ours. */
const IPTABLES_TABLES: ReadonlySet<string> = new Set(['raw', 'mangle', 'nat', 'filter']);
/** A container may change its own rules all the time: comparing them starts a program, so this often at most. */
const RULES_MS = 500;

/**
 * Listens to the kernel in all namespaces of the agent through one socket (NETLINK_LISTEN_ALL_NSID); a namespace is
 * heard once it has an nsid. The agent's own changes are filtered out by port id in the addon.
 */
export class Watch {
  readonly #names = new Map<number, Ns>();
  readonly #ids = new Map<Ns, { nsid: number; inode: bigint }>();
  #monitor: Monitor | undefined;
  #files: FSWatcher | undefined;
  /** Changed iptables rules that were heard of during `#rulesRest`. */
  #rules = new Dirt();
  #rulesRest: NodeJS.Timeout | undefined;

  constructor(
    readonly spaces: Spaces,
    /** `lost`: notifications were dropped, everything needs a look. */
    readonly onDirt: (dirt: Dirt, lost: boolean) => void,
  ) {}

  start(): void {
    const { native } = this.spaces;
    const monitor = native.monitorStart((records) => void this.#take(records), { maxPendingBytes: 4 * 1024 * 1024 });
    native.monitorAdd(monitor, -1, NETLINK_ROUTE, ROUTE_GROUPS, true);
    native.monitorAdd(monitor, -1, NETLINK_NETFILTER, [NFNLGRP_NFTABLES], true);
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
    clearTimeout(this.#rulesRest);
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
    let nsid = await nsidOf(node, space);
    if (nsid < 0) {
      await node.rtnl.request(RTM_NEWNSID, NLM_F_CREATE | NLM_F_EXCL, writeNsid, { fd: space.fd, nsid: -1 });
      nsid = await nsidOf(node, space);
    }
    if (nsid < 0) return;
    this.#names.set(nsid, ns);
    this.#ids.set(ns, { nsid, inode: space.inode });
  }

  async #take(records: MonitorRecord[]): Promise<void> {
    const dirt = new Dirt();
    const rows = new ToldRows();
    let lost = false;
    for (const record of records) {
      if (record.lost) lost = true;
      else {
        const ns = record.nsid < 0 ? NODE_NS : this.#names.get(record.nsid);
        if (ns !== undefined) for (const message of parseMessages(record.bytes)) this.#hear(dirt, rows, ns, message);
      }
    }
    await rows.mark(dirt, this.spaces);
    if (lost || dirt.scopes.size > 0) this.onDirt(dirt, lost);
    this.#tellRules();
  }

  #hear(dirt: Dirt, rows: ToldRows, ns: Ns, message: Message): void {
    const { type, body } = message;
    const route = KIND_OF.get(type);
    if (route !== undefined) dirt.add(ns, route);
    else if (type >> 8 !== NFNL_SUBSYS_NFTABLES) rows.hear(ns, message);
    else if ((type & 0xff) !== NFT_MSG_NEWGEN) {
      const kind = ruleKind(body);
      if (kind === 'nft') dirt.add(ns, kind);
      // Our own iptables-nft-restore is heard too: it costs one comparison, which finds nothing and so ends there.
      else if (kind === 'iptables') this.#rules.add(ns, kind);
    }
  }

  /** At once, and then not before the rest is over. */
  #tellRules(): void {
    if (this.#rulesRest || this.#rules.scopes.size === 0) return;
    const dirt = this.#rules;
    this.#rules = new Dirt();
    this.#rulesRest = setTimeout(() => {
      this.#rulesRest = undefined;
      this.#tellRules();
    }, RULES_MS).unref();
    this.onDirt(dirt, false);
  }
}

/** Whose rules a message of nf_tables is about: table weft of our families, or what iptables-nft keeps. */
function ruleKind(body: Uint8Array): 'nft' | 'iptables' | undefined {
  const family = body[0];
  const attrs = new AttrReader(body.subarray(NFGENMSG_LENGTH), 'notification of nf_tables');
  let table: string | undefined;
  while (table === undefined && attrs.next()) if (attrs.type === NFTA_TABLE) table = attrs.string();
  if (table === undefined) return undefined;
  if (family === nfproto('bridge') || family === nfproto('inet')) return table === NFT_TABLE ? 'nft' : undefined;
  const isIp = family === nfproto('ip') || family === nfproto('ip6');
  return isIp && IPTABLES_TABLES.has(table) ? 'iptables' : undefined;
}

/** How the node's namespace numbers another; negative where it does not (NETNSA_NSID_NOT_ASSIGNED). */
async function nsidOf(node: Space, space: Space): Promise<number> {
  const { message } = await node.rtnl.get(RTM_GETNSID, writeNsid, { fd: space.fd });
  return message === undefined ? -1 : (readNsid(message.body).nsid ?? -1);
}
