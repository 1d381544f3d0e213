// Which processors a run uses.
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_MS = 500;

/** Idle time of each processor so far, in clock ticks: the 4th and 5th number of its line (proc_stat(5)). */
export function idleTicks(stat) {
  const lines = [...stat.matchAll(/^cpu(\d+) (.*)$/gm)];
  return new Map(lines.map(([, cpu, numbers]) => [Number(cpu), sum(numbers.split(' ').slice(3, 5))]));
}

const sum = (numbers) => numbers.reduce((total, number) => total + Number(number), 0);

/**
 * The quietest processor for measuring, another one for the far side of a bulk stream, and those left for everything
 * else. With one processor all are the same.
 * @returns {Promise<{ cpu: number, other: number, rest: number[] }>}
 */
export async function chooseCpus() {
  const before = idleTicks(fs.readFileSync('/proc/stat', 'utf8'));
  await sleep(LOOK_MS);
  const after = idleTicks(fs.readFileSync('/proc/stat', 'utf8'));
  const idle = (cpu) => after.get(cpu) - before.get(cpu);
  const [cpu, ...rest] = [...before.keys()].sort((a, b) => idle(b) - idle(a));
  return { cpu, other: rest[0] ?? cpu, rest };
}
