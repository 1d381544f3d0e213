import { differences, type Kind, STAGE } from './kind.js';

/** Major number of our queueing disciplines and priority of our filters, so that they tell themselves from others'. */
export const WEFT_QDISC = 87;

/** What leaves by a device is held to a rate: a token bucket (tbf) at its root. */
export interface Shaper {
  what: 'shaper';
  dev: string;
  /** Bytes a second. */
  rate: number;
  /** Bytes that may leave at once. */
  burst: number;
  /** Bytes that may wait. */
  limit: number;
  /** Observed: major number of the handle. */
  major?: number;
  /** Observed: kind of what stands at the root, where it is no tbf. */
  foreign?: string;
}

/** What comes in by a device is handed to another, to be held to a rate when it leaves that one. */
export interface Redirect {
  what: 'redirect';
  dev: string;
  /** Absent when observed: an ingress qdisc without our filter. */
  to?: string;
  /** Observed: the qdisc is of others, or has filters of theirs. */
  shared?: boolean;
}

export type Qdisc = Shaper | Redirect;

/** The kernel keeps the burst as a time in ticks of 64 ns: at 10 Gbit/s a tick is 80 bytes. */
const BURST_TOLERANCE = 0.01;

export const qdiscKind: Kind<Qdisc> = {
  name: 'qdisc',
  stages: [STAGE.qdisc],
  stage: () => STAGE.qdisc,
  // What holds a rate is there before anything is led to it.
  rank: (o) => (o.what === 'shaper' ? 0 : 1),
  key: (o) => `${o.dev} ${o.what}`,
  same(want, have) {
    if (want.what === 'redirect' && have.what === 'redirect') return differences(want, have, ['to']);
    if (want.what !== 'shaper' || have.what !== 'shaper') return 'is of another kind';
    if (have.foreign !== undefined) return `is a ${have.foreign}`;
    const burst = Math.abs(want.burst - have.burst) > want.burst * BURST_TOLERANCE;
    return differences(want, have, burst ? ['rate', 'limit', 'burst'] : ['rate', 'limit']);
  },
  owns(have, where) {
    if (have.what === 'shaper') return have.major === WEFT_QDISC;
    // An agent that was killed between qdisc and filter leaves the qdisc alone.
    return have.to !== undefined || (where.nsOwned && !have.shared);
  },
  // The wish names a device of ours: what somebody else put there is in the way of its limit.
  adopts: () => true,
  standsOn: (o, devs) => devs.has(o.dev),
  describe: (o) => `${o.what} of ${o.dev}`,
};
