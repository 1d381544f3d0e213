import { ObservedBalancing } from '../../balance/observed.js';
import type { RealServer, VirtualServer } from '../../objects/ipvs.js';
import type { Ns } from '../../objects/kind.js';
import type { NftObject } from '../../objects/nft.js';
import { compare, type Drift, type Look } from './look.js';

/** What balances in a network's namespace, and how each service's part of it compares with the wish. */
export interface Balancing {
  observed: ObservedBalancing;
  /** `{drift: 'differs'}` with a reason where objects of the owner (`service/web`) are not as wished. */
  of(owner: string): { drift: Drift; reason?: string };
}

export async function balancingIn(look: Look, ns: Ns): Promise<Balancing> {
  const nft = await compare<NftObject>(look, 'nft', ns);
  const virtual = await compare<VirtualServer>(look, 'virtual-server', ns);
  const real = await compare<RealServer>(look, 'real-server', ns);
  const totals = new Map<string, { all: number; wrong: number }>();
  for (const { owner, drift } of [...nft, ...virtual, ...real]) {
    const total = totals.get(owner) ?? { all: 0, wrong: 0 };
    totals.set(owner, { all: total.all + 1, wrong: total.wrong + (drift === 'ok' ? 0 : 1) });
  }
  const there = <T>(rows: readonly { drift: Drift; object: T }[]) =>
    rows.filter((row) => row.drift !== 'missing').map((row) => row.object);
  return {
    observed: new ObservedBalancing(there(nft), there(real)),
    of(owner) {
      const { all, wrong } = totals.get(owner) ?? { all: 0, wrong: 0 };
      if (wrong === 0) return { drift: 'ok' };
      return { drift: 'differs', reason: `${wrong} of the balancer’s ${all} objects are not as wished` };
    },
  };
}
