/** A network namespace that a mount keeps alive. */
export interface NetnsMount {
  /** Inode in nsfs. */
  inode: number;
  /** Where it is mounted, in that mount namespace. */
  path: string;
}

/**
 * Network namespaces among the mounts of /proc/PID/mountinfo, proc_pid_mountinfo(5): fields 4 and 5 are the root inside
 * the file system (`net:[4026532008]`) and the mount point, in which space, tab, newline and backslash are octal.
 */
export function parseNetnsMounts(text: string): NetnsMount[] {
  const out: NetnsMount[] = [];
  for (const line of text.split('\n')) {
    const [, , , root = '', path = ''] = line.split(' ');
    const inode = /^net:\[(\d+)\]$/.exec(root)?.[1];
    if (inode === undefined) continue;
    const unescaped = path.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    out.push({ inode: Number(inode), path: unescaped });
  }
  return out;
}
