import { setImmediate } from 'node:timers/promises';
import { WeftError } from '../base/errors.js';
import type { Chain } from './chain.js';
import { Datagrams, type NativeDatagrams } from './datagrams.js';
import { Listener } from './listener.js';
import { type NamespaceSockets, netnsIdentity } from './sockets.js';
import type { Touched } from './tags.js';
import type { Tally } from './tally.js';
import type { SandboxView, View } from './view.js';

/** Where a sandbox's resolver listens, and in which namespace (`DEV:INO`). */
export interface BoundSandbox {
  udp: number;
  tcp: number;
  netns: string;
}

/** The listeners of all sandboxes, kept in step with the chain's view. */
export class Listeners {
  readonly #open = new Map<string, Listener>();
  readonly #errors = new Map<string, WeftError>();
  readonly #datagrams: Datagrams;

  constructor(
    readonly native: NamespaceSockets & NativeDatagrams,
    readonly chain: Chain,
  ) {
    this.#datagrams = new Datagrams(native);
  }

  /** The chain's, and what was answered before it came to the chain. */
  get tally(): Tally {
    const tally = this.chain.tally.copy();
    for (const listener of this.#open.values()) addHits(tally, listener);
    return tally;
  }

  get bound(): Record<string, BoundSandbox> {
    const entries = [...this.#open].map(([name, { sockets }]): [string, BoundSandbox] => [
      name,
      { ...sockets.ports, netns: sockets.identity },
    ]);
    return Object.fromEntries(entries);
  }

  /** Why the sandboxes that should listen do not. */
  get errors(): Record<string, string> {
    return Object.fromEntries(
      [...this.#errors].map(([name, { message, hint }]) => [
        name,
        hint === undefined ? message : `${message} (${hint})`,
      ]),
    );
  }

  /**
   * Puts a view in force, with what was kept of the one before forgotten. Then closes the listeners of sandboxes that are
   * gone and opens those that are missing. A listener that is open keeps its ports, unless the path or the namespace
   * behind it is another by now.
   * @param touched look at these sandboxes only, and at those that failed before; at all where undefined. Looking costs
   * two system calls a sandbox.
   */
  async follow(view: View, touched?: Touched): Promise<void> {
    this.chain.view = view;
    this.#forget(touched);
    await this.#follow(touched?.sandboxes);
  }

  async #follow(named: readonly string[] | undefined): Promise<void> {
    const { sandboxes } = this.chain.view;
    for (const [name, listener] of this.#open) if (!sandboxes.has(name)) this.#close(name, listener);
    for (const name of this.#errors.keys()) if (!sandboxes.has(name)) this.#errors.delete(name);
    const names = new Set(named === undefined ? sandboxes.keys() : [...named, ...this.#errors.keys()]);
    for (const name of names) {
      const sandbox = sandboxes.get(name);
      if (!sandbox) continue;
      await this.#ensure(name, sandbox);
      // Opening a socket takes a thread and a third of a millisecond: let queries in between.
      await setImmediate();
    }
  }

  close(): void {
    for (const [name, listener] of this.#open) this.#close(name, listener);
  }

  #forget(touched: Touched | undefined): void {
    if (!touched || touched.tags === 'all') this.#datagrams.forget();
    else {
      if (touched.tags.length > 0) this.#datagrams.forget(touched.tags);
      for (const name of touched.sandboxes) this.#open.get(name)?.sockets.udp.forget();
    }
  }

  async #ensure(name: string, sandbox: SandboxView): Promise<void> {
    const { netns } = sandbox;
    try {
      const open = this.#open.get(name);
      if (open?.netns === netns && open.sockets.identity === netnsIdentity(this.native, netns)) return;
      if (open) this.#close(name, open);
      this.#open.set(name, await Listener.open(this.native, this.#datagrams, this.chain, name, sandbox));
      this.#errors.delete(name);
    } catch (error) {
      const known = error instanceof WeftError ? error : new WeftError('WEFT_INTERNAL', String(error));
      this.#errors.set(name, known);
      // A namespace that is gone must not be kept alive by our sockets.
      const open = this.#open.get(name);
      if (open) this.#close(name, open);
    }
  }

  #close(name: string, listener: Listener): void {
    addHits(this.chain.tally, listener);
    listener.close();
    this.#open.delete(name);
  }
}

function addHits(tally: Tally, { sandbox, sockets }: Listener): void {
  const { hits, refused } = sockets.udp.counts();
  tally.addHits(sandbox, hits);
  tally.total.socketErrors += refused;
}
