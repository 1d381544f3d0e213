import type { WeftError } from '../../base/errors.js';
import { type Message, NLM_F_CREATE, NLM_F_REPLACE, rowsIn } from '../../codec/netlink.js';
import { AF_UNSPEC, addressFamily } from '../../codec/rtnl/family.js';
import {
  NUD_PERMANENT,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
  readNeighbour,
  writeNeighbour,
  writeNeighbourDump,
  writeNeighbourGet,
} from '../../codec/rtnl/neigh.js';
import { WEFT_PROTOCOL } from '../../objects/address.js';
import type { Ns } from '../../objects/kind.js';
import type { Neighbour } from '../../objects/neighbour.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort, Look } from '../port.js';
import type { Batch } from './netlink-socket.js';
import { spaceFor } from './port.js';
import { areFew, type Lasts, rowsOf, sendRows, stampOf } from './rows.js';
import type { Spaces } from './spaces.js';

/** Permanent neighbour entries. */
export class NeighbourPort implements KindPort<Neighbour> {
  constructor(readonly spaces: Spaces) {}

  async observe(ns: Ns, _want: readonly Neighbour[], keys?: ReadonlySet<string>): Promise<Neighbour[]> {
    const space = this.spaces.open(ns);
    if (!space) return [];
    const { rows, names } = areFew(keys)
      ? await rowsOf(space, keys, async (ifindex, dst) => {
          const key = { family: addressFamily(dst), ifindex, dst };
          return [(await space.rtnl.get(RTM_GETNEIGH, writeNeighbourGet, key)).message];
        })
      : {
          rows: await space.rtnl.dump(RTM_GETNEIGH, writeNeighbourDump, { family: AF_UNSPEC }),
          names: await space.namesByIndex(),
        };
    return [...permanent(rows, names)];
  }

  async look(ns: Ns): Promise<Look<Neighbour>> {
    const space = this.spaces.open(ns);
    if (!space) return { read: async () => [] };
    const dump = await space.rtnl.dumpBytes(RTM_GETNEIGH, writeNeighbourDump, { family: AF_UNSPEC });
    const names = await space.namesByIndex();
    const rows = { [Symbol.iterator]: () => permanent(rowsIn(dump), names) };
    return { ...stampOf(dump, names, isPermanent), read: async () => rows };
  }

  async apply(ns: Ns, ops: readonly Op<Neighbour>[]): Promise<(WeftError | undefined)[]> {
    return sendRows(spaceFor(this.spaces, ns), ops, writeOp);
  }
}

const isPermanent: Lasts = (_flags, state) => (state & NUD_PERMANENT) !== 0;

function* permanent(rows: Iterable<Message>, names: ReadonlyMap<number, string>): Generator<Neighbour> {
  for (const row of rows) {
    const { ifindex, flags, state, dst, lladdr, protocol } = readNeighbour(row.body);
    const dev = names.get(ifindex);
    if (!isPermanent(flags, state) || dev === undefined || dst === undefined || lladdr === undefined) continue;
    yield { dev, ip: dst, mac: lladdr, protocol: protocol ?? 0 };
  }
}

function writeOp(batch: Batch, { verb, want, have }: Op<Neighbour>, ifindex: number): void {
  const { ip, mac } = (want ?? have) as Neighbour;
  const removal = verb === 'remove';
  batch.add(removal ? RTM_DELNEIGH : RTM_NEWNEIGH, removal ? 0 : NLM_F_CREATE | NLM_F_REPLACE, writeNeighbour, {
    family: addressFamily(ip),
    ifindex,
    state: NUD_PERMANENT,
    flags: 0,
    dst: ip,
    lladdr: mac,
    protocol: WEFT_PROTOCOL,
  });
}
