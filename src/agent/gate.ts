import type { Ns } from '../objects/kind.js';
import type { PruneGate } from '../reconcile/pass.js';
import type { Confidence } from '../state/store.js';

/** Kinds whose objects come from other nodes' rows: not pruned while those rows may be unknown. */
const FROM_PEERS: ReadonlySet<string> = new Set(['neighbour', 'fdb', 'real-server', 'nft']);

/** What the agent knows that decides whether an object may go. */
export interface Grounds {
  confidence(): Confidence;
  /** Everything is being taken down. */
  isDismantling(): boolean;
  /** A change of the wish gave the object up. */
  isReleased: (...of: Parameters<PruneGate>) => boolean;
  /** Rules to a resolver that has not told yet where it listens. */
  holds: (...of: Parameters<PruneGate>) => boolean;
}

/** Why an object that nothing wishes may not go yet. */
export function pruneGate({ confidence, isDismantling, isReleased, holds }: Grounds): PruneGate {
  return (ns: Ns, kind: string, key: string) => {
    if (isDismantling() || isReleased(ns, kind, key)) return undefined;
    if (holds(ns, kind, key)) return 'held until the resolver tells where it listens';
    const { doubt, peersKnown } = confidence();
    if (doubt !== undefined) return `held until the wish is stated anew (${doubt})`;
    if (!peersKnown && FROM_PEERS.has(kind)) return 'held until a snapshot of the peers has ended';
    return undefined;
  };
}
