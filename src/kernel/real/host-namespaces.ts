import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { parseNetnsMounts } from '../../codec/proc-mounts.js';

/** A network namespace of the machine, whoever made it. */
export interface HostNamespace {
  /** Inode in nsfs: its identity as long as the machine is up. */
  inode: number;
  /** Where it can be opened. */
  path: string;
  /** Where it is mounted, in some mount namespace; undefined where processes alone keep it. */
  pin?: string;
  /** A process in it, where there is one. */
  pid?: number;
}

/**
 * Every network namespace that has a process or a mount in any mount namespace. One that sockets or descriptors alone
 * keep is not found: nothing in /proc shows it.
 */
export async function hostNamespaces(): Promise<HostNamespace[]> {
  const found = new Map<number, HostNamespace>();
  const mounts = new Map<string, number>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const pid = Number(name);
    const inode = Number(/\d+/.exec(await linkOf(`/proc/${pid}/ns/net`))?.[0]);
    if (inode > 0 && !found.has(inode)) found.set(inode, { inode, pid, path: `/proc/${pid}/ns/net` });
    const mnt = await linkOf(`/proc/${pid}/ns/mnt`);
    if (mnt !== '' && !mounts.has(mnt)) mounts.set(mnt, pid);
  }
  for (const pid of mounts.values()) {
    for (const { inode, path: pin } of parseNetnsMounts(await textOf(`/proc/${pid}/mountinfo`))) {
      const known = found.get(inode);
      if (known) known.pin ??= pin;
      else found.set(inode, { inode, pin, path: join(`/proc/${pid}/root`, pin) });
    }
  }
  return [...found.values()];
}

/** Processes end while one looks. */
const linkOf = (path: string): Promise<string> => readlink(path).catch(() => '');
const textOf = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');
