import { WeftError } from '../../base/errors.js';
import { NETLINK_GENERIC, NETLINK_NETFILTER } from '../../codec/netlink.js';
import { batch, refusals } from '../../codec/nft/batch.js';
import {
  accept,
  anyOf,
  CT_ESTABLISHED,
  counter,
  ct,
  is,
  isNot,
  jhash,
  meta,
  notrack,
  raw,
  rule,
  type Statement,
} from '../../codec/nft/build.js';
import { newChain } from '../../codec/nft/chain.js';
import { newRule } from '../../codec/nft/rule.js';
import { newTable } from '../../codec/nft/table.js';
import type { NftFamily } from '../../objects/nft.js';
import { ipvsFamily } from './ipvs-port.js';
import { NFT_TABLE } from './nft-port.js';
import type { Space, Spaces } from './spaces.js';

/** What the kernel can do, found by trying in a throw-away namespace, never by version. */
export interface Capabilities {
  ipvs: boolean;
  /** nf_tables of the bridge family: both balancers and the return map need it. */
  nftBridge: boolean;
  /** nf_tables of the IP layer, with what the guard of the tunnel's port says there. */
  nftInet: boolean;
  /** nf_conntrack_bridge. */
  bridgeConntrack: boolean;
  /** nft_hash. */
  nftHash: boolean;
  /** What `iptables-restore --version` says, undefined where it is not installed. */
  iptables: string | undefined;
}

const PROBE = '.probe';
/** A hash of what any frame has. */
const inSlot = is(jhash(meta.protocol, 2, 1), 0);

export async function probe(spaces: Spaces): Promise<Capabilities> {
  spaces.remove(PROBE);
  spaces.create(PROBE);
  try {
    const space = spaces.open(PROBE);
    if (!space)
      throw new WeftError(
        'WEFT_KERNEL_MISSING',
        'network namespaces cannot be made',
        'a kernel with CONFIG_NET_NS is needed',
      );
    return {
      ipvs: (await ipvsFamily(space.socket(NETLINK_GENERIC))) !== undefined,
      nftBridge: await accepts(space, 'bridge', [accept]),
      nftInet: await accepts(space, 'inet', [isNot(raw('transport', 12, 3), 0), notrack, counter]),
      bridgeConntrack: await accepts(space, 'bridge', [anyOf(ct.state, CT_ESTABLISHED), accept]),
      nftHash: await accepts(space, 'bridge', [inSlot]),
      iptables: await versionOf(space, 'iptables-restore'),
    };
  } finally {
    spaces.remove(PROBE);
  }
}

let seq = 1;

/** Does the kernel take a rule of these statements in prerouting? */
async function accepts(space: Space, family: NftFamily, statements: readonly Statement[]): Promise<boolean> {
  const at = { family, table: NFT_TABLE, chain: 'probe' } as const;
  const base = { type: 'filter', hook: 'prerouting', priority: 0, policy: 'accept' } as const;
  const made = batch([newTable({ ...at, flags: 0 }), newChain({ ...at, base }), newRule(rule(at, statements))], {
    seq,
  });
  seq += 10;
  const answer = await space.socket(NETLINK_NETFILTER).transact(made.bytes, 5000);
  return refusals(answer, made).length === 0;
}

async function versionOf(space: Space, program: string): Promise<string | undefined> {
  try {
    const { code, stdout } = await space.native.exec(space.fd, [program, '--version'], null, undefined, 5000);
    return code === 0 ? stdout.toString('utf8').trim() : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
