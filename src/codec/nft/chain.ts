import { WeftError } from '../../base/errors.js';
import type { AttrReader, AttrWriter } from '../attr.js';
import { type Message, NLM_F_CREATE } from '../netlink.js';
import { nfBody } from '../nfnl.js';
import {
  type Change,
  dumpRequest,
  findRequests,
  NFT_MSG_DELCHAIN,
  NFT_MSG_GETCHAIN,
  NFT_MSG_NEWCHAIN,
  type TableRef,
} from './change.js';
import { readUserdata, UDATA_COMMENT, type Userdata, userdataBytes } from './userdata.js';

/* nft_chain_attributes, nft_hook_attributes */
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_HANDLE = 2;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_POLICY = 5;
const NFTA_CHAIN_TYPE = 7;
const NFTA_CHAIN_USERDATA = 12;
const NFTA_HOOK_HOOKNUM = 1;
const NFTA_HOOK_PRIORITY = 2;
const NFTA_HOOK_DEV = 3;
const NFTA_HOOK_DEVS = 4;
const NFTA_DEVICE_NAME = 1;

/** NF_DROP and NF_ACCEPT of linux/netfilter.h. */
const POLICIES = ['drop', 'accept'] as const;

/** NF_INET_*, NF_BR_*, NF_NETDEV_* and NF_ARP_* number their hooks differently; the index is the number. */
const INET_HOOKS = ['prerouting', 'input', 'forward', 'output', 'postrouting', 'ingress'] as const;
const NETDEV_HOOKS = ['ingress', 'egress'] as const;
const ARP_HOOKS = ['input', 'output', 'forward'] as const;
export type Hook = (typeof INET_HOOKS)[number] | (typeof NETDEV_HOOKS)[number];

export interface ChainRef extends TableRef {
  chain: string;
}

/** What makes a chain a base chain: called by the network stack. */
export interface Base {
  /** nft_chain_type.name: `filter`, `nat`, `route`. */
  type: string;
  hook: Hook;
  /** Signed; lower comes first. */
  priority: number;
  policy: (typeof POLICIES)[number];
  /** Only of netdev and inet ingress chains. */
  devices?: string[];
}

export interface Chain extends ChainRef, Userdata {
  base?: Base;
  handle?: bigint;
}

/** Creates a chain; one that exists gets the policy and is else left alone, or EOPNOTSUPP where hook or priority differ. @throws WEFT_INVALID_ARGUMENT */
export function newChain(c: Chain): Change {
  return {
    operation: NFT_MSG_NEWCHAIN,
    flags: NLM_F_CREATE,
    family: c.family,
    label: `add chain ${chainText(c)}`,
    write: (a) => {
      a.string(NFTA_CHAIN_TABLE, c.table).string(NFTA_CHAIN_NAME, c.chain);
      if (c.base !== undefined) writeBase(a, c.family, c.base);
      a.bytes(NFTA_CHAIN_USERDATA, userdataBytes(c, UDATA_COMMENT));
    },
  };
}

/** Deletes a chain with its rules; EBUSY where rules or elements still jump to it. */
export function delChain(c: ChainRef): Change {
  return {
    operation: NFT_MSG_DELCHAIN,
    flags: 0,
    family: c.family,
    label: `delete chain ${chainText(c)}`,
    write: (a) => a.string(NFTA_CHAIN_TABLE, c.table).string(NFTA_CHAIN_NAME, c.chain),
  };
}

/** Dump of all chains of a family; the kernel filters no further. */
export function getChains(seq: number, family: TableRef['family'] = 'unspec'): Buffer {
  return dumpRequest(NFT_MSG_GETCHAIN, seq, family);
}

/**
 * Requests for single chains, a message each, numbered from `seq`; only the last is acknowledged. What exists is answered
 * with an NFT_MSG_NEWCHAIN, what does not (or whose table does not) with ENOENT.
 */
export function findChains(seq: number, chains: readonly ChainRef[]): Buffer {
  return findRequests(NFT_MSG_GETCHAIN, seq, chains, (a, c) =>
    a.string(NFTA_CHAIN_TABLE, c.table).string(NFTA_CHAIN_NAME, c.chain),
  );
}

