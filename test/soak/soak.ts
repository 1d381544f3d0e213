import { WeftError } from '../../src/base/errors.js';
import type { Lab, LabNode } from '../support/lab.js';
import type { ControlPlane } from './control-plane.js';
import type { Model } from './model.js';
import type { Random } from './random.js';

/** Nodes, and what is told between them. */
export interface Cluster {
  lab: Lab;
  plane: ControlPlane;
  /** Nodes whose agent does not run at the moment, by number. */
  dead: Set<number>;
}

/** What a step of the soak of networks works on. */
export interface Soak extends Cluster {
  model: Model;
}

/** One kind of step. */
export interface Operation<S extends Cluster = Soak> {
  name: string;
  /** How often it is chosen, compared with others. */
  weight: number;
  /** @returns what was done, in words; undefined where there was nothing to do */
  run(soak: S, random: Random): Promise<string | undefined>;
}

/** Nodes with an agent. */
export const alive = ({ lab, dead }: Cluster): LabNode[] => lab.nodes.filter(({ number }) => !dead.has(number));

export const anyAlive = (soak: Cluster, random: Random): LabNode => random.pick(alive(soak)) as LabNode;

/** Has to be refused with that code. */
export async function refused(code: string, request: Promise<unknown>): Promise<void> {
  try {
    await request;
  } catch (error) {
    if (error instanceof WeftError && error.code === code) return;
    throw error;
  }
  throw new Error(`should have been refused with ${code}`);
}
