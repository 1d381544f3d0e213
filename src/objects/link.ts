import type { Ip, Mac } from '../base/ip.js';
import { differences, type Kind, type Ns, STAGE } from './kind.js';

/** Prefix of the ifalias that marks a link as ours: `weft:endpoint/c1:app`. */
export const ALIAS_PREFIX = 'weft:';

/** Group of the links that weft makes. The kernel takes it at birth; the ifalias only from a second request. */
export const WEFT_GROUP = 87;

/** Does it bear weft's mark? Without an alias the group says so: the agent ended between birth and christening. */
export const isMarked = ({ alias, group }: { alias?: string; group?: number }): boolean =>
  alias === undefined ? group === WEFT_GROUP : alias.startsWith(ALIAS_PREFIX);

interface LinkCommon {
  name: string;
  up: boolean;
  mtu?: number;
  mac?: Mac;
  /** Name of the bridge this is a port of. */
  master?: string;
  alias?: string;
  /** Bridge port flags; only on ports. */
  port?: { hairpin?: boolean; learning?: boolean; isolated?: boolean; unicastFlood?: boolean };
  /** Observed only. */
  index?: number;
  /** Observed only: every link is made with `WEFT_GROUP`. */
  group?: number;
}

export interface BridgeLink extends LinkCommon {
  type: 'bridge';
}

export interface VxlanLink extends LinkCommon {
  type: 'vxlan';
  vni: number;
  /** UDP port of the underlay. */
  dstPort: number;
  local: Ip;
  /** Namespace whose UDP socket it uses: created there, born into `ns`. */
  underlay: Ns;
  /** Interface of that namespace by which it sends: a VRF, whose routes then count. */
  dev?: string;
}

/** Whatever is handed to it leaves by it and goes on where it came from: what comes in somewhere can be held to a rate. */
export interface IfbLink extends LinkCommon {
  type: 'ifb';
}

/** A device that leads nowhere: the parent of networks that have none. */
export interface DummyLink extends LinkCommon {
  type: 'dummy';
}

/** Whose frames it sends and gets a share of: an interface of the node. */
interface OnParent {
  parent: { ns: Ns; name: string };
}

export interface VlanLink extends LinkCommon, OnParent {
  type: 'vlan';
  /** 802.1Q identifier. */
  id: number;
}

export interface MacvlanLink extends LinkCommon, OnParent {
  type: 'macvlan';
  mode: 'bridge' | 'private' | 'vepa' | 'passthru';
}

export interface IpvlanLink extends LinkCommon, OnParent {
  type: 'ipvlan';
  mode: 'l2' | 'l3' | 'l3s';
}

/** Links that stand on another. */
export type StackedLink = VlanLink | MacvlanLink | IpvlanLink;

/** The near end of a pair; the far end is born in `peer.ns` with its name, MAC and MTU. */
export interface VethLink extends LinkCommon {
  type: 'veth';
  peer: { ns: Ns; name: string; mac?: Mac; mtu?: number };
}

/** The far end of a pair: it exists because the near end was created, and is only configured. */
export interface VethEndLink extends LinkCommon {
  type: 'veth-end';
}

/** `lo` and whatever else exists by itself and is only switched on. */
export interface PresentLink extends LinkCommon {
  type: 'present';
}

/** A link of a kind weft does not make; observed only. */
export interface ForeignLink extends LinkCommon {
  type: 'foreign';
  kindName: string;
}

export type Link =
  | BridgeLink
  | VxlanLink
  | IfbLink
  | DummyLink
  | StackedLink
  | VethLink
  | VethEndLink
  | PresentLink
  | ForeignLink;

const COMMON = ['up', 'mtu', 'mac', 'master', 'alias'] as const;

/** What cannot be changed on a living link: a difference here means delete and create. */
export function incompatible(want: Link, have: Link): string {
  if (want.type === 'present') return '';
  const wantType = want.type === 'veth-end' ? 'veth' : want.type;
  const haveType = have.type === 'veth-end' ? 'veth' : have.type;
  if (wantType !== haveType) return `is a ${have.type === 'foreign' ? have.kindName : have.type}, wanted ${want.type}`;
  if (want.type === 'vxlan' && have.type === 'vxlan') {
    const bound = want.dev === have.dev ? '' : `sends by ${have.dev ?? 'any'}, wanted ${want.dev ?? 'any'}`;
    return [differences(want, have, ['vni', 'dstPort', 'local']), bound].filter(Boolean).join('; ');
  }
  return 'parent' in want && 'parent' in have ? otherwiseStacked(want, have) : '';
}

function otherwiseStacked(want: StackedLink, have: StackedLink): string {
  const on = want.parent.name === have.parent.name ? '' : `is on ${have.parent.name}, wanted ${want.parent.name}`;
  const id = want.type === 'vlan' && have.type === 'vlan' ? differences(want, have, ['id']) : '';
  const mode =
    'mode' in want && 'mode' in have && want.mode !== have.mode ? `mode ${have.mode}, wanted ${want.mode}` : '';
  return [on, id, mode].filter(Boolean).join('; ');
}

/** Somebody else's VLAN interface of that name and identifier serves as well, as it is. */
const servesAsItIs = (want: Link, have: Link): boolean =>
  want.type === 'vlan' && have.up && incompatible(want, have) === '' && !isMarked(have);

/** What others stand on comes before them. */
const RANKS: Readonly<Record<Link['type'], number>> = {
  bridge: 0,
  dummy: 0,
  vlan: 0,
  vxlan: 1,
  ifb: 1,
  veth: 2,
  macvlan: 2,
  ipvlan: 2,
  'veth-end': 3,
  present: 4,
  foreign: 5,
};

export const linkKind: Kind<Link> = {
  name: 'link',
  stages: [STAGE.link, STAGE.linkEnd],
  stage: (o) => (o.type === 'veth-end' ? STAGE.linkEnd : STAGE.link),
  rank: (o) => RANKS[o.type],
  key: (o) => o.name,
  same(want, have) {
    if (servesAsItIs(want, have)) return '';
    const reasons = [incompatible(want, have), differences<LinkCommon>(want, have, COMMON)];
    if (want.port)
      reasons.push(differences(want.port, have.port ?? {}, ['hairpin', 'learning', 'isolated', 'unicastFlood']));
    return reasons.filter(Boolean).join('; ');
  },
  owns(have, where) {
    if (isMarked(have)) return true;
    // In a namespace of ours everything but what the kernel puts there itself (lo, tunnel fallback devices) is ours.
    // A veth end is left out: deleting it would delete the near end, which says itself whether it is wanted.
    return where.nsOwned && have.type !== 'present' && have.type !== 'foreign' && have.type !== 'veth-end';
  },
  // A far end of an older version was born without a mark. In a namespace of ours it is ours all the same; in one that was
  // handed over, the MAC that its near end gave it says that it is that one and no stranger's.
  // A link that stands on another and is to have its name takes its place there.
  adopts: (want, have, { nsOwned }) =>
    want.type === 'present' ||
    (want.type === 'veth-end' && (nsOwned || have.mac === want.mac)) ||
    ('parent' in want && nsOwned && have.type === 'veth-end'),
  describe: (o) => `${o.type === 'foreign' ? o.kindName : o.type} ${o.name}`,
};
