import { WeftError } from '../../src/base/errors.js';
import type { Lab, LabNode } from '../support/lab.js';
import type { ControlPlane } from './control-plane.js';
import type { Model } from './model.js';
import type { Random } from './random.js';

/** What a step works on. */
export interface Soak {
  lab: Lab;
  model: Model;
  plane: ControlPlane;
  /** Nodes whose agent does not run at the moment, by number. */
  dead: Set<number>;
}

/** One kind of step. */
export interface Operation {
  name: string;
  /** How often it is chosen, compared with others. */
  weight: number;
  /** @returns what was done, in words; undefined where there was nothing to do */
  run(soak: Soak, random: Random): Promise<string | undefined>;
}

/** Nodes with an agent. */
export const alive = ({ lab, dead }: Soak): LabNode[] => lab.nodes.filter(({ number }) => !dead.has(number));

export const anyAlive = (soak: Soak, random: Random): LabNode => random.pick(alive(soak)) as LabNode;

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
