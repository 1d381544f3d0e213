import type { WeftError } from '../../base/errors.js';
import { type Message, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE, rowsIn } from '../../codec/netlink.js';
import { AF_BRIDGE } from '../../codec/rtnl/family.js';
import {
  NTF_MASTER,
  NTF_SELF,
  NTF_STICKY,
  NUD_NOARP,
  NUD_PERMANENT,
  NUD_REACHABLE,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
  readNeighbour,
  writeFdbDump,
  writeFdbGet,
  writeNeighbour,
} from '../../codec/rtnl/neigh.js';
import { ALL_ZERO, type Fdb } from '../../objects/fdb.js';
import type { Ns } from '../../objects/kind.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort, Look } from '../port.js';
import type { Batch } from './netlink-socket.js';
import { spaceFor } from './port.js';
import { areFew, type Lasts, rowsOf, sendRows, stampOf } from './rows.js';
import type { Spaces } from './spaces.js';

/** Permanent and static rows of VXLAN devices and bridges; learned and local rows are the kernel's own. */
export class FdbPort implements KindPort<Fdb> {
  constructor(readonly spaces: Spaces) {}

  async observe(ns: Ns, want: readonly Fdb[], keys?: ReadonlySet<string>): Promise<Fdb[]> {
    const space = this.spaces.open(ns);
    // Without a wish only namespaces of ours are searched: rows elsewhere are nobody's business.
    if (!space || (!space.owned && want.length === 0)) return [];
    // Of the rows of the zero address the kernel names only the first when asked for it.
    if (!areFew(keys) || [...keys].some((key) => key.includes(ALL_ZERO))) {
      return joined(await space.rtnl.dump(RTM_GETNEIGH, writeFdbDump, {}), await space.namesByIndex());
    }
    const { rows, names } = await rowsOf(space, keys, (ifindex, lladdr) =>
      Promise.all(
        [NTF_SELF, NTF_MASTER].map(async (flags) => {
          const { message } = await space.rtnl.get(RTM_GETNEIGH, writeFdbGet, { ifindex, lladdr, flags });
          return message;
        }),
      ),
    );
    return joined(rows, names);
  }

  async look(ns: Ns, wanted: boolean): Promise<Look<Fdb>> {
    const space = this.spaces.open(ns);
    if (!space || (!space.owned && !wanted)) return { read: async () => [] };
    const dump = await space.rtnl.dumpBytes(RTM_GETNEIGH, writeFdbDump, {});
    const names = await space.namesByIndex();
    return { ...stampOf(dump, names, isStatic), read: async () => joined(rowsIn(dump), names) };
  }

  async apply(ns: Ns, ops: readonly Op<Fdb>[]): Promise<(WeftError | undefined)[]> {
    return sendRows(spaceFor(this.spaces, ns), ops, writeOp);
  }
}

/** In a bridge NUD_NOARP alone is static; NUD_PERMANENT is the bridge's own address or a port's. */
const isStatic: Lasts = (flags, state) =>
  flags & NTF_SELF ? (state & (NUD_PERMANENT | NUD_NOARP)) !== 0 : state === NUD_NOARP;

/** The rows of a MAC at a device, which come apart, as one object. */
function joined(rows: Iterable<Message>, names: ReadonlyMap<number, string>): Fdb[] {
  const byDevice = new Map<number, Map<string, Fdb>>();
  for (const { body } of rows) {
    const { ifindex, flags, state, lladdr: mac, dst } = readNeighbour(body);
    const dev = names.get(ifindex);
    if (dev === undefined || mac === undefined) continue;
    const own = (flags & NTF_SELF) !== 0;
    if (!isStatic(flags, state) || (own && dst === undefined)) continue;
    const device = byDevice.get(ifindex) ?? new Map<string, Fdb>();
    byDevice.set(ifindex, device);
    const id = mac === ALL_ZERO ? `${mac} ${dst}` : mac;
    const found = device.get(id) ?? { dev, mac, bridge: false };
    if (!own) found.bridge = true;
    else if (dst !== undefined) found.dst = dst;
    device.set(id, found);
  }
  return [...byDevice.values()].flatMap((device) => [...device.values()]);
}

function writeOp(batch: Batch, { want, have }: Op<Fdb>, ifindex: number): void {
  if (want) {
    const flags = (want.dst === undefined ? 0 : NTF_SELF) | (want.bridge ? NTF_MASTER | NTF_STICKY : 0);
    const among = want.mac === ALL_ZERO ? NLM_F_APPEND : NLM_F_REPLACE;
    batch.add(RTM_NEWNEIGH, NLM_F_CREATE | among, writeNeighbour, {
      family: AF_BRIDGE,
      ifindex,
      lladdr: want.mac,
      // Sticky: a frame with a forged source on another port must not take the row over (static alone roams).
      flags,
      state: want.bridge ? NUD_NOARP | (flags & NTF_SELF ? NUD_REACHABLE : 0) : NUD_NOARP | NUD_PERMANENT,
      ...(want.dst !== undefined && { dst: want.dst }),
    });
  }
  // Apart: with both flags the kernel would leave the second row alone where the first is missing.
  if (have?.dst !== undefined && want?.dst === undefined)
    batch.add(RTM_DELNEIGH, 0, writeNeighbour, { ...rowOf(have, ifindex, NTF_SELF), dst: have.dst });
  if (have?.bridge && !want?.bridge) batch.add(RTM_DELNEIGH, 0, writeNeighbour, rowOf(have, ifindex, NTF_MASTER));
}

const rowOf = ({ mac: lladdr }: Fdb, ifindex: number, flags: number) => ({
  family: AF_BRIDGE,
  ifindex,
  lladdr,
  flags,
  state: NUD_NOARP,
});