/** `bridge weft prerouting` */
export function chainText(c: ChainRef): string {
  return `${c.family} ${c.table} ${c.chain}`;
}

/** Body of an NFT_MSG_NEWCHAIN. @throws WEFT_INTERNAL */
export function readChain(message: Message): Chain {
  const { family, attrs } = nfBody(message, 'nf_tables chain');
  let table: string | undefined;
  let chain: string | undefined;
  const rest: Omit<Chain, keyof ChainRef> = {};
  const base: Partial<Base> = {};
  while (attrs.next()) {
    switch (attrs.type) {
      case NFTA_CHAIN_TABLE:
        table = attrs.string();
        break;
      case NFTA_CHAIN_NAME:
        chain = attrs.string();
        break;
      case NFTA_CHAIN_HANDLE:
        rest.handle = attrs.be64();
        break;
      case NFTA_CHAIN_HOOK:
        Object.assign(base, readHook(attrs.nested('nf_tables hook'), family));
        break;
      case NFTA_CHAIN_TYPE:
        base.type = attrs.string();
        break;
      case NFTA_CHAIN_POLICY:
        base.policy = attrs.be32() === 0 ? 'drop' : 'accept';
        break;
      case NFTA_CHAIN_USERDATA:
        Object.assign(rest, readUserdata(attrs.bytes(), UDATA_COMMENT));
        break;
    }
  }
  if (table === undefined || chain === undefined) throw new WeftError('WEFT_INTERNAL', 'nf_tables chain: no name');
  const { type, hook, priority, policy = 'accept', devices } = base;
  if (type !== undefined && hook !== undefined && priority !== undefined) {
    rest.base = { type, hook, priority, policy, ...(devices === undefined ? {} : { devices }) };
  }
  return { family, table, chain, ...rest };
}

function writeBase(a: AttrWriter, family: TableRef['family'], base: Base): void {
  const hook = hooks(family).indexOf(base.hook);
  if (hook < 0) throw new WeftError('WEFT_INVALID_ARGUMENT', `family ${family} has no hook "${base.hook}"`);
  if (base.priority !== (base.priority | 0)) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `${base.priority} is no priority of a chain`);
  }
  a.string(NFTA_CHAIN_TYPE, base.type).be32(NFTA_CHAIN_POLICY, POLICIES.indexOf(base.policy));
  a.nest(NFTA_CHAIN_HOOK, (h) => {
    h.be32(NFTA_HOOK_HOOKNUM, hook).be32(NFTA_HOOK_PRIORITY, base.priority >>> 0);
    const [first, second] = base.devices ?? [];
    // Kernels before 5.5 know a single device only.
    if (second === undefined) h.string(NFTA_HOOK_DEV, first);
    else
      h.nest(NFTA_HOOK_DEVS, (d) => {
        for (const device of base.devices ?? []) d.string(NFTA_DEVICE_NAME, device);
      });
  });
}

function readHook(a: AttrReader, family: TableRef['family']): Partial<Base> {
  const out: Partial<Base> = {};
  while (a.next()) {
    switch (a.type) {
      case NFTA_HOOK_HOOKNUM: {
        const hook = hooks(family)[a.be32()];
        if (hook !== undefined) out.hook = hook;
        break;
      }
      case NFTA_HOOK_PRIORITY:
        out.priority = a.be32() | 0;
        break;
      case NFTA_HOOK_DEV:
        out.devices ??= [a.string()];
        break;
      case NFTA_HOOK_DEVS:
        out.devices = readDevices(a.nested('nf_tables devices'));
        break;
    }
  }
  return out;
}

function readDevices(a: AttrReader): string[] {
  const out: string[] = [];
  while (a.next()) if (a.type === NFTA_DEVICE_NAME) out.push(a.string());
  return out;
}

function hooks(family: TableRef['family']): readonly Hook[] {
  return family === 'netdev' ? NETDEV_HOOKS : family === 'arp' ? ARP_HOOKS : INET_HOOKS;
}
