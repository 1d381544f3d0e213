import type { PatchJson, SandboxJson, ViewJson } from '../dns/view-json.js';
import type { Wish } from '../model/registry.js';
import {
  type AffectedNames,
  type NetworkNames,
  namedNetworks,
  networkNames,
  type SandboxNames,
  sandboxNames,
} from '../network/names-view.js';
import { hasOwnNamespace } from '../network/sandbox.js';

/** Where the resolver finds the namespace of a sandbox. */
export type NetnsPath = (sandbox: string) => string;
/** Where a resolver listened there last, so that the next one does too. */
export type LastPorts = (sandbox: string) => { udp: number; tcp: number } | undefined;

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
  #networks = new Map<string, NetworkNames>();
  #sandboxes = new Map<string, SandboxNames>();
  readonly #due: AffectedNames = { networks: new Set(), sandboxes: new Set() };
  /** Sandboxes to be named although their entries are as before: the resolver looks at their namespaces again. */
  readonly #again = new Set<string>();
  /** Something is to be told, be it nothing: a patch makes the resolver try again what failed. */
  #urgent = false;

  constructor(
    readonly netnsPath: NetnsPath,
    readonly lastPorts: LastPorts,
  ) {}

  get networks(): ReadonlyMap<string, NetworkNames> {
    return this.#networks;
  }

  /** Is there, perhaps, something to tell? */
  get isDue(): boolean {
    const { networks, sandboxes } = this.#due;
    return this.#urgent || networks.size + sandboxes.size + this.#again.size > 0;
  }

  mark({ networks, sandboxes }: AffectedNames): void {
    for (const name of networks) this.#due.networks.add(name);
    for (const name of sandboxes) this.#due.sandboxes.add(name);
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
      upstreams: this.#upstreams,
      networks: Object.fromEntries(this.#networks),
      sandboxes: Object.fromEntries([...this.#sandboxes].map(([id, names]) => [id, this.#withPorts(id, names)])),
    };
  }

  /** What leads from the view last made to the wish; undefined where nothing does. */
  patch(wish: Wish): PatchJson | undefined {
    const networks = this.#altered(this.#due.networks, this.#networks, (id) => this.#takeNetwork(wish, id));
    const sandboxes = this.#altered(
      new Set([...this.#due.sandboxes, ...this.#again]),
      this.#sandboxes,
      (id) => this.#takeSandbox(wish, id),
      this.#again,
    );
    for (const [id, names] of Object.entries(sandboxes ?? {})) {
      if (sandboxes && names) sandboxes[id] = this.#withPorts(id, names);
    }
    const upstreams = this.#upstreamsDue ? { upstreams: this.#upstreams } : {};
    const needed = this.#urgent || networks !== undefined || sandboxes !== undefined;
    this.#settled();
    if (!needed) return undefined;
    return {
      revision: ++this.revision,
      ...upstreams,
      ...(networks && { networks }),
      ...(sandboxes && { sandboxes }),
    };
  }

  /** Makes entries anew. @returns those that are others than before or are `named`, null for those that are gone */
  #altered<T>(
    ids: ReadonlySet<string>,
    entries: Map<string, T>,
    take: (id: string) => T | undefined,
    named: ReadonlySet<string> = new Set(),
  ): Record<string, T | null> | undefined {
    const out: [string, T | null][] = [];
    for (const id of ids) {
      const before = entries.get(id);
      const after = take(id);
      if (after === undefined) {
        if (before !== undefined) out.push([id, null]);
      } else if (named.has(id) || JSON.stringify(before) !== JSON.stringify(after)) out.push([id, after]);
    }
    return out.length > 0 ? Object.fromEntries(out) : undefined;
  }

  #takeNetwork(wish: Wish, id: string): NetworkNames | undefined {
    const network = namedNetworks(wish).has(id) ? wish.networks.get(id) : undefined;
    if (!network) {
      this.#networks.delete(id);
      return undefined;
    }
    const names = networkNames(wish, network);
    this.#networks.set(id, names);
    return names;
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
    this.#due.networks.clear();
    this.#due.sandboxes.clear();
    this.#again.clear();
    this.#urgent = false;
    this.#upstreamsDue = false;
  }
}
