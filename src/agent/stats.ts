import type { BackendStats, ServiceStats } from '../api/agent.js';
import { isActive } from '../balance/backends.js';
import { type Counts, Directory, type Flows, type Reading } from '../balance/counts.js';
import { countedSets, type Remembered, readingOf, rememberedElement, rememberedFlow } from '../balance/nft/counts.js';
import { OPEN_MEMORIES } from '../balance/nft/memory.js';
import { Tally } from '../balance/tally.js';
import type { Element } from '../codec/nft/element.js';
import { flowsOf } from '../kernel/real/flows.js';
import { counted } from '../kernel/real/ipvs-port.js';
import { ipvsState } from '../kernel/real/ipvs-state.js';
import { eachElement } from '../kernel/real/nft-counters.js';
import { NFT_TABLE } from '../kernel/real/nft-port.js';
import type { Spaces } from '../kernel/real/spaces.js';
import type { Wish } from '../model/registry.js';
import { networkNs, type World } from '../network/world.js';
import type { RealServer } from '../objects/ipvs.js';
import type { Ns } from '../objects/kind.js';
import type { NftObject } from '../objects/nft.js';
import type { Op } from '../reconcile/plan.js';

/** What one look at the kernel brings together. */
interface Look {
  world: World;
  directory: Directory;
  readings: Reading[];
  /** By `SERVICE NETWORK ADDRESS`; the address is missing where no backend of the wish is meant. */
  flows: Map<string, Flows>;
}

const flowsKey = (service: string, network: string, ip = ''): string => `${service} ${network} ${ip}`;

/** What the balancers of this node sent to whom. Read from the kernel when somebody asks, and when a counter goes. */
export class Stats {
  readonly #tally = new Tally();
  #directory: { wish: Wish; directory: Directory } | undefined;
  #looking: Promise<ServiceStats[]> | undefined;
  /** Counters that went while a look was under way: what it read of them is in the tally. */
  readonly #gone = new Set<string>();

  constructor(
    readonly spaces: Spaces,
    readonly world: () => World,
  ) {}

  /** Of every service of the wish. Those who ask at the same time share one look. @throws WEFT_NETLINK */
  services(): Promise<ServiceStats[]> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /** Told of what passes did: a counter goes with its object, which was read just before. */
  removed(done: readonly Op[]): void {
    for (const op of done) {
      if (op.verb === 'add') continue;
      const last = op.kind === 'nft' ? this.#nftLast(op) : op.kind === 'real-server' ? this.#ipvsLast(op) : undefined;
      if (!last) continue;
      this.#tally.end(last, op.kind === 'real-server');
      if (this.#looking) this.#gone.add(last.id);
    }
  }

  /** An element that is replaced begins anew, like one that is removed. */
  #nftLast({ ns, have }: Op): Reading | undefined {
    const object = have as NftObject;
    if (object.what !== 'element' || !object.counter || object.counter.packets === 0) return undefined;
    return this.#known((directory) => readingOf(directory, ns, object.set, object));
  }

