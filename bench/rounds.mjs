// Interleaved rounds, and what they say. Pure but for the measurements it is given.

/**
 * @typedef {{ scale: 'us' | 'ms' | 'KiB' | 'MB' | 'Gb/s' | 'k/cpu-s', most?: number, measure: () => Promise<number> } | { missing: string }}
 *   Side one thing measured, in at most so many rounds
 * @typedef {{ id: string, unit: 'ratio-time' | 'ratio-rate' | 'ms' | 'KiB' | 'MB', ours: string, theirs?: string,
 *   against: string, goal: number }} Figure a ratio of two sides, or one side alone; a goal is a lower bound for rates and
 *   an upper one for all else
 * @typedef {{ id: string, value: number | null, unit: string, against: string, goal: number, rounds: number,
 *   min: number | null, max: number | null, missing?: string }} Result
 */

/** @param {readonly number[]} values at least one */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Measures every side once a round, forwards and backwards by turns, so that a drift of the machine (clock, cache, other
 * work) meets all sides alike. A first round warms neighbour entries and caches, and does not count.
 * @param {Record<string, Side>} sides @param {number} rounds @param {(round: number) => void} [onRound]
 * @returns {Promise<Record<string, number[]>>} samples by side; sides that are missing have none
 */
export async function interleave(sides, rounds, onRound = () => {}) {
  const present = Object.entries(sides).filter(([, side]) => !('missing' in side));
  const samples = Object.fromEntries(present.map(([name]) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    const order = round % 2 === 0 ? present : [...present].reverse();
    for (const [name, side] of order) {
      if (round > (side.most ?? rounds)) continue;
      const value = await side.measure();
      if (round > 0) samples[name].push(value);
    }
    onRound(round);
  }
  return samples;
}

/**
 * The median of the rounds' ratios: what a round has in common cancels. Of a side alone the median of its samples.
 * @param {Figure} figure @param {Record<string, Side>} sides @param {Record<string, number[]>} samples
 * @returns {Result}
 */
export function resultOf({ id, unit, ours, theirs, against, goal }, sides, samples) {
  const both = theirs === undefined ? [ours] : [ours, theirs];
  const missing = both.map((name) => sides[name].missing).find((reason) => reason !== undefined);
  if (missing !== undefined) {
    return { id, value: null, unit, against, goal, rounds: 0, min: null, max: null, missing };
  }
  const ratios = samples[ours].map((value, round) => (theirs === undefined ? value : value / samples[theirs][round]));
  const three = (value) => Number(value.toFixed(3));
  return {
    id,
    value: three(median(ratios)),
    unit,
    against,
    goal,
    rounds: ratios.length,
    min: three(Math.min(...ratios)),
    max: three(Math.max(...ratios)),
  };
}

/** Is the goal met? undefined where nothing was measured. @param {Result} result */
export function meets({ value, unit, goal }) {
  if (value === null) return undefined;
  return unit === 'ratio-rate' ? value >= goal : value <= goal;
}
