// How results are told: a table for people, a file for programs.
import os from 'node:os';
import { median, meets } from './rounds.mjs';

/** @returns {{ kernel: string, cpus: number, node: string, load: number }} load: of the last minute */
export function machine() {
  return { kernel: os.release(), cpus: os.cpus().length, node: process.version, load: os.loadavg()[0] };
}

const VERDICT = new Map([
  [true, 'met'],
  [false, 'MISSED'],
  [undefined, 'MISSING'],
]);

/**
 * @typedef {{ figure: import('./rounds.mjs').Figure, result: import('./rounds.mjs').Result,
 *   sides: Record<string, import('./rounds.mjs').Side>, samples: Record<string, number[]> }} Outcome
 * @param {readonly Outcome[]} outcomes @returns {string}
 */
export function table(outcomes) {
  const rows = outcomes.map(({ figure, result, sides, samples }) => {
    const bound = `${figure.unit === 'ratio-rate' ? '>=' : '<='} ${figure.goal}`;
    const verdict = VERDICT.get(meets(result));
    if (result.missing !== undefined) return [figure.id, '-', bound, verdict, '', '', result.missing];
    const side = (name) => `${median(samples[name]).toFixed(1)} ${sides[name].scale}`;
    const spread = `${result.min.toFixed(3)}-${result.max.toFixed(3)}`;
    const absolute = [figure.ours, figure.theirs ?? []].flat().map(side).join(' / ');
    return [figure.id, result.value.toFixed(3), bound, verdict, spread, absolute, figure.against];
  });
  return columns([['FIGURE', 'RATIO', 'GOAL', '', 'ROUNDS FROM-TO', 'OURS / THEIRS', 'AGAINST'], ...rows]);
}

/** A side that is no figure, as a line of text. */
export function told(what, { scale }, samples) {
  const [least, middle, most] = [Math.min(...samples), median(samples), Math.max(...samples)];
  return `${what}: ${middle.toFixed(1)} ${scale} (${least.toFixed(1)}-${most.toFixed(1)})`;
}

function columns(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
