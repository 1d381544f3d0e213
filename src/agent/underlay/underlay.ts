import { toWeftError, WeftError } from '../../base/errors.js';
import { type Family, family, type Ip } from '../../base/ip.js';
import { ownAddress } from '../../codec/rtnl/address.js';
import type { Spaces } from '../../kernel/real/spaces.js';
import type { Wish } from '../../model/registry.js';
import type { Change } from '../../network/affected.js';
import { type UnderlayPath, vtepOf } from '../../network/paths.js';
import { NODE_NS } from '../../objects/kind.js';
import type { Dirt } from '../../reconcile/desired.js';
import { Paced } from '../paced.js';
import { nodeAddresses, type UnderlayLink, underlayAddresses, underlayLinks } from './links.js';
import { type Found, PathFinder } from './paths.js';
import { ProbeSocket } from './probe-socket.js';
import { Prober } from './prober.js';

interface UnderlayOptions {
  advertise: Ip;
  dataPathPort: number;
  /** UDP port of the path probe; 0: paths are not measured. */
  probePort: number;
}

interface UnderlayListener {
  /** `all`: tunnels change; `paths`: only the host routes of small paths. */
  change(what: 'all' | 'paths'): void;
  /** A path was found small, or is no longer. */
  path(vtep: Ip, small: UnderlayPath | undefined, promised: number): void;
  trouble(error: WeftError): void;
}

/** Routes may change all the time (a routing daemon's): they are looked at this often at most. */
const REST_MS = 1000;
/** Until a port that is taken is tried again. */
const REOPEN_MS = 30_000;
const CONCERNS: ReadonlySet<string> = new Set(['link', 'address', 'route', 'rule']);

/** Addresses for documentation (RFC 5737, RFC 3849): nobody has them, so the default route leads there. */
const anywhere = (like: Ip): Ip => (family(like) === 4 ? '192.0.2.1' : '2001:db8::1');

/** What carries the overlay: the interface of the advertised address, the routes to the other nodes, and their paths. */
export class Underlay {
  /** The smallest MTU of the routes to other nodes; of the interface with the advertised address while there are none. */
  mtu = 1500;
  /** Name of the VRF that the advertised address is in: tunnels have to send by it. */
  vrf: string | undefined;
  /** An address of the node of each family that it has one of. */
  addresses: Readonly<Partial<Record<Family, Ip>>> = {};
  #paths: ReadonlyMap<Ip, UnderlayPath> = new Map();
  #small: ReadonlyMap<Ip, UnderlayPath> = new Map();
  #vteps: ReadonlySet<Ip> = new Set();
  readonly #pace: Paced;
  readonly #prober: Prober;
  #socket: ProbeSocket | undefined;
  /** Why there is no socket. */
  #noSocket = 'not yet open';
  #reopen: NodeJS.Timeout | undefined;

