// Ends a session of processes by its id. A guest is one session: the kernel and its ptraced stubs.
import fs from 'node:fs';

/**
 * SIGKILL to the process group `pid`. Returns whether live processes of it were found; zombies do not count, since
 * in a container nobody may be there to reap them.
 */
export function killSession(pid) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (cause) {
    if (cause.code === 'ESRCH') return false;
    throw cause;
  }
  return fs.readdirSync('/proc').some((entry) => /^\d+$/.test(entry) && alive(entry, pid));
}

function alive(entry, group) {
  let stat;
  try {
    stat = fs.readFileSync(`/proc/${entry}/stat`, 'utf8');
  } catch {
    return false; // ended since the directory was read
  }
  // proc(5): after the name in brackets, which may hold anything: state, parent, process group.
  const [state, , pgrp] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(pgrp) === group && state !== 'Z' && state !== 'X';
}
