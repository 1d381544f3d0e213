import { statSync } from 'node:fs';
import type { InspectRow } from '../api/agent.js';
import type { DnsAnswer, NamesPort } from '../api/names.js';
import { WeftError } from '../base/errors.js';
import { fileOf, isAnother, type Location } from '../kernel/real/location.js';
import type { Spaces } from '../kernel/real/spaces.js';
import { nameOf, type Wish } from '../model/registry.js';
import type { Change } from '../network/affected.js';
import type { NetworkNames } from '../network/name-table.js';
import { affectedNames } from '../network/names-view.js';
import { leadsToResolver } from '../network/resolver-rules.js';
import { hasOwnNamespace } from '../network/sandbox.js';
import type { Ns } from '../objects/kind.js';
import type { Op } from '../reconcile/plan.js';
import { queryIn } from './dns-query.js';
import { SandboxFiles } from './files.js';
import type { ViewSettings } from './live-view.js';
import { ResolverKeeper } from './resolver.js';

/** How long the first pass waits for the resolver's ports: Node's start, and a view of some size. */
const START_LIMIT_MS = 1000;

export interface NamesOptions {
  runDir: string;
  logLevel: string;
  settings: ViewSettings;
  spaces: Spaces;
  wish: () => Wish;
  /** Where a namespace is that was handed over. */
  location: (ns: Ns) => Location | undefined;
}

/** Names in sandboxes: their resolver, which answers them, and the files that lead there. */
export class Names implements NamesPort {
  readonly resolver: ResolverKeeper;
  readonly #files: SandboxFiles;

  constructor(readonly options: NamesOptions) {
    const { runDir, logLevel, settings, wish } = options;
    this.#files = new SandboxFiles(runDir);
    this.resolver = new ResolverKeeper({
      runDir,
      logLevel,
      settings,
      wish,
      netnsPath: (sandbox) => this.netnsPath(sandbox),
      foreignIdentity: (sandbox) => this.#foreignIdentity(sandbox),
    });
  }

  /** @param mayPrune whether files of sandboxes that no wish knows may go */
  async start(mayPrune: boolean): Promise<void> {
    const { sandboxes } = this.options.wish();
    this.#files.follow(this.options.wish(), sandboxes.keys());
    if (mayPrune) this.#pruneFiles();
    await this.resolver.start(START_LIMIT_MS);
  }

  changed(changes: readonly Change[], before: Wish, after: Wish): void {
    const affected = affectedNames(changes, before, after);
    this.#files.follow(after, affected.sandboxes);
    this.resolver.changed(affected);
  }

  /** What a pass did may have brought namespaces, or their loopback, that the resolver could not use before. */
  passed(done: readonly Op[]): void {
    const { sandboxes } = this.options.wish();
    const made = done.filter((op) => op.kind === 'netns' && op.verb !== 'remove' && sandboxes.has(op.key));
    this.resolver.lookAgain(made.map((op) => op.key));
    this.#files.follow(this.options.wish(), this.#files.failed);
  }

  /** Ends the resolver and removes the files of sandboxes that are gone. */
  async down(): Promise<void> {
    this.#pruneFiles();
    await this.resolver.end();
  }

  /** Where the namespace of a sandbox can be opened, from outside the agent's mount namespace too. */
  netnsPath(sandbox: string): string {
    return this.#foreignPath(sandbox) ?? this.options.spaces.seenAt(sandbox);
  }

  filesOf(sandbox: string): string {
    return this.#files.directory(sandbox);
  }

  /** Why names do not work in a sandbox, or undefined. */
  trouble(sandbox: string): string | undefined {
    const stored = this.options.wish().sandboxes.get(sandbox);
    if (stored && !hasOwnNamespace(stored)) return undefined;
    return this.#files.trouble(sandbox) ?? this.resolver.trouble(sandbox);
  }

  isTold(revision: number): boolean {
    return this.resolver.isTold(revision);
  }