  constructor(
    readonly spaces: Spaces,
    readonly options: UnderlayOptions,
    /** VTEPs of other nodes, as the wish has them. */
    readonly vteps: () => ReadonlySet<Ip>,
    readonly on: UnderlayListener,
  ) {
    this.#pace = new Paced(() => this.#follow(), REST_MS);
    this.#prober = new Prober(
      () => this.#socket,
      (vtep) => this.#measured(vtep),
    );
  }

  /** By VTEP: paths that carry less than their route says, with what they carry. */
  get smallPaths(): ReadonlyMap<Ip, UnderlayPath> {
    return this.#small;
  }

  /** Begins to measure paths, and to answer others that do. */
  async start(): Promise<void> {
    const { advertise: address, probePort: port } = this.options;
    if (port === 0) return;
    const device = this.vrf;
    try {
      this.#socket = await ProbeSocket.open(
        this.spaces.native,
        { address, port, ...(device !== undefined && { device }) },
        (vtep) => this.#vteps.has(vtep),
        (vtep) => this.#prober.heardOf(vtep),
      );
      this.#prober.opened();
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#noSocket) {
        const hint = 'give another --probe-port, the same on every node, or 0';
        this.on.trouble(new WeftError('WEFT_UNAVAILABLE', `paths to other nodes are not measured: ${message}`, hint));
      }
      this.#noSocket = message;
      this.#reopen = setTimeout(() => void this.start(), REOPEN_MS).unref();
    }
  }

  stop(): void {
    this.#pace.stop();
    this.#prober.stop();
    clearTimeout(this.#reopen);
    this.#socket?.close();
    this.#socket = undefined;
  }

  /** What is known of paths, for people. */
  summary(): { probe: string; full: number; small: { vtep: Ip; mtu: number; route: number }[]; silent: Ip[] } {
    const { probePort } = this.options;
    const probe = this.#socket ? `UDP port ${probePort}` : probePort === 0 ? 'off' : `off: ${this.#noSocket}`;
    const small = [...this.#small].map(([vtep, { mtu }]) => ({ vtep, mtu, route: this.#paths.get(vtep)?.mtu ?? 0 }));
    const findings = [...this.#paths.keys()].map((vtep) => ({ vtep, ...this.#prober.finding(vtep) }));
    const full = findings.filter(({ mtu }) => mtu !== undefined).length - small.length;
    return { probe, full, small, silent: findings.filter((f) => f.silent).map(({ vtep }) => vtep) };
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
    const before = { mtu: this.mtu, vrf: this.vrf, addresses: this.addresses, small: JSON.stringify([...this.#small]) };
    try {
      await this.look();
    } catch (error) {
      this.on.trouble(toWeftError(error));
      return;
    }
    if (this.vrf !== before.vrf) {
      this.#socket?.close();
      await this.start();
    }
    const moved = ([4, 6] as const).some((of) => this.addresses[of] !== before.addresses[of]);
    if (moved || this.mtu !== before.mtu || this.vrf !== before.vrf) this.on.change('all');
    else if (JSON.stringify([...this.#small]) !== before.small) this.on.change('paths');
  }

  /**
   * Reads the node's interfaces and routes.
   * @throws WEFT_INVALID_ADDRESS where no interface has the advertised address
   */
  async look(): Promise<void> {
    const rtnl = this.spaces.open(NODE_NS)?.rtnl;
    if (!rtnl) throw new WeftError('WEFT_INTERNAL', 'the agent has no namespace of its own');
    const { advertise, dataPathPort } = this.options;
    const links = await underlayLinks(rtnl);
    const all = await underlayAddresses(rtnl);
    const holder = links.get(all.find((a) => ownAddress(a) === advertise)?.index ?? -1);
    if (!holder) {
      throw new WeftError(
        'WEFT_INVALID_ADDRESS',
        `no interface of this node has the advertised address ${advertise}`,
        'give --advertise an address that `ip addr` shows',
      );
    }
    const vrf = vrfOf(holder, links);
    const finder = new PathFinder({ rtnl, links, advertise, dataPathPort, ...(vrf && { vrf: vrf.index }) });
    this.#vteps = this.vteps();
    const found = new Map<Ip, Found>();
    for (const vtep of this.#vteps) {
      const way = await finder.to(vtep);
      if (way) found.set(vtep, way);
    }
    const mtus = [...found.values()].map(({ path }) => path.mtu);
    const alone = async () => (holder.loopback ? (await finder.to(anywhere(advertise)))?.path : holder)?.mtu;
    this.mtu = mtus.length > 0 ? Math.min(...mtus) : ((await alone()) ?? holder.mtu);
    this.vrf = vrf?.name;
    this.addresses = nodeAddresses(all, advertise, holder.index);
    this.#take(found);
  }

  #take(found: ReadonlyMap<Ip, Found>): void {
    const before = this.#paths;
    this.#paths = new Map([...found].map(([vtep, { path }]) => [vtep, path]));
    if (this.options.probePort === 0) return;
    const targets = [...found].map(([vtep, { path, locked }]) => {
      const was = before.get(vtep);
      const changed = was !== undefined && JSON.stringify(was) !== JSON.stringify(path);
      return [vtep, { full: path.mtu, changed, ...(locked !== undefined && { known: locked }) }] as const;
    });
    this.#prober.setTargets(new Map(targets));
    this.#small = this.#smallOnes();
  }

  #smallOnes(): Map<Ip, UnderlayPath> {
    const out = new Map<Ip, UnderlayPath>();
    for (const [vtep, path] of this.#paths) {
      const { mtu } = this.#prober.finding(vtep);
      if (mtu !== undefined && mtu < path.mtu) out.set(vtep, { ...path, mtu });
    }
    return out;
  }

  #measured(vtep: Ip): void {
    const before = this.#small.get(vtep)?.mtu;
    this.#small = this.#smallOnes();
    const small = this.#small.get(vtep);
    if (small?.mtu === before) return;
    this.on.path(vtep, small, this.#paths.get(vtep)?.mtu ?? 0);
    this.on.change('paths');
  }
}

function vrfOf(holder: UnderlayLink, links: ReadonlyMap<number, UnderlayLink>): UnderlayLink | undefined {
  const master = links.get(holder.master ?? -1);
  return holder.vrf ? holder : master?.vrf ? master : undefined;
}
