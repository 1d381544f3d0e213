import { openSync, readFileSync, readlinkSync } from 'node:fs';

/** The mount namespace in which pins outlive the agent. */
export interface HostMounts {
  /** Descriptor of it; undefined where it is the agent's own. */
  fd: number | undefined;
  /** Prefix under which its file tree is seen. */
  root: string;
}

const OWN: HostMounts = { fd: undefined, root: '/' };

/**
 * An agent started by `ip netns exec` has a private mount namespace: what it pins there dies with it, and the data
 * plane with that. So pins are made where pid 1 lives; where pid 1 may not be looked at (a restricted root), where the
 * farthest ancestor lives that may.
 */
export function hostMounts(): HostMounts {
  const own = readlinkSync('/proc/self/ns/mnt');
  for (const pid of [1, ...ancestors().reverse()]) {
    const mounts = mountsOf(pid);
    if (mounts === undefined) continue;
    return mounts === own ? OWN : { fd: openSync(`/proc/${pid}/ns/mnt`, 'r'), root: `/proc/${pid}/root` };
  }
  return OWN;
}

function mountsOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/mnt`);
  } catch {
    return undefined;
  }
}

/** Pids from the parent upwards. */
function ancestors(): number[] {
  const out: number[] = [];
  for (let pid = process.ppid; pid > 1; pid = parentOf(pid)) out.push(pid);
  return out;
}

function parentOf(pid: number): number {
  try {
    // Field 4 of proc_pid_stat(5); the command in parentheses may hold anything.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return 0;
  }
}
