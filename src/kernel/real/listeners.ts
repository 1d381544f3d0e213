import { readdir, readFile, readlink } from 'node:fs/promises';
import { type ListeningSocket, parseListeners, parseLocalPorts } from '../../codec/proc-net.js';

/** Who has a listening socket. Both are unknown for a socket of another pid namespace, or of the kernel itself. */
export interface Holder {
  pid?: number;
  /** Its name as `ps -e` shows it (/proc/PID/comm). */
  program?: string;
}

export type Listener = ListeningSocket & Holder;

/** Descriptors are looked through for this many processes at a time. */
const AT_ONCE = 16;

/**
 * Listeners of the agent's own network namespace that `wanted` picks, with who has them.
 * /proc/self/net, not /proc/net: both are the namespace of the thread that asks, and that never moves.
 */
export async function listeners(wanted: (socket: ListeningSocket) => boolean): Promise<Listener[]> {
  const sockets = (await Promise.all([table('tcp'), table('tcp6'), table('udp'), table('udp6')])).flat().filter(wanted);
  if (sockets.length === 0) return [];
  const holders = await holdersOf(new Set(sockets.map((socket) => socket.inode)));
  return sockets.map((socket) => ({ ...socket, ...holders.get(socket.inode) }));
}

/** Is there any socket of the agent's own network namespace at that local port, a connection for instance? */
export async function isLocalPort(proto: 'tcp' | 'udp', port: number): Promise<boolean> {
  const tables = await Promise.all([text(proto), text(`${proto}6`)]);
  return tables.some((table) => parseLocalPorts(table).has(port));
}

type File = 'tcp' | 'tcp6' | 'udp' | 'udp6';

async function table(file: File): Promise<ListeningSocket[]> {
  return parseListeners(await text(file), file.startsWith('tcp') ? 'tcp' : 'udp');
}

async function text(file: File): Promise<string> {
  try {
    return await readFile(`/proc/self/net/${file}`, 'latin1');
  } catch (error) {
    // A kernel without IPv6 has no such file.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** Looks through /proc/PID/fd; inherited sockets are the first process's that is found. */
async function holdersOf(inodes: ReadonlySet<number>): Promise<Map<number, Holder>> {
  const found = new Map<number, Holder>();
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  for (let from = 0; from < pids.length && found.size < inodes.size; from += AT_ONCE) {
    await Promise.all(pids.slice(from, from + AT_ONCE).map((pid) => searchIn(pid, inodes, found)));
  }
  return found;
}

async function searchIn(pid: string, inodes: ReadonlySet<number>, found: Map<number, Holder>): Promise<void> {
  const dir = `/proc/${pid}/fd`;
  for (const fd of await orNone(readdir(dir), [])) {
    const inode = Number(/^socket:\[(\d+)\]$/.exec(await orNone(readlink(`${dir}/${fd}`), ''))?.[1]);
    if (!inodes.has(inode) || found.has(inode)) continue;
    const program = (await orNone(readFile(`/proc/${pid}/comm`, 'utf8'), '')).trim();
    found.set(inode, { pid: Number(pid), ...(program && { program }) });
  }
}

/** Processes and descriptors end while one looks. */
async function orNone<T>(reading: Promise<T>, none: T): Promise<T> {
  try {
    return await reading;
  } catch {
    return none;
  }
}
