import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
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
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const rssKiB = Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]);
  const children = readdirSync(`/proc/${pid}/task`)
    .map((task) => readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8'))
    .join(' ')
    .split(' ')
    .filter(Boolean).length;
  return { descriptors, rssKiB, children };
}

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

/** What an agent may have grown in memory between the first third of a run and its end, over what V8 keeps in reserve. */
const GROWTH_KIB = 48 * 1024;

/** Whether memory grows without end, in words. @param memory KiB of an agent that was never started anew, in order */
export function swollen(memory: readonly number[]): string | undefined {
  const third = Math.floor(memory.length / 3);
  if (third === 0) return undefined;
  const early = Math.max(...memory.slice(0, third));
  const late = Math.min(...memory.slice(-third));
  return late - early < GROWTH_KIB
    ? undefined
    : `${early} KiB at most in the first third, ${late} at least in the last`;
}
