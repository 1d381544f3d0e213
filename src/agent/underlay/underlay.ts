import { WeftError } from '../../base/errors.js';
import { family, type Ip } from '../../base/ip.js';
import type { Spaces } from '../../kernel/real/spaces.js';
import type { Wish } from '../../model/registry.js';
import { type UnderlayPath, vtepOf } from '../../network/paths.js';
import type { Change } from '../../network/produce.js';
import { NODE_NS } from '../../objects/kind.js';
import type { Dirt } from '../../reconcile/desired.js';
import { Paced } from '../paced.js';
import { holderOf, underlayLinks } from './links.js';
import { PathFinder } from './paths.js';

interface UnderlayOptions {
  advertise: Ip;
  dataPathPort: number;
}

/** Routes may change all the time (a routing daemon's): they are looked at this often at most. */
const REST_MS = 1000;
const CONCERNS: ReadonlySet<string> = new Set(['link', 'address', 'route', 'rule']);

/** Addresses for documentation (RFC 5737, RFC 3849): nobody has them, so the default route leads there. */
const anywhere = (like: Ip): Ip => (family(like) === 4 ? '192.0.2.1' : '2001:db8::1');

/** What carries the overlay: the interface of the advertised address, and the routes to the other nodes. */
export class Underlay {
  /** The smallest MTU of the routes to other nodes; of the interface with the advertised address while there are none. */
  mtu = 1500;
  /** Name of the VRF that the advertised address is in: tunnels have to send by it. */
  vrf: string | undefined;
  #paths: ReadonlyMap<Ip, UnderlayPath> = new Map();
  #vteps: ReadonlySet<Ip> = new Set();
  readonly #pace: Paced;

  constructor(
    readonly spaces: Spaces,
    readonly options: UnderlayOptions,
    /** VTEPs of other nodes, as the wish has them. */
    readonly vteps: () => ReadonlySet<Ip>,
    readonly on: { change: () => void; trouble: (error: unknown) => void },
  ) {
    this.#pace = new Paced(() => this.#follow(), REST_MS);
  }

  stop(): void {
    this.#pace.stop();
  }

  /** The wish changed. One more peer on a node that is known changes nothing here. */
  changed(mutations: readonly Change[], before: Wish, after: Wish): void {
    const known = ({ table, id }: Change): boolean => {
      if (table !== 'peers') return table === 'services' || table === 'sandboxes';
      const [was, is] = [before, after].map((wish) => {
        const peer = wish.peers.get(id);
        return peer && vtepOf(wish, peer);
      });
      return is !== undefined && this.#vteps.has(is) && (was === undefined || was === is);
    };
    if (!mutations.every(known)) this.follow();
  }

  /** Something changed in the kernel. */
  heard(dirt: Dirt): void {
    for (const { ns, kind } of dirt.scopes.values()) {
      if (ns === NODE_NS && CONCERNS.has(kind)) this.follow();
    }
  }

  /** Looks soon, and tells when something changed. */
  follow(): void {
    this.#pace.request();
  }

  async #follow(): Promise<void> {
    try {
      if (await this.look()) this.on.change();
    } catch (error) {
      this.on.trouble(error);
    }
  }

  /** Routes to the VTEPs of the last look that have one. */
  get paths(): ReadonlyMap<Ip, UnderlayPath> {
    return this.#paths;
  }

  /**
   * Reads the node's interfaces and routes.
   * @returns whether tunnels change by it
   * @throws WEFT_INVALID_ADDRESS where no interface has the advertised address
   */
  async look(): Promise<boolean> {
    const rtnl = this.spaces.open(NODE_NS)?.rtnl;
    if (!rtnl) throw new WeftError('WEFT_INTERNAL', 'the agent has no namespace of its own');
    const { advertise, dataPathPort } = this.options;
    const links = await underlayLinks(rtnl);
    const holder = links.get((await holderOf(rtnl, advertise)) ?? -1);
    if (!holder) {
      throw new WeftError(
        'WEFT_INVALID_ADDRESS',
        `no interface of this node has the advertised address ${advertise}`,
        'give --advertise an address that `ip addr` shows',
      );
    }
    const master = links.get(holder.master ?? -1);
    const vrf = holder.vrf ? holder : master?.vrf ? master : undefined;
    const finder = new PathFinder({ rtnl, links, advertise, dataPathPort, ...(vrf && { vrf: vrf.index }) });
    const paths = new Map<Ip, UnderlayPath>();
    this.#vteps = this.vteps();
    for (const vtep of this.#vteps) {
      const path = await finder.to(vtep);
      if (path) paths.set(vtep, path);
    }
    this.#paths = paths;
    const mtus = [...paths.values()].map((path) => path.mtu);
    if (mtus.length === 0)
      mtus.push((holder.loopback ? await finder.to(anywhere(advertise)) : holder)?.mtu ?? holder.mtu);
    const mtu = Math.min(...mtus);
    const changed = mtu !== this.mtu || vrf?.name !== this.vrf;
    this.mtu = mtu;
    this.vrf = vrf?.name;
    return changed;
  }
}
