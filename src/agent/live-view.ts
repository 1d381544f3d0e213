import type { PatchJson, SandboxJson, ViewJson } from '../dns/view-json.js';
import type { Wish } from '../model/registry.js';
import { type NamesPatch, NameTable, type NetworkNames } from '../network/name-table.js';
import { AffectedNames, type SandboxNames, sandboxNames } from '../network/names-view.js';
import { namedNetworks } from '../network/on-network.js';
import { hasOwnNamespace } from '../network/sandbox.js';
import type { Options } from './options.js';

/** Where the resolver finds the namespace of a sandbox. */
export type NetnsPath = (sandbox: string) => string;
/** Where a resolver listened there last, so that the next one does too. */
export type LastPorts = (sandbox: string) => { udp: number; tcp: number } | undefined;

/** What the agent's options say, for as long as it runs. */
export type ViewSettings = Pick<ViewJson, 'ttl' | 'split' | 'queryLog'>;

export const viewSettings = ({ dnsTtl, dnsSplit, dnsQueryLog }: Options): ViewSettings => ({
  ttl: dnsTtl,
  split: dnsSplit,
  ...(dnsQueryLog !== undefined && { queryLog: dnsQueryLog }),
});

/**
 * The view that the resolver should have, entry by entry, and which entries it has not been told of. An entry is made
 * anew only when a change of the wish may have altered it, and told only when it is another.
 */
export class LiveView {
  /**
   * Of the view last made. Begins with the time, so that an agent's first patch never follows the view of an earlier
   * agent by accident.
   */
  revision = Date.now();
  #upstreams: string[] = [];
  #networks = new Map<string, NameTable>();
  #sandboxes = new Map<string, SandboxNames>();
  readonly #due = new AffectedNames();
  /** Sandboxes to be named although their entries are as before: the resolver looks at their namespaces again. */
  readonly #again = new Set<string>();
  /** Something is to be told, be it nothing: a patch makes the resolver try again what failed. */
  #urgent = false;

  constructor(
    readonly netnsPath: NetnsPath,
    readonly lastPorts: LastPorts,
    readonly settings: ViewSettings,
  ) {}

  /** Names by network, as last made. */
  networks(): Map<string, NetworkNames> {
    return new Map([...this.#networks].map(([id, table]) => [id, table.whole()]));
  }

  /** Is there, perhaps, something to tell? */
  get isDue(): boolean {
    return this.#urgent || !this.#due.isEmpty || this.#again.size > 0;
  }

  mark(affected: AffectedNames): void {
    this.#due.add(affected);
  }

  lookAgain(sandboxes: Iterable<string> = []): void {
    for (const name of sandboxes) this.#again.add(name);
    this.#urgent = true;
  }

  setUpstreams(servers: string[]): void {
    if (servers.join(' ') === this.#upstreams.join(' ')) return;
    this.#upstreams = servers;
    this.#upstreamsDue = true;
    this.#urgent = true;
  }
  #upstreamsDue = false;

  whole(wish: Wish): ViewJson {
    this.#settled();
    this.#networks = new Map();
    this.#sandboxes = new Map();
    for (const id of namedNetworks(wish).keys()) this.#takeNetwork(wish, id);
    for (const id of wish.sandboxes.keys()) this.#takeSandbox(wish, id);
    return {
      revision: ++this.revision,
      ...this.settings,
      upstreams: this.#upstreams,
      networks: Object.fromEntries(this.networks()),
      sandboxes: Object.fromEntries([...this.#sandboxes].map(([id, names]) => [id, this.#withPorts(id, names)])),
    };
  }

  /** What leads from the view last made to the wish; undefined where nothing does. */
  patch(wish: Wish): PatchJson | undefined {
    const { networks, names } = this.#alteredNetworks(wish);
    const sandboxes = this.#alteredSandboxes(wish);
    for (const [id, names] of Object.entries(sandboxes ?? {})) {
      if (sandboxes && names) sandboxes[id] = this.#withPorts(id, names);
    }
    const upstreams = this.#upstreamsDue ? { upstreams: this.#upstreams } : {};
    const needed = this.#urgent || (networks ?? names ?? sandboxes) !== undefined;
    this.#settled();
    if (!needed) return undefined;
    return {
      revision: ++this.revision,
      ...upstreams,
      ...(networks && { networks }),
      ...(names && { names }),
      ...(sandboxes && { sandboxes }),
    };
  }

  /** Networks that came, went or are others as a whole, and the names that changed on the rest. */
  #alteredNetworks(wish: Wish): Pick<PatchJson, 'networks' | 'names'> {
    const networks: [string, NetworkNames | null][] = [];
    const names: [string, NamesPatch][] = [];
    for (const id of new Set([...this.#due.networks, ...this.#due.givers.keys()])) {
      const before = this.#networks.get(id);
      if (before && namedNetworks(wish).has(id) && !this.#due.networks.has(id)) {
        const patch = before.update(wish, this.#due.givers.get(id)?.values() ?? []);
        if (patch) names.push([id, patch]);
        continue;
      }
      const after = this.#takeNetwork(wish, id)?.whole();
      if (after === undefined) {
        if (before) networks.push([id, null]);
      } else if (JSON.stringify(before?.whole()) !== JSON.stringify(after)) networks.push([id, after]);
    }
    return {
      ...(networks.length > 0 && { networks: Object.fromEntries(networks) }),
      ...(names.length > 0 && { names: Object.fromEntries(names) }),
    };
  }

  /** Makes entries anew. @returns those that are others than before or are looked at again, null for those that are gone */
  #alteredSandboxes(wish: Wish): Record<string, SandboxNames | null> | undefined {
    const out: [string, SandboxNames | null][] = [];
    for (const id of new Set([...this.#due.sandboxes, ...this.#again])) {
      const before = this.#sandboxes.get(id);
      const after = this.#takeSandbox(wish, id);
      if (after === undefined) {
        if (before !== undefined) out.push([id, null]);
      } else if (this.#again.has(id) || JSON.stringify(before) !== JSON.stringify(after)) out.push([id, after]);
    }
    return out.length > 0 ? Object.fromEntries(out) : undefined;
  }

  #takeNetwork(wish: Wish, id: string): NameTable | undefined {
    const network = namedNetworks(wish).has(id) ? wish.networks.get(id) : undefined;
    if (!network) {
      this.#networks.delete(id);
      return undefined;
    }
    const table = new NameTable(wish, network);
    this.#networks.set(id, table);
    return table;
  }

  #takeSandbox(wish: Wish, id: string): SandboxNames | undefined {
    const sandbox = wish.sandboxes.get(id);
    if (!sandbox || !hasOwnNamespace(sandbox)) {
      this.#sandboxes.delete(id);
      return undefined;
    }
    const names = sandboxNames(wish, sandbox, this.netnsPath(id));
    this.#sandboxes.set(id, names);
    return names;
  }

  /** Ports are no part of what makes an entry another: the resolver is asked for those it told. */
  #withPorts(id: string, names: SandboxNames): SandboxJson {
    const last = this.lastPorts(id);
    return last ? { ...names, ports: { udp: last.udp, tcp: last.tcp } } : names;
  }

  #settled(): void {
    this.#due.clear();
    this.#again.clear();
    this.#urgent = false;
    this.#upstreamsDue = false;
  }
}
