import { addressKind } from './address.js';
import { fdbKind } from './fdb.js';
import { iptablesKind } from './iptables.js';
import { ipvsTimeoutsKind, realServerKind, virtualServerKind } from './ipvs.js';
import type { Kind } from './kind.js';
import { linkKind } from './link.js';
import { neighbourKind } from './neighbour.js';
import { netnsKind } from './netns.js';
import { nftKind } from './nft.js';
import { qdiscKind } from './qdisc.js';
import { routeKind } from './route.js';
import { ruleKind } from './rule.js';
import { sysctlKind } from './sysctl.js';
import { udpFlowsKind } from './udp-flows.js';

/** Every kind of kernel object that weft keeps; a new kind is one file in objects/, one in kernel/ and a line here. */
const ALL = [
  netnsKind,
  sysctlKind,
  linkKind,
  qdiscKind,
  addressKind,
  routeKind,
  ruleKind,
  neighbourKind,
  fdbKind,
  ipvsTimeoutsKind,
  virtualServerKind,
  realServerKind,
  nftKind,
  iptablesKind,
  udpFlowsKind,
] as const;

export const KINDS: ReadonlyMap<string, Kind<never>> = new Map(ALL.map((kind) => [kind.name, kind as Kind<never>]));

/** All stages of a pass, ascending. */
export const STAGES: readonly number[] = [...new Set(ALL.flatMap((kind) => kind.stages))].sort((a, b) => a - b);
