import type { WeftError } from '../../base/errors.js';
import { type Message, NLM_F_CREATE, NLM_F_REPLACE } from '../../codec/netlink.js';
import { AF_BRIDGE, AF_UNSPEC, addressFamily } from '../../codec/rtnl/family.js';
import {
  type Neighbour as NeighbourMessage,
  NTF_MASTER,
  NTF_SELF,
  NTF_STICKY,
  NUD_NOARP,
  NUD_PERMANENT,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
  readNeighbour,
  writeFdbDump,
  writeFdbGet,
  writeNeighbour,
  writeNeighbourDump,
  writeNeighbourGet,
} from '../../codec/rtnl/neigh.js';
import { WEFT_PROTOCOL } from '../../objects/address.js';
import type { Fdb } from '../../objects/fdb.js';
import type { Ns } from '../../objects/kind.js';
import type { Neighbour } from '../../objects/neighbour.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort } from '../port.js';
import { noInterface, outcome, spaceFor } from './port.js';
import type { Space, Spaces } from './spaces.js';

/** Up to this many keys are asked for one by one; more are cheaper to dump. */
const FEW = 16;

/** Sends all operations in one batch: 10,000 rows are a handful of system calls. */
async function sendAll<T extends { dev: string }>(
  space: Space,
  ops: readonly Op<T>[],
  encode: (o: T, index: number, op: Op<T>) => NeighbourMessage,
) {
  const indexes = await space.indexes();
  const batch = space.rtnl.batch();
  const out: (WeftError | undefined)[] = [];
  const sent: number[] = [];
  for (const [i, op] of ops.entries()) {
    const removal = op.verb === 'remove';
    const object = (removal ? op.have : op.want) as T;
    const index = indexes.get(object.dev);
    out.push(index === undefined && !removal ? noInterface(object.dev, op as Op) : undefined);
    if (index === undefined) continue;
    batch.add(
      removal ? RTM_DELNEIGH : RTM_NEWNEIGH,
      removal ? 0 : NLM_F_CREATE | NLM_F_REPLACE,
      writeNeighbour,
      encode(object, index, op),
    );
    sent.push(i);
  }
  for (const [n, answer] of (await space.rtnl.send(batch)).entries()) {
    const i = sent[n] as number;
    out[i] = outcome(ops[i] as Op, answer);
  }
  return out;
}

/** Permanent neighbour entries. */
export class NeighbourPort implements KindPort<Neighbour> {
  constructor(readonly spaces: Spaces) {}

  async observe(ns: Ns, _want: readonly Neighbour[], keys?: ReadonlySet<string>): Promise<Neighbour[]> {
    const space = this.spaces.open(ns);
    if (!space) return [];
    const rows =
      keys && keys.size <= FEW
        ? await this.#few(space, keys)
        : await space.rtnl.dump(RTM_GETNEIGH, writeNeighbourDump, { family: AF_UNSPEC });
    const names = await space.namesByIndex();
    const out: Neighbour[] = [];
    for (const row of rows) {
      const { ifindex, state, dst, lladdr, protocol } = readNeighbour(row.body);
      const dev = names.get(ifindex);
      if (!(state & NUD_PERMANENT) || dev === undefined || dst === undefined || lladdr === undefined) continue;
      out.push({ dev, ip: dst, mac: lladdr, protocol: protocol ?? 0 });
    }
    return out;
  }

  async apply(ns: Ns, ops: readonly Op<Neighbour>[]): Promise<(WeftError | undefined)[]> {
    const space = spaceFor(this.spaces, ns);
    return sendAll(space, ops, (o, ifindex) => ({
      family: addressFamily(o.ip),
      ifindex,
      state: NUD_PERMANENT,
      flags: 0,
      dst: o.ip,
      lladdr: o.mac,
      protocol: WEFT_PROTOCOL,
    }));
  }

  async #few(space: Space, keys: ReadonlySet<string>): Promise<Message[]> {
    const indexes = await space.indexes();
    const out: Message[] = [];
    for (const key of keys) {
      const [dev, dst] = key.split(' ') as [string, string];
      const ifindex = indexes.get(dev);
      if (ifindex === undefined) continue;
      const got = await space.rtnl.get(RTM_GETNEIGH, writeNeighbourGet, { family: addressFamily(dst), ifindex, dst });
      if (got.message) out.push(got.message);
    }
    return out;
  }
}

/** Permanent rows of VXLAN devices and static rows of bridges; learned and local rows are the kernel's own. */
export class FdbPort implements KindPort<Fdb> {
  constructor(readonly spaces: Spaces) {}

  async observe(ns: Ns, want: readonly Fdb[], keys?: ReadonlySet<string>): Promise<Fdb[]> {
    const space = this.spaces.open(ns);
    // Without a wish only namespaces of ours are searched: rows elsewhere are nobody's business.
    if (!space || (!space.owned && want.length === 0)) return [];
    const rows =
      keys && keys.size <= FEW ? await this.#few(space, keys) : await space.rtnl.dump(RTM_GETNEIGH, writeFdbDump, {});
    const names = await space.namesByIndex();
    return rows.flatMap((row) => decodedRow(readNeighbour(row.body), names));
  }

  async apply(ns: Ns, ops: readonly Op<Fdb>[]): Promise<(WeftError | undefined)[]> {
    const space = spaceFor(this.spaces, ns);
    return sendAll(space, ops, (o, ifindex, op) => {
      const base = { family: AF_BRIDGE, ifindex, lladdr: o.mac };
      if (o.where === 'self')
        return { ...base, flags: NTF_SELF, state: NUD_PERMANENT | NUD_NOARP, ...(o.dst && { dst: o.dst }) };
      // Sticky: a frame with a forged source on another port must not take the row over (static alone roams).
      const sticky = op.verb === 'remove' ? 0 : NTF_STICKY;
      return { ...base, flags: NTF_MASTER | sticky, state: NUD_NOARP };
    });
  }

  async #few(space: Space, keys: ReadonlySet<string>): Promise<Message[]> {
    const indexes = await space.indexes();
    const out: Message[] = [];
    for (const key of keys) {
      const [dev, lladdr, where] = key.split(' ') as [string, string, string];
      const ifindex = indexes.get(dev);
      if (ifindex === undefined) continue;
      const flags = where === 'self' ? NTF_SELF : NTF_MASTER;
      const got = await space.rtnl.get(RTM_GETNEIGH, writeFdbGet, { ifindex, lladdr, flags });
      if (got.message) out.push(got.message);
    }
    return out;
  }
}

function decodedRow(m: NeighbourMessage, names: ReadonlyMap<number, string>): Fdb[] {
  const dev = names.get(m.ifindex);
  if (dev === undefined || m.lladdr === undefined) return [];
  if (m.flags & NTF_SELF) {
    return m.dst !== undefined && m.state & NUD_PERMANENT ? [{ dev, mac: m.lladdr, where: 'self', dst: m.dst }] : [];
  }
  // NUD_NOARP alone is static; NUD_PERMANENT is the bridge's own address or a port's.
  return m.state === NUD_NOARP ? [{ dev, mac: m.lladdr, where: 'master' }] : [];
}