  /** A real server keeps its counters when its weight changes. */
  #ipvsLast({ ns, verb, have }: Op): Reading | undefined {
    const server = have as RealServer;
    if (verb !== 'remove' || !server.counter) return undefined;
    return this.#known((directory) => serverReading(directory, ns, server, server.counter as Counts));
  }

  /** By the wish of now, or of the last look where that does not know it any more. */
  #known(find: (directory: Directory) => Reading | undefined): Reading | undefined {
    const before = this.#directory?.directory;
    return find(this.#directoryOf(this.world())) ?? (before && find(before));
  }

  #directoryOf(world: World): Directory {
    if (this.#directory?.wish !== world.wish) this.#directory = { wish: world.wish, directory: new Directory(world) };
    return this.#directory.directory;
  }

  async #look(): Promise<ServiceStats[]> {
    const world = this.world();
    this.#gone.clear();
    const look: Look = { world, directory: this.#directoryOf(world), readings: [], flows: new Map() };
    const networks = new Map(look.directory.subjects.map(({ network }) => [network, networkNs(network)]));
    for (const ns of networks.values())
      await (world.balancer.name === 'ipvs' ? this.#ipvs(ns, look) : this.#nft(ns, look));
    for (const reading of look.readings) if (!this.#gone.has(reading.id)) this.#tally.see(reading);
    this.#tally.keep(new Set(look.readings.map(({ id }) => id)));
    return this.#rows(look);
  }

  async #ipvs(ns: Ns, look: Look): Promise<void> {
    for (const { key, servers } of await ipvsState(this.spaces, ns)) {
      if (!('fwmark' in key)) continue;
      for (const { addr: ip, stats, active, inactive } of servers) {
        const reading = stats && serverReading(look.directory, ns, { ...key, ip }, counted(stats));
        if (!reading) continue;
        look.readings.push(reading);
        remember(look, reading.subject.service, reading.subject.network, reading.backend, { active, inactive });
      }
    }
  }

  async #nft(ns: Ns, look: Look): Promise<void> {
    const { directory, world } = look;
    const note = (flow: Remembered | undefined) => {
      if (!flow) return;
      const { subject, id, active } = flow;
      const flows = active ? { active: 1, inactive: 0 } : { active: 0, inactive: 1 };
      remember(look, subject.service, subject.network, subject.byId.get(id), flows);
    };
    for (const of of [4, 6] as const) {
      const at = (set: string) => ({ family: 'bridge', table: NFT_TABLE, set }) as const;
      for (const set of countedSets(of)) {
        await eachElement(this.spaces, ns, at(set), (element) => {
          const reading = readingOf(directory, ns, set, element);
          if (reading) look.readings.push(reading);
        });
      }
      if (!world.balancer.bridgeConntrack) {
        const take = (e: Element) => note(rememberedElement(directory, ns, of, e));
        for (const memory of OPEN_MEMORIES) await eachElement(this.spaces, ns, at(`${memory}${of}`), take);
      }
    }
    if (!world.balancer.bridgeConntrack) return;
    // None is kept: they are counted as they go by.
    const count = (flow: Parameters<typeof rememberedFlow>[2]) => {
      note(rememberedFlow(directory, ns, flow));
      return false;
    };
    await flowsOf(this.spaces, ns, {}, count, 0);
  }

  #rows({ world, directory, flows }: Look): ServiceStats[] {
    const rows = new Map<string, BackendStats[]>([...world.wish.services.keys()].map((name) => [name, []]));
    const seen = new Set<string>();
    for (const { service, network, backends } of directory.subjects) {
      for (const backend of backends) {
        const { ip, local } = backend;
        const name = flowsKey(service, network, ip);
        // Ports of one service may have backends of their own choice.
        if (seen.has(name)) continue;
        seen.add(name);
        const counts = { ...this.#tally.backend(service, network, ip), ...(flows.get(name) ?? NO_FLOWS) };
        rows
          .get(service)
          ?.push({ network, backend: ip, local, state: isActive(backend) ? 'active' : 'draining', ...counts });
      }
    }
    const wanted = [...rows].map(
      ([service, list]) => [service, new Set(list.map((b) => `${b.network} ${b.backend}`))] as const,
    );
    this.#tally.prune(new Map(wanted));
    const totals = totalsOf(flows);
    return [...rows].map(([service, backends]) => {
      return { service, ...this.#tally.service(service), ...(totals.get(service) ?? NO_FLOWS), backends };
    });
  }
}

const NO_FLOWS: Flows = { active: 0, inactive: 0 };

function remember({ flows }: Look, service: string, network: string, ip: string | undefined, more: Flows): void {
  const name = flowsKey(service, network, ip);
  const { active, inactive } = flows.get(name) ?? NO_FLOWS;
  flows.set(name, { active: active + more.active, inactive: inactive + more.inactive });
}

/** By service; with those of backends that are none any more. */
function totalsOf(flows: ReadonlyMap<string, Flows>): Map<string, Flows> {
  const out = new Map<string, Flows>();
  for (const [name, more] of flows) {
    const service = name.split(' ')[0] as string;
    const { active, inactive } = out.get(service) ?? NO_FLOWS;
    out.set(service, { active: active + more.active, inactive: inactive + more.inactive });
  }
  return out;
}

function serverReading(
  directory: Directory,
  ns: Ns,
  { family, fwmark, ip }: Pick<RealServer, 'family' | 'fwmark' | 'ip'>,
  counts: Counts,
): Reading | undefined {
  const subject = directory.ofMark(ns, family, fwmark);
  const backend = subject?.backends.find((b) => b.ip === ip)?.ip;
  return subject && { id: `${ns} ${family} ${fwmark} ${ip}`, subject, backend, ...counts };
}
