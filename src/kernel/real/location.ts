import { readFileSync } from 'node:fs';

/**
 * Where the namespace of a sandbox is when weft did not make it. `began`: what beginningOf said of the process when it was
 * handed over; without it any process of that number is taken.
 */
export type Location = { path: string } | { pid: number; began?: string | undefined };

/** The file that names it. */
export const fileOf = (at: Location): string => ('path' in at ? at.path : `/proc/${at.pid}/ns/net`);

/**
 * Tells a process from later ones of its number: `BOOT_ID:TICKS`, since which tick of that boot it runs (field 22 of
 * /proc/PID/stat, proc(5)). Inodes of namespaces do not do: the kernel gives the number of one that is gone to the next.
 * @returns undefined where no process has the number
 */
export function beginningOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the command in parentheses, with anything in it.
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()}:${ticks}`;
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/** Has the process ended, and another its number? What is open by then is told: look after opening, not before. */
export const isAnother = (at: Location): boolean =>
  'pid' in at && at.began !== undefined && beginningOf(at.pid) !== at.began;
