import { WeftError } from '../../src/base/errors.js';
import type { Kernel, KindPort } from '../../src/kernel/port.js';
import type { Ns, Where } from '../../src/objects/kind.js';
import { KINDS } from '../../src/objects/registry.js';
import type { Op } from '../../src/reconcile/plan.js';

/** How a life of the agent goes wrong. */
export interface Faults {
  /** Which operations the kernel refuses: every n-th for each n, counted from the start of the life. */
  refuseEvery: number | undefined;
  /** The agent is killed after so many operations; what was sent stays, nothing follows. */
  crashAfter: number | undefined;
}

/** A kernel in front of which operations are lost, and where each is seen before it is sent. */
export class FaultyKernel implements Kernel {
  #count = 0;
  /** Operations that reached the kernel. */
  writes = 0;

  constructor(
    readonly inner: Kernel,
    readonly faults: Faults,
    readonly onOp: (op: Op) => void,
  ) {}

  /** The agent is dead: nothing that it still does counts. */
  get crashed(): boolean {
    return this.#count > (this.faults.crashAfter ?? Number.POSITIVE_INFINITY);
  }

  port(kind: string): KindPort {
    const port = this.inner.port(kind);
    return {
      observe: (...args) => port.observe(...args),
      ...(port.look && { look: port.look.bind(port) }),
      apply: (ns, ops) => (KINDS.get(kind)?.atomic ? this.#whole(port, ns, ops) : this.#each(port, ns, ops)),
    };
  }

  where(ns: Ns): Where | undefined {
    return this.inner.where(ns);
  }
  namespaces(): Promise<Ns[]> {
    return this.inner.namespaces();
  }
  begin(): void {
    this.inner.begin();
  }
  passed(): void {
    this.inner.passed();
  }

  /** A transaction is refused, or lost, as a whole. */
  async #whole(port: KindPort, ns: Ns, ops: readonly Op[]): Promise<(WeftError | undefined)[]> {
    const fate = this.#fate();
    if (fate) return ops.map(() => fate);
    return this.#send(port, ns, ops);
  }

  async #each(port: KindPort, ns: Ns, ops: readonly Op[]): Promise<(WeftError | undefined)[]> {
    const fates = ops.map(() => this.#fate());
    const sent = await this.#send(
      port,
      ns,
      ops.filter((_, i) => !fates[i]),
    );
    return fates.map((fate) => fate ?? sent.shift());
  }

  #send(port: KindPort, ns: Ns, ops: readonly Op[]): Promise<(WeftError | undefined)[]> {
    for (const op of ops) this.onOp(op);
    this.writes += ops.length;
    return ops.length ? port.apply(ns, ops) : Promise.resolve([]);
  }

  /** What keeps the next operation from the kernel; undefined where nothing does. */
  #fate(): WeftError | undefined {
    this.#count++;
    if (this.crashed) return new WeftError('WEFT_NETLINK', 'the agent is dead');
    const { refuseEvery } = this.faults;
    if (refuseEvery !== undefined && this.#count % refuseEvery === 0) return new WeftError('WEFT_NETLINK', 'EBUSY');
    return undefined;
  }
}
