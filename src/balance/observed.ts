import type { Family, Ip } from '../base/ip.js';
import { valueHex } from '../codec/nft/types.js';
import type { RealServer } from '../objects/ipvs.js';
import type { NftElement, NftObject } from '../objects/nft.js';
import { IPPROTO } from './backends.js';
import type { Frontend } from './backends.js';
import { frontendKey } from './frontend.js';

/** How many backends a balancer in the kernel has for a frontend. */
export interface BackendCount {
  /** Take new connections. */
  active: number;
  /** Keep the ones they have. */
  draining: number;
}

/** What the balancers of a namespace have in the kernel. */
export interface ObservedBalancing {
  nft: readonly NftObject[];
  servers: readonly RealServer[];
}

/** As the maps of balancer `nft` have it: `live` and `drain` name each backend of a frontend once. */
export function nftBackends({ nft }: ObservedBalancing, of: Family, frontend: Frontend): BackendCount {
  const key = frontendKey(of, frontend);
  const count = (set: string) => elements(nft, `${set}${of}`).filter((e) => e.key.startsWith(key)).length;
  return { active: count('live'), draining: count('drain') };
}

/** As the virtual servers have it whose marks the bridge's map gives to the frontend's frames. */
export function ipvsBackends({ nft, servers }: ObservedBalancing, of: Family, frontend: Frontend): BackendCount {
  const keys = new Set(
    frontend.port
      ? [frontendKey(of, frontend)]
      : Object.values(IPPROTO).map((proto) => frontendKey(of, frontend, [['inet_proto', proto]])),
  );
  const marks = new Set(elements(nft, `mark${of}`).flatMap((e) => (keys.has(e.key) ? [e.value] : [])));
  const weights = new Map<Ip, number>();
  for (const { family, fwmark, ip, weight } of servers) {
    if (family !== of || !marks.has(valueHex('mark', fwmark))) continue;
    weights.set(ip, Math.max(weight, weights.get(ip) ?? 0));
  }
  const active = [...weights.values()].filter((weight) => weight > 0).length;
  return { active, draining: weights.size - active };
}

const elements = (nft: readonly NftObject[], set: string): NftElement[] =>
  nft.filter((o): o is NftElement => o.what === 'element' && o.set === set);
