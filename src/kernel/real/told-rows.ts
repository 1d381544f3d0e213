import type { Message } from '../../codec/netlink.js';
import { AF_BRIDGE } from '../../codec/rtnl/family.js';
import { NUD_NOARP, NUD_PERMANENT, RTM_DELNEIGH, RTM_NEWNEIGH, readNeighbour } from '../../codec/rtnl/neigh.js';
import { ALL_ZERO } from '../../objects/fdb.js';
import type { Ns } from '../../objects/kind.js';
import type { Dirt } from '../../reconcile/desired.js';
import type { Spaces } from './spaces.js';

/** MACs of forwarding rows, addresses of neighbours; undefined where a key does not tell the row from others. */
type Ids = Set<string | undefined>;

/** I/G bit of IEEE 802-2020 section 8.2: the second digit is odd. */
const isGroup = (mac: string): boolean => (Number.parseInt(mac.slice(1, 2), 16) & 1) === 1;

/**
 * Forwarding rows and neighbours that notifications tell of. One row more among 10,000 has to cost a look at that row, so
 * rows are told by key; notifications have the ifindex, and keys the name of the interface as it is now.
 */
export class ToldRows {
  /** By namespace and ifindex. */
  readonly #told = new Map<Ns, Map<number, { fdb: Ids; neighbour: Ids }>>();

  /** Takes note of a message that is about a row which may be weft's. */
  hear(ns: Ns, { type, body }: Message): void {
    if (type !== RTM_NEWNEIGH && type !== RTM_DELNEIGH) return;
    const { family, state, ifindex, lladdr, dst, vlan } = readNeighbour(body);
    // Containers resolve neighbours all the time; what is ours is permanent or static. A deleted entry is told as FAILED.
    if (type === RTM_NEWNEIGH && !(state & (NUD_PERMANENT | NUD_NOARP))) return;
    const ids = this.#at(ns, ifindex);
    if (family !== AF_BRIDGE) ids.neighbour.add(dst);
    // Of the rows of the zero address, of a group or in VLANs the kernel names only one when asked for a MAC.
    else ids.fdb.add(lladdr === ALL_ZERO || vlan !== undefined || (lladdr && isGroup(lladdr)) ? undefined : lladdr);
  }

  /** Marks what was told. What cannot be named is looked for in all of its scope. */
  async mark(dirt: Dirt, spaces: Spaces): Promise<void> {
    for (const [ns, devices] of this.#told) {
      const names = await spaces
        .opened(ns)
        ?.namesOf([...devices.keys()])
        // Closed by now, or the kernel is short of memory.
        .catch(() => undefined);
      for (const [ifindex, kinds] of devices) {
        const dev = names?.get(ifindex);
        for (const kind of ['fdb', 'neighbour'] as const) {
          for (const id of kinds[kind])
            dirt.add(ns, kind, dev === undefined || id === undefined ? undefined : `${dev} ${id}`);
        }
      }
    }
  }

  #at(ns: Ns, ifindex: number): { fdb: Ids; neighbour: Ids } {
    const devices = this.#told.get(ns) ?? new Map();
    this.#told.set(ns, devices);
    const ids = devices.get(ifindex) ?? { fdb: new Set(), neighbour: new Set() };
    devices.set(ifindex, ids);
    return ids;
  }
}
