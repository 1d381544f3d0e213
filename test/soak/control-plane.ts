import type { LabNode } from '../support/lab.js';
import { patient } from '../support/lab.js';
import type { Random } from './random.js';

/** Tables of gossip, the ones that others refer to first. */
const TABLES = ['networks', 'services', 'nodes', 'peers'];

/**
 * Spreads the nodes' own rows to each other as a bad network would: late, in any order, twice, or not at all until the
 * next snapshot. What a node says is heard on its stream.
 */
export class ControlPlane {
  readonly #inbox: ReadonlyMap<LabNode, string[]>;

  constructor(readonly nodes: readonly LabNode[]) {
    this.#inbox = new Map(nodes.map((node) => [node, []]));
  }

  /** Hears a node until its agent ends; after a restart it is heard anew. */
  hear(node: LabNode): void {
    void this.#hear(node).catch(() => {
      // The agent was killed: what it said last may be lost, as it would be.
    });
  }

  async #hear(node: LabNode): Promise<void> {
    for await (const row of node.api.lines('/v1/gossip')) {
      for (const [to, inbox] of this.#inbox) if (to !== node) inbox.push(row);
    }
  }

  /** Tells a node some of what waits for it, in any order, some of it twice. @returns how many rows */
  async deliver(to: LabNode, random: Random): Promise<number> {
    const inbox = this.#inbox.get(to) as string[];
    const now: string[] = [];
    const later: string[] = [];
    for (const row of random.shuffled(inbox.splice(0))) {
      if (random.chance(0.6)) now.push(row);
      if (now.at(-1) !== row || random.chance(0.1)) later.push(row);
    }
    inbox.push(...later);
    if (now.length > 0) await to.api.post('/v1/gossip', now.join('\n'));
    return now.length;
  }

  /** Tells a node all that waits for it. */
  async deliverAll(to: LabNode): Promise<void> {
    const rows = (this.#inbox.get(to) as string[]).splice(0);
    if (rows.length > 0) await to.api.post('/v1/gossip', rows.join('\n'));
  }

  /** Tells a node everything there is: what it knows besides is forgotten. */
  async snapshot(to: LabNode, alive: readonly LabNode[]): Promise<void> {
    await this.deliverAll(to);
    const others = alive.filter((node) => node !== to);
    const rows = (await Promise.all(others.map((node) => node.ownRows()))).join('').split('\n').filter(Boolean);
    const lines = TABLES.flatMap((table) => [
      JSON.stringify({ table, op: 'snapshot-begin' }),
      ...rows.filter((row) => (JSON.parse(row) as { table: string }).table === table),
      JSON.stringify({ table, op: 'snapshot-end' }),
    ]);
    await to.api.post(`/v1/gossip?wait=applied&timeoutMs=${patient(60_000)}`, lines.join('\n'));
  }
}
