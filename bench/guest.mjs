// Sides that need a kernel with IPVS: they are measured by a program in a guest, which is asked for one at a time.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { boot } from '../scripts/guest/boot.mjs';

/** Where the program in the guest listens, and keeps its files. */
export const IN_GUEST = { socket: '/run/bench.sock', directory: '/run/bench' };

/** The machine's guests have 1500 MB; two agents with thousands of services need more. */
const MEMORY = '3000M';
/** To set up, and to measure once. */
const LIMIT_MS = 600_000;

/**
 * Boots a guest on one processor of the machine and starts a program in it, which serves its sides by `serveSides`.
 * @param {URL} program @param {number} cpu
 * @returns {Promise<{ sides: Record<string, import('./rounds.mjs').Side>, stop: () => Promise<void> }>}
 */
export async function guestSides(program, cpu) {
  const guest = await boot({ memory: MEMORY });
  try {
    // Its processes, and those that they will start.
    execFileSync('taskset', ['--all-tasks', '--cpu-list', '--pid', String(cpu), String(guest.pid)], { stdio: 'pipe' });
    const running = guest.runNode([fileURLToPath(program)]);
    const ask = async (name) => {
      const answer = guest.run(`curl -sS --fail-with-body --unix-socket ${IN_GUEST.socket} http://bench/${name}`, {
        timeoutMs: LIMIT_MS,
      });
      const { code, stdout, stderr } = await answer;
      if (code !== 0) throw new Error(`in the guest, ${name || 'setting up'}: ${stdout}${stderr}`);
      return JSON.parse(stdout);
    };
    await listening(guest, running);
    const sides = Object.entries(await ask('')).map(([name, side]) => [name, { ...side, measure: () => ask(name) }]);
    return { sides: Object.fromEntries(sides), stop: () => guest.stop() };
  } catch (cause) {
    await guest.stop();
    throw cause;
  }
}

/** Waits until the program listens; it does when all is set up. */
async function listening(guest, running) {
  const there = guest.run(`until [ -S ${IN_GUEST.socket} ]; do sleep 0.5; done`, { timeoutMs: LIMIT_MS });
  const ended = running.then(({ code, stdout, stderr }) => {
    throw new Error(`the bench in the guest ended (exit ${code}): ${stdout}${stderr}`);
  });
  const { timedOut } = await Promise.race([there, ended]);
  if (timedOut) throw new Error(`the bench in the guest is not ready after ${LIMIT_MS / 1000} s`);
}
