import type { WeftError } from '../../base/errors.js';
import { type Ack, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from '../../codec/netlink.js';
import {
  INGRESS_HANDLE,
  type Qdisc as QdiscMessage,
  RTM_DELQDISC,
  RTM_DELTFILTER,
  RTM_GETQDISC,
  RTM_GETTFILTER,
  RTM_NEWQDISC,
  RTM_NEWTFILTER,
  readFilter,
  readQdisc,
  TC_H_INGRESS,
  TC_H_ROOT,
  writeFilterDump,
  writeQdisc,
  writeQdiscDump,
  writeRedirect,
} from '../../codec/rtnl/tc.js';
import type { Ns } from '../../objects/kind.js';
import { type Qdisc, type Redirect, type Shaper, WEFT_QDISC } from '../../objects/qdisc.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort } from '../port.js';
import { oneByOne, outcome, requireIndex, spaceFor } from './port.js';
import type { Space, Spaces } from './spaces.js';

/** asm-generic/errno-base.h */
const EEXIST = 17;
const EINVAL = 22;

const HANDLE = (WEFT_QDISC << 16) >>> 0;

/** Limits of bandwidth: token buckets at the root of devices, and what leads incoming packets to one. */
export class QdiscPort implements KindPort<Qdisc> {
  constructor(readonly spaces: Spaces) {}

  async observe(ns: Ns): Promise<Qdisc[]> {
    const space = this.spaces.open(ns);
    if (!space) return [];
    const rows = (await space.rtnl.dump(RTM_GETQDISC, writeQdiscDump, undefined)).map((row) => readQdisc(row.body));
    // Handle 0 is the kernel's default.
    const made = rows.filter((q) => q.handle !== 0 && (q.parent === TC_H_ROOT || q.handle === INGRESS_HANDLE));
    if (made.length === 0) return [];
    const names = await space.namesByIndex();
    const out: Qdisc[] = [];
    for (const q of made) {
      const dev = names.get(q.index);
      if (dev !== undefined) out.push(q.parent === TC_H_ROOT ? shaper(q, dev) : await redirect(space, q, dev, names));
    }
    return out;
  }

  async apply(ns: Ns, ops: readonly Op<Qdisc>[]): Promise<(WeftError | undefined)[]> {
    const space = spaceFor(this.spaces, ns);
    return oneByOne(ops, async (op) => {
      const indexes = await space.indexes();
      const { what, dev } = (op.want ?? op.have) as Qdisc;
      const index = requireIndex(indexes, dev, op);
      if (what === 'shaper') return outcome(op, await shape(space, index, op));
      if (op.verb === 'remove') return outcome(op, await release(space, index, op.have as Redirect));
      return outcome(op, await lead(space, index, requireIndex(indexes, (op.want as Redirect).to ?? '', op)));
    });
  }
}

function shaper({ handle, kind, tbf }: QdiscMessage, dev: string): Shaper {
  const { rate, burst, limit } = tbf ?? { rate: 0, burst: 0, limit: 0 };
  return { what: 'shaper', dev, rate, burst, limit, major: handle >>> 16, ...(!tbf && { foreign: kind }) };
}

async function redirect(
  space: Space,
  { index, kind }: QdiscMessage,
  dev: string,
  names: ReadonlyMap<number, string>,
): Promise<Redirect> {
  const filters = (await space.rtnl.dump(RTM_GETTFILTER, writeFilterDump, { index })).map((row) =>
    readFilter(row.body),
  );
  const ours = filters.find((f) => f.priority === WEFT_QDISC && f.to !== undefined);
  const to = ours?.to === undefined ? undefined : (names.get(ours.to) ?? `#${ours.to}`);
  const shared = kind !== 'ingress' || filters.some((f) => f.priority !== WEFT_QDISC);
  return { what: 'redirect', dev, ...(to !== undefined && { to }), ...(shared && { shared }) };
}

async function shape(space: Space, index: number, op: Op<Qdisc>): Promise<Ack> {
  const { rtnl } = space;
  const at = { index, handle: HANDLE, parent: TC_H_ROOT, kind: 'tbf' };
  const have = op.have as Shaper | undefined;
  if (op.verb === 'remove') return rtnl.request(RTM_DELQDISC, 0, writeQdisc, at);
  // A discipline of another kind with our handle cannot be replaced, only removed.
  if (have?.foreign !== undefined && have.major === WEFT_QDISC)
    await rtnl.request(RTM_DELQDISC, 0, writeQdisc, { ...at, kind: have.foreign });
  const { rate, burst, limit } = op.want as Shaper;
  const tbf = { rate, burst, limit };
  return rtnl.request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, writeQdisc, { ...at, tbf });
}

const ingress = (index: number): QdiscMessage => ({
  index,
  handle: INGRESS_HANDLE,
  parent: TC_H_INGRESS,
  kind: 'ingress',
});

async function lead(space: Space, index: number, to: number): Promise<Ack> {
  const { rtnl } = space;
  const made = await rtnl.request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, writeQdisc, ingress(index));
  if (made.errno !== 0 && made.errno !== EEXIST) return made;
  // Rules of u32 are added, not replaced: whatever had our priority goes first.
  await rtnl.request(RTM_DELTFILTER, 0, writeRedirect, { index, priority: WEFT_QDISC });
  return rtnl.request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, writeRedirect, { index, priority: WEFT_QDISC, to });
}

async function release(space: Space, index: number, { shared }: Redirect): Promise<Ack> {
  const { rtnl } = space;
  if (!shared) return gone(await rtnl.request(RTM_DELQDISC, 0, writeQdisc, ingress(index)));
  return gone(await rtnl.request(RTM_DELTFILTER, 0, writeRedirect, { index, priority: WEFT_QDISC }));
}

/** "Cannot find specified qdisc on specified device" is EINVAL. */
const gone = (answer: Ack): Ack => (answer.errno === EINVAL ? { errno: 0 } : answer);
