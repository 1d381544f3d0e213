import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, link, rename, rm } from 'node:fs/promises';
import net from 'node:net';
import { WeftError } from '../base/errors.js';

/**
 * Listen on a unix socket that at most one process serves. The socket is made under a name of its own and then linked to
 * `path`: link(2) fails where a file exists, so two that start at once cannot both win, and a socket that a killed
 * process left is told from a live one by connecting. (Unlinking first, as is usual, lets a second process take the name
 * from a live one.)
 * @throws WEFT_IN_USE where a live process listens there, WEFT_UNAVAILABLE where the directory is missing or not ours
 */
export async function listenAlone(server: net.Server, path: string): Promise<void> {
  const own = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    server.listen(own);
    await once(server, 'listening');
    await chmod(own, 0o600);
    while (!(await linked(own, path))) await removeStale(path);
  } catch (error) {
    server.close();
    if (error instanceof WeftError) throw error;
    throw new WeftError('WEFT_UNAVAILABLE', `cannot listen on ${path}: ${(error as Error).message}`);
  } finally {
    await rm(own, { force: true });
  }
}

async function linked(own: string, path: string): Promise<boolean> {
  try {
    await link(own, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** @throws WEFT_IN_USE where it is not stale */
async function removeStale(path: string): Promise<void> {
  if (await answers(path)) throw inUse(path);
  // Between the question and the removal another may have taken the name: move it away and ask again.
  const moved = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    await rename(path, moved);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const alive = await answers(moved);
  if (alive) await linked(moved, path);
  await rm(moved, { force: true });
  if (alive) throw inUse(path);
}

/** Whether a process listens on a unix socket. */
async function answers(path: string): Promise<boolean> {
  const socket = net.connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

function inUse(path: string): WeftError {
  return new WeftError('WEFT_IN_USE', `another resolver listens on ${path}`, 'stop it, or give another --run-dir');
}