  onTold(listener: () => void): () => void {
    this.resolver.on('told', listener);
    return () => this.resolver.off('told', listener);
  }

  /** Every sandbox in trouble, but those that a pass has not come to yet. */
  troubles(appliedRevision: number): { object: string; message: string }[] {
    return [...this.options.wish().sandboxes.values()].flatMap((sandbox) => {
      const message = sandbox.revision <= appliedRevision ? this.trouble(sandbox.id) : undefined;
      return message === undefined ? [] : [{ object: nameOf(sandbox), message }];
    });
  }

  /** Rules that lead to the resolver stay while it has not told where it listens. */
  holds(ns: Ns, kind: string, key: string): boolean {
    if (!leadsToResolver(kind, key)) return false;
    return this.options.wish().sandboxes.has(ns) && this.resolver.ports(ns) === undefined;
  }

  /** Every name of the networks that sandboxes here are on. */
  async list(): Promise<InspectRow[]> {
    const { networks, drift, reason } = await this.resolver.names();
    const mark = drift === '' ? { drift: 'ok' as const } : { drift, ...(reason !== undefined && { reason }) };
    return [...networks].flatMap(([network, names]) => rowsOf(names).map((row) => ({ ...row, network, ...mark })));
  }

  /** Asks the resolver as a program in the sandbox would. @throws WEFT_NOT_FOUND, WEFT_INVALID_NETNS, and as queryIn */
  async query(sandbox: string, name: string, type: string): Promise<DnsAnswer> {
    const { spaces, wish } = this.options;
    const { host, share } = wish().sandboxes.get(sandbox)?.spec ?? {};
    if (host === undefined)
      throw new WeftError('WEFT_NOT_FOUND', `there is no sandbox "${sandbox}"`, 'weft sandbox ls');
    if (host)
      throw new WeftError('WEFT_CONFLICT', `sandbox "${sandbox}" has no resolver: it is in the namespace of the node`);
    if (share !== undefined) return this.query(share, name, type);
    spaces.begin();
    try {
      const space = spaces.open(sandbox);
      if (!space) throw new WeftError('WEFT_INVALID_NETNS', `the namespace of sandbox "${sandbox}" is not there`);
      return await queryIn(spaces.native, space.fd, name, type);
    } finally {
      spaces.passed();
    }
  }

  #pruneFiles(): void {
    const { sandboxes } = this.options.wish();
    this.#files.follow(
      this.options.wish(),
      this.#files.existing().filter((name) => !sandboxes.has(name)),
    );
  }

  #foreignPath(sandbox: string): string | undefined {
    const at = this.options.location(sandbox);
    return at && fileOf(at);
  }

  #foreignIdentity(sandbox: string): string | undefined {
    const at = this.options.location(sandbox);
    if (at === undefined) return undefined;
    try {
      const { dev, ino } = statSync(fileOf(at), { bigint: true });
      return isAnother(at) ? '' : `${dev}:${ino}`;
    } catch {
      return '';
    }
  }
}

function rowsOf({ names, ptr }: NetworkNames): { name: string; type: string; addresses: string[] }[] {
  const forward = Object.entries(names).flatMap(([name, { a = [], aaaa = [], served = [], txt }]) => {
    const backends = served.flatMap((one) => one.backends);
    const four = [...a, ...backends.flatMap((backend) => backend.a ?? [])];
    const six = [...aaaa, ...backends.flatMap((backend) => backend.aaaa ?? [])];
    return [
      ...(four.length > 0 || six.length === 0 ? [{ name, type: 'A', addresses: four }] : []),
      ...(six.length > 0 ? [{ name, type: 'AAAA', addresses: six }] : []),
      ...(txt ? [{ name, type: 'TXT', addresses: txt }] : []),
    ];
  });
  return [...forward, ...Object.entries(ptr).map(([ip, name]) => ({ name, type: 'PTR', addresses: [ip] }))];
}
