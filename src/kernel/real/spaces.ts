import {
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { WeftError } from '../../base/errors.js';
import { NETLINK_ROUTE } from '../../codec/netlink.js';
import {
  type Link,
  RTEXT_FILTER_SKIP_STATS,
  RTM_GETLINK,
  readLink,
  writeLink,
  writeLinkDump,
} from '../../codec/rtnl/link.js';
import { NODE_NS, type Ns, type Where } from '../../objects/kind.js';
import { isMarked } from '../../objects/link.js';
import { beginningOf, isAnother, type Location } from './location.js';
import { hostMounts } from './mounts.js';
import type { Native } from './native.js';
import { NetlinkSocket } from './netlink-socket.js';

/** Up to this many interfaces are asked for one by one, 20 us each; more are cheaper to list. */
const FEW_LINKS = 16;

let opened = 0;

/** One namespace with what is open in it. */
export class Space {
  readonly #sockets = new Map<number, NetlinkSocket>();
  /** Tells it from all others that were ever opened: as long as it is open, it is the same namespace. */
  readonly serial = ++opened;
  #names: Promise<Map<string, number>> | undefined;
  readonly #foreign = new Set<string>();

  constructor(
    readonly native: Native,
    readonly ns: Ns,
    /** −1 for the agent's own. */
    readonly fd: number,
    readonly owned: boolean,
    /** Inode of the namespace: another one at the same path is another namespace. */
    readonly inode: bigint,
  ) {}

  /** A descriptor of the namespace for IFLA_NET_NS_FD, which knows no −1 for "my own". */
  get attachFd(): number {
    if (this.fd >= 0) return this.fd;
    this.#own ??= this.native.netnsOpen('/proc/self/ns/net');
    return this.#own;
  }
  #own: number | undefined;

  /** A socket of that netlink protocol, born in the namespace. */
  socket(protocol: number): NetlinkSocket {
    let socket = this.#sockets.get(protocol);
    if (!socket) {
      socket = new NetlinkSocket(this.native, this.fd, protocol);
      this.#sockets.set(protocol, socket);
    }
    return socket;
  }

  /** Sends whole Ethernet frames out of one of its interfaces. @throws ENODEV, ENETDOWN */
  sendFrames(dev: string, frames: readonly Buffer[]): void {
    this.#packets ??= this.native.packetOpen(this.fd);
    this.native.packetSend(this.#packets, dev, frames);
  }
  #packets: number | undefined;

  get rtnl(): NetlinkSocket {
    return this.socket(NETLINK_ROUTE);
  }

  portIds(): number[] {
    return [...this.#sockets.values()].map((socket) => socket.portId);
  }

  /** Interface name → ifindex, as of the last change made here. */
  indexes(): Promise<Map<string, number>> {
    this.#names ??= this.#readIndexes();
    return this.#names;
  }

  /** The same for these alone: a network with hundreds of containers has as many interfaces, and one of interest. */
  async indexesOf(names: Iterable<string>): Promise<ReadonlyMap<string, number>> {
    const asked = new Set(names);
    if (this.#names || asked.size > FEW_LINKS) return this.indexes();
    const out = new Map<string, number>();
    for (const name of asked) {
      const link = await this.#link({ name });
      // The kernel takes a second name (altname) too.
      if (link?.index !== undefined && link.name === name) out.set(name, link.index);
    }
    return out;
  }

  /** ifindex → interface name for these, as it is now; nothing where they are many. */
  async namesOf(indexes: readonly number[]): Promise<ReadonlyMap<number, string>> {
    const out = new Map<number, string>();
    if (indexes.length > FEW_LINKS) return out;
    for (const index of indexes) {
      const { name } = (await this.#link({ index })) ?? {};
      if (name !== undefined) out.set(index, name);
    }
    return out;
  }

  /** Interfaces without a mark of weft's, as of the last change made here. */
  async foreignNames(): Promise<ReadonlySet<string>> {
    await this.indexes();
    return this.#foreign;
  }

  async namesByIndex(): Promise<Map<number, string>> {
    return new Map([...(await this.indexes())].map(([name, index]) => [index, name]));
  }

  forgetIndexes(): void {
    this.#names = undefined;
  }

  close(): void {
    for (const socket of this.#sockets.values()) socket.close();
    this.#sockets.clear();
    if (this.fd >= 0) this.native.closeFd(this.fd);
    for (const fd of [this.#own, this.#packets]) if (fd !== undefined) this.native.closeFd(fd);
    this.#own = undefined;
    this.#packets = undefined;
  }

  async #link(key: { name: string } | { index: number }): Promise<Link | undefined> {
    const { message } = await this.rtnl.get(RTM_GETLINK, writeLink, { ...key, extMask: RTEXT_FILTER_SKIP_STATS });
    return message && readLink(message.body);
  }

  async #readIndexes(): Promise<Map<string, number>> {
    const rows = await this.rtnl.dump(RTM_GETLINK, writeLinkDump, { extMask: RTEXT_FILTER_SKIP_STATS });
    const out = new Map<string, number>();
    this.#foreign.clear();
    for (const row of rows) {
      const link = readLink(row.body);
      const { name, index } = link;
      if (name === undefined || index === undefined) continue;
      out.set(name, index);
      if (!isMarked(link)) this.#foreign.add(name);
    }
    return out;
  }
}

/**
 * The namespaces an agent works in. Its own pins below RUN_DIR/netns stay open; those handed over (`--netns`, `--pid`)
 * are opened for a pass and closed after it: one forgotten descriptor keeps a dead container's namespace alive.
 */
export class Spaces {
  readonly dir: string;
  readonly #mounts: number | undefined;
  /** The pins as the host's mount namespace has them, by a descriptor of ours. */
  readonly #view: string;
  /** The same by a process that lives there, for others; it may end before the agent where it is not pid 1. */
  readonly #seen: string;
  readonly #open = new Map<Ns, Space>();
  readonly #born = new Set<Ns>();
  #users = 0;
  /** Tells where a namespace is that weft did not make; undefined for ours. */
  locate: (ns: Ns) => Location | undefined = () => undefined;
  /** Told when the set of open sockets changed: their port ids are our own doing in notifications. */
  onSockets: () => void = () => {};

  constructor(
    readonly native: Native,
    runDir: string,
  ) {
    this.dir = resolve(runDir, 'netns');
    mkdirSync(this.dir, { recursive: true, mode: 0o755 });
    const host = hostMounts();
    this.#mounts = host.fd;
    this.#seen = join(host.root, this.dir);
    if (existsSync(this.#seen)) {
      this.#view = host.fd === undefined ? this.dir : held(this.#seen);
      return;
    }
    throw new WeftError(
      'WEFT_INVALID_ARGUMENT',
      `the host's mount namespace has no ${this.dir}: namespaces pinned there would die with the agent`,
      'give a --run-dir that is on a file system of the host, and leave out PrivateTmp= and the like',
    );
  }

  create(ns: Ns): void {
    this.native.mountShared(this.dir, this.#mounts);
    this.native.netnsCreate(this.path(ns), this.#mounts);
    this.#born.add(ns);
  }

  /** Was it made by this process? Nothing of an earlier life can be in it. */
  isBorn(ns: Ns): boolean {
    return this.#born.has(ns);
  }

  /** Closes what is open in it first: our own sockets would keep the namespace, and its VXLAN, alive. */
  remove(ns: Ns): void {
    this.close(ns);
    this.#born.delete(ns);
    this.native.netnsDelete(this.path(ns), this.#mounts);
  }

  /** Gives the run directory back as it was, where no pin is left. */
  unmountIfEmpty(): void {
    if (this.pins().length === 0) this.native.unmount(this.dir, this.#mounts);
  }

  path(ns: Ns): string {
    return join(this.dir, ns);
  }

  /** The pin as every process sees it, also one whose mount namespace lacks it (under `ip netns exec`, a unit's own). */
  seenAt(ns: Ns): string {
    return join(existsSync(this.#seen) ? this.#seen : this.#view.replace('self', String(process.pid)), ns);
  }

  /** undefined while it does not exist. */
  open(ns: Ns): Space | undefined {
    const known = this.opened(ns);
    if (known) return known;
    this.close(ns);
    const space = this.#openNew(ns);
    if (space) this.#open.set(ns, space);
    return space;
  }

  /** undefined where nobody has opened it, too. */
  opened(ns: Ns): Space | undefined {
    const known = this.#open.get(ns);
    return known && this.#isCurrent(known) ? known : undefined;
  }

  where(ns: Ns): Where | undefined {
    const space = this.open(ns);
    return space && { ns, nsOwned: space.owned };
  }

  /**
   * Device and inode of a namespace that is handed over, and since when the process runs that was named.
   * @throws WEFT_INVALID_NETNS where there is none, where it is the agent's own, or where the pid is another process by now
   */
  identify(at: Location): { identity: string; began?: string | undefined } {
    const text = 'path' in at ? at.path : `pid ${at.pid}`;
    let fd: number;
    try {
      fd = 'path' in at ? this.native.netnsOpen(at.path) : this.native.netnsOpenPid(at.pid);
    } catch (error) {
      const why =
        (error as NodeJS.ErrnoException).code === 'EINVAL' ? 'is no network namespace' : (error as Error).message;
      throw new WeftError(
        'WEFT_INVALID_NETNS',
        `${text}: ${why}`,
        'give a file below /run/netns, /proc/PID/ns/net, or a running pid',
      );
    }
    const { dev, ino } = this.native.netnsIdentity(fd);
    this.native.closeFd(fd);
    if (isAnother(at)) {
      throw new WeftError(
        'WEFT_INVALID_NETNS',
        `${text} is another process than the one that was handed over, which has ended`,
        'remove the sandbox, and hand over the new process',
      );
    }
    const own = this.native.netnsIdentity(-1);
    if (own.dev === dev && own.ino === ino) {
      throw new WeftError(
        'WEFT_INVALID_NETNS',
        `${text} is the agent's own network namespace`,
        'a sandbox needs one of its own',
      );
    }
    return { identity: `${dev}:${ino}`, ...('pid' in at && { began: beginningOf(at.pid) }) };
  }

  /** Names of our pins that are namespaces. */
  pins(): Ns[] {
    // Names with a dot in front are throw-away namespaces of a probe.
    const aliases = this.aliases();
    return readdirSync(this.#view).filter(
      (name) => !name.startsWith('.') && !aliases.has(name) && this.#pinInode(name) !== undefined,
    );
  }

  /** Second names: symbolic links beside the pins, and what they point to. */
  aliases(): Map<string, Ns> {
    const links = readdirSync(this.#view, { withFileTypes: true }).filter((entry) => entry.isSymbolicLink());
    return new Map(links.map(({ name }) => [name, readlinkSync(join(this.#view, name))]));
  }

  alias(name: string, target: Ns): void {
    this.removeAlias(name);
    symlinkSync(target, this.path(name));
  }

  removeAlias(name: string): void {
    rmSync(this.path(name), { force: true });
  }

  close(ns: Ns): void {
    this.#open.get(ns)?.close();
    this.#open.delete(ns);
  }

  /** Somebody begins to use namespaces; each has its `passed`. */
  begin(): void {
    this.#users++;
  }

  /** When nobody uses them any more, foreign namespaces are closed, and names may have changed. */
  passed(): void {
    this.#users--;
    this.onSockets();
    if (this.#users > 0) return;
    for (const [ns, space] of this.#open) {
      space.forgetIndexes();
      if (!space.owned && ns !== NODE_NS) this.close(ns);
    }
  }

  closeAll(): void {
    for (const ns of [...this.#open.keys()]) this.close(ns);
  }

  portIds(): number[] {
    return [...this.#open.values()].flatMap((space) => space.portIds());
  }

  #openNew(ns: Ns): Space | undefined {
    if (ns === NODE_NS) return new Space(this.native, ns, -1, false, 0n);
    const location = this.locate(ns);
    if (location === undefined && this.#pinInode(ns) === undefined) return undefined;
    try {
      const fd =
        location === undefined
          ? this.native.netnsOpen(this.path(ns), this.#mounts)
          : 'path' in location
            ? this.native.netnsOpen(location.path)
            : this.native.netnsOpenPid(location.pid);
      if (location && isAnother(location)) {
        this.native.closeFd(fd);
        return undefined;
      }
      return new Space(this.native, ns, fd, location === undefined, this.native.netnsIdentity(fd).ino);
    } catch (error) {
      const code = (error as { code?: string }).code ?? '';
      if (['ENOENT', 'EINVAL', 'ESRCH', 'ENOTDIR'].includes(code)) return undefined;
      throw error;
    }
  }

  #isCurrent(space: Space): boolean {
    return space.ns === NODE_NS || !space.owned || this.#pinInode(space.ns) === space.inode;
  }

  /** Inode of the namespace pinned there; undefined where the file is no pin (any more). */
  #pinInode(name: Ns): bigint | undefined {
    try {
      // Not through a symbolic link: a second name is no second namespace.
      const stat = lstatSync(join(this.#view, name), { bigint: true });
      return stat.dev === nsfsDevice() ? stat.ino : undefined;
    } catch {
      return undefined;
    }
  }
}

/** A path to the directory that stays good; by its parent, so that what is mounted on it later shows. */
function held(directory: string): string {
  return join(`/proc/self/fd/${openSync(dirname(directory), constants.O_DIRECTORY)}`, basename(directory));
}

let nsfs: bigint | undefined;
/** st_dev of nsfs: what tells a pinned namespace from the plain file below it. */
function nsfsDevice(): bigint {
  nsfs ??= statSync('/proc/self/ns/net', { bigint: true }).dev;
  return nsfs;
}
