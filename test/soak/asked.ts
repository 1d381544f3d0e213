import { parseArgs } from 'node:util';

/** What scripts/soak.mjs passes: which operations, and how long or how many. */
export function asked(): { seed: number; seconds: number; operations: number } {
  const number = { type: 'string' } as const;
  const { values } = parseArgs({ options: { seed: number, seconds: number, operations: number } });
  const { seed = '1', seconds = '60', operations = 'Infinity' } = values;
  return { seed: Number(seed), seconds: Number(seconds), operations: Number(operations) };
}
