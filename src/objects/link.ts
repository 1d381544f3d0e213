import type { Ip, Mac } from '../base/ip.js';
import { differences, type Kind, type Ns, STAGE } from './kind.js';

/** Prefix of the ifalias that marks a link as ours: `weft:endpoint/c1:app`. */
export const ALIAS_PREFIX = 'weft:';

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

export type Link = BridgeLink | VxlanLink | IfbLink | VethLink | VethEndLink | PresentLink | ForeignLink;

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
  return '';
}

export const linkKind: Kind<Link> = {
  name: 'link',
  stages: [STAGE.link, STAGE.linkEnd],
  stage: (o) => (o.type === 'veth-end' ? STAGE.linkEnd : STAGE.link),
  rank: (o) => ({ bridge: 0, vxlan: 1, ifb: 1, veth: 2, 'veth-end': 3, present: 4, foreign: 5 })[o.type],
  key: (o) => o.name,
  same(want, have) {
    const reasons = [incompatible(want, have), differences<LinkCommon>(want, have, COMMON)];
    if (want.port)
      reasons.push(differences(want.port, have.port ?? {}, ['hairpin', 'learning', 'isolated', 'unicastFlood']));
    return reasons.filter(Boolean).join('; ');
  },
  owns(have, where) {
    if (have.alias?.startsWith(ALIAS_PREFIX)) return true;
    // In a namespace of ours everything but what the kernel puts there itself (lo, tunnel fallback devices) is ours.
    // A veth end is left out: deleting it would delete the near end, which says itself whether it is wanted.
    return where.nsOwned && have.type !== 'present' && have.type !== 'foreign' && have.type !== 'veth-end';
  },
  // A far end is born without alias. In a namespace of ours it is ours all the same; in one that was handed over, the
  // MAC that its near end gave it says that it is that one and no stranger's.
  adopts: (want, have, { nsOwned }) =>
    want.type === 'present' || (want.type === 'veth-end' && (nsOwned || have.mac === want.mac)),
  describe: (o) => `${o.type === 'foreign' ? o.kindName : o.type} ${o.name}`,
};
