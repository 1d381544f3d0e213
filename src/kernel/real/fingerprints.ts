import type { Kind, Ns } from '../../objects/kind.js';
import { KINDS } from '../../objects/registry.js';
import { type Desired, Dirt, type Scope, scopeId } from '../../reconcile/desired.js';
import { type Op, plan, type Wanted } from '../../reconcile/plan.js';
import type { Kernel } from '../port.js';
import type { Native } from './native.js';
import type { Spaces } from './spaces.js';

/** Somebody's change shall be undone within 3 s, and where starting a program takes 0.1 s the pass needs half of that. */
const POLL_MS = 1500;
/** Where a poll is much work (10,000 services), the next waits this many times as long: at most a tenth of a processor. */
const REST = 10;
/** Virtual servers a poll and namespace of which the real servers are read: each costs a request of its own. */
const SERVERS_A_POLL = 256;
/** Kinds of which the kernel tells nobody, and which are cheap to read: compared with the wish itself. */
const COMPARED: ReadonlySet<string> = new Set(['sysctl', 'ipvs-timeouts', 'virtual-server', 'real-server']);
const VERSION_TIMEOUT_MS = 10_000;

/** What a pass looked at and what it could not do. */
interface Passed {
  looked: Dirt;
  failed: readonly { op: Op }[];
}

/**
 * Finds changes in the kernel's mute parts, which send no notification: sysctls, IPVS, and the tables of legacy iptables
 * (by their number of entries; iptables-nft is heard by Watch). Only what the wish has objects in is looked at, and
 * only a difference wakes the loop.
 */
export class Fingerprints {
  /** Objects that the last pass could not bring about: the loop tries them again by itself, with backoff. */
  readonly #failing = new Set<string>();
  /** Entries and size of each legacy table in use, by namespace, as of our own last pass over it. */
  readonly #tables = new Map<Ns, string>();
  readonly #offsets = new Map<Ns, number>();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #legacy = false;

  constructor(
    readonly spaces: Spaces,
    readonly kernel: Kernel,
    readonly desired: Desired,
    /** Why an object that nothing wishes may not be removed yet. */
    readonly gate: (ns: Ns, kind: string, key: string) => string | undefined,
    readonly onDirt: (dirt: Dirt) => void,
    readonly onTrouble: (error: unknown) => void,
  ) {}

  async start(): Promise<void> {
    this.#legacy = await usesLegacyTables(this.spaces.native);
    this.#schedule(POLL_MS);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Told after each pass: what it left in the tables is how they shall be. */
  passed({ looked, failed }: Passed): void {
    for (const id of this.#failing) {
      const [ns, kind, key] = id.split('\n') as [Ns, string, string];
      const keys = looked.scopes.get(scopeId(ns, kind))?.keys;
      if (keys === 'all' || keys?.has(key)) this.#failing.delete(id);
    }
    for (const { op } of failed) this.#failing.add(idOf(op));
    if (!this.#legacy) return;
    for (const scope of looked.scopes.values()) {
      if (scope.kind === 'iptables') this.#tables.set(scope.ns, this.#entries(scope.ns));
    }
  }

  async poll(): Promise<void> {
    const dirt = new Dirt();
    this.kernel.begin();
    try {
      for (const scope of this.desired.scopes()) {
        if (COMPARED.has(scope.kind)) await this.#compare(scope, dirt);
        else if (scope.kind === 'iptables' && this.#legacy) this.#recount(scope.ns, dirt);
      }
    } finally {
      this.kernel.passed();
    }
    if (dirt.scopes.size > 0) this.onDirt(dirt);
  }

  #schedule(ms: number): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => void this.#timed(), ms).unref();
  }

  async #timed(): Promise<void> {
    const before = process.cpuUsage();
    try {
      await this.poll();
    } catch (error) {
      this.onTrouble(error);
    }
    const { user, system } = process.cpuUsage(before);
    this.#schedule(Math.max(POLL_MS, (REST * (user + system)) / 1000));
  }

  async #compare({ ns, kind: name }: Scope, dirt: Dirt): Promise<void> {
    const where = this.kernel.where(ns);
    if (!where) return;
    const kind = KINDS.get(name) as unknown as Kind<unknown>;
    const all = this.desired.entries(ns, name);
    const want = name === 'real-server' ? this.#slice(ns, all) : all;
    const keys = want.length < all.length ? new Set(want.map(([key]) => key)) : undefined;
    const objects = want.map(([, { object }]) => object);
    const found = await this.kernel.port(name).observe(ns, objects, keys);
    // What is wished but not due may be among them; it is not superfluous.
    const isDue = (key: string) => keys === undefined || keys.has(key) || !this.desired.wants(ns, name, key);
    const have = found.filter((object) => isDue(kind.key(object)));
    const { ops } = plan(kind, where, new Map(want), have, (key) => this.gate(ns, name, key));
    for (const op of ops) if (!this.#failing.has(idOf(op))) dirt.add(ns, name, op.key);
  }

  /** The real servers of as many virtual servers as a poll may look at, the next ones in turn. */
  #slice(ns: Ns, wanted: readonly [string, Wanted][]): readonly [string, Wanted][] {
    const serverOf = ([key]: [string, Wanted]): string => key.replace(/ [^ ]+$/, '');
    const servers = [...new Set(wanted.map(serverOf))];
    if (servers.length <= SERVERS_A_POLL) return wanted;
    const from = (this.#offsets.get(ns) ?? 0) % servers.length;
    this.#offsets.set(ns, from + SERVERS_A_POLL);
    const due = new Set(servers.slice(from, from + SERVERS_A_POLL));
    return wanted.filter((w) => due.has(serverOf(w)));
  }

  #recount(ns: Ns, dirt: Dirt): void {
    const entries = this.#entries(ns);
    const known = this.#tables.get(ns);
    this.#tables.set(ns, entries);
    if (known !== undefined && known !== entries) dirt.add(ns, 'iptables');
  }

  /** Entries and bytes of each legacy table that the wish has rules in. */
  #entries(ns: Ns): string {
    const space = this.spaces.open(ns);
    if (!space) return '';
    const wanted = this.desired.in(ns, 'iptables').map((w) => w.object as { family: 4 | 6; table: string });
    const tables = new Set(wanted.map(({ family, table }) => `${family} ${table}`));
    const counts = [...tables].sort().map((id) => {
      const [family, table] = id.split(' ') as [string, string];
      const found = this.spaces.native.xtGetInfo(space.fd, family === '4' ? 4 : 6, table);
      return `${id} ${found ? `${found.entries} ${found.size}` : 'absent'}`;
    });
    return counts.join(', ');
  }
}

const idOf = ({ ns, kind, key }: Op): string => `${ns}\n${kind}\n${key}`;

/** Is `iptables` the legacy program, `iptables v1.8.9 (legacy)`? Before 1.8 there was no other and it did not say. */
async function usesLegacyTables(native: Native): Promise<boolean> {
  try {
    const { stdout } = await native.exec(-1, ['iptables', '--version'], null, undefined, VERSION_TIMEOUT_MS);
    return !stdout.toString('utf8').includes('nf_tables');
  } catch (error) {
    // Not installed: there is nothing to count, and writing a rule says so.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
