import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { LabNode } from '../support/lab.js';

/** What an agent takes of the machine. */
export interface Footprint {
  /** Open descriptors, by what they are: `socket`, `anon_inode:[eventpoll]`, `net` (a namespace), a file. */
  descriptors: Record<string, number>;
  /** Resident memory in KiB (VmRSS of proc_pid_status(5)). */
  rssKiB: number;
  /** Processes it has started that are still there, zombies too. */
  children: number;
}

export function footprint({ pid }: LabNode): Footprint {
  const descriptors: Record<string, number> = {};
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    let target: string;
    try {
      target = readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      // Closed since it was listed.
      continue;
    }
    const what = target.replace(/:\[\d+\]$/, '').replace(/\/proc\/.*/, 'proc');
    descriptors[what] = (descriptors[what] ?? 0) + 1;
  }
  const children = readdirSync(`/proc/${pid}/task`)
    .map((task) => readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8'))
    .join(' ')
    .split(' ')
    .filter(Boolean).length;
  return { descriptors, rssKiB: rssKiB(pid), children };
}

const rssKiB = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

/** Threads of the addon's pool (native/pool.c), each with an eventfd; they come when there is work for all before them. */
const POOL_THREADS = 4;
const EVENTFD = 'anon_inode:[eventfd]';

/** What there is more of than before, in words. */
export function grown(before: Footprint, after: Footprint): string[] {
  const out: string[] = [];
  for (const [what, count] of Object.entries(after.descriptors)) {
    const had = (before.descriptors[what] ?? 0) + (what === EVENTFD ? POOL_THREADS : 0);
    if (count > had) out.push(`${count} descriptors of ${what}, were ${had}`);
  }
  if (after.children > before.children) out.push(`${after.children} children, were ${before.children}`);
  return out;
}

/** Resident memory in KiB of the resolver of a node, which no restart of its agent ends. */
export function resolverRssKiB({ runDir }: LabNode): number {
  const pid = readFileSync(join(runDir, 'resolver.pid'), 'utf8').trim();
  return rssKiB(Number(pid));
}

/** What a process may have grown in memory between the first third of a run and its end, over what V8 keeps in reserve. */
const GROWTH_KIB = 48 * 1024;
/** Of a long run the line through all points is looked at: what it may rise by in all. */
const RISE_KIB = 16 * 1024;
/** From so many points on it is a trend and no chance, if it rises by several times what the points lie off it. */
const LONG = 15;
const SCATTERS = 4;

/** Whether memory grows without end, in words. @param memory KiB of a process that was never started anew, in order */
export function swollen(memory: readonly number[]): string | undefined {
  const third = Math.floor(memory.length / 3);
  if (third === 0) return undefined;
  const early = Math.max(...memory.slice(0, third));
  const late = Math.min(...memory.slice(-third));
  if (late - early >= GROWTH_KIB) return `${early} KiB at most in the first third, ${late} at least in the last`;
  if (memory.length < LONG) return undefined;
  // The first third is left out: an agent warms up for a while.
  const { rise, scatter } = line(memory.slice(third));
  return rise < Math.max(RISE_KIB, SCATTERS * scatter)
    ? undefined
    : `rises by ${Math.round(rise)} KiB in ${memory.length - third} looks, which lie ${Math.round(scatter)} KiB off a line`;
}

/** Least squares: by how much the line through the points rises in all, and the standard deviation of the points from it. */
function line(points: readonly number[]): { rise: number; scatter: number } {
  const n = points.length;
  const mean = points.reduce((sum, y) => sum + y, 0) / n;
  const middle = (n - 1) / 2;
  const slope =
    points.reduce((sum, y, x) => sum + (x - middle) * (y - mean), 0) /
    points.reduce((sum, _, x) => sum + (x - middle) ** 2, 0);
  const off = points.reduce((sum, y, x) => sum + (y - mean - slope * (x - middle)) ** 2, 0);
  return { rise: slope * (n - 1), scatter: Math.sqrt(off / n) };
}
