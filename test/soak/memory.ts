import type { LabNode } from '../support/lab.js';
import { footprint, resolverRssKiB, swollen } from './footprint.js';

/** Resident memory of the agent that is never started anew, node 1's, and of all resolvers, over a run. */
export class Memory {
  readonly #points = new Map<string, number[]>();

  constructor(readonly nodes: readonly LabNode[]) {}

  /** @returns what each takes now */
  look(): string {
    const [first] = this.nodes as readonly [LabNode];
    this.#note(`agent ${first.name}`, footprint(first).rssKiB);
    for (const node of this.nodes) this.#note(`resolver ${node.name}`, resolverRssKiB(node));
    return this.#each((points) => `${points.at(-1)} KiB`);
  }

  #note(what: string, kib: number): void {
    this.#points.set(what, [...(this.#points.get(what) ?? []), kib]);
  }

  /** Each that grows without end, in words. */
  swollen(): string[] {
    return [...this.#points].flatMap(([what, points]) => {
      const words = swollen(points);
      return words === undefined ? [] : [`${what}: ${words}`];
    });
  }

  /** First and last. */
  toString(): string {
    return this.#each((points) => `${points[0]} to ${points.at(-1)} KiB`);
  }

  #each(inWords: (points: readonly number[]) => string): string {
    return [...this.#points].map(([what, points]) => `${what} ${inWords(points)}`).join(', ');
  }
}
