// Runs programs for the demo.
import { spawn } from 'node:child_process';

/** A program ended otherwise than it should. */
export class RunError extends Error {}

/**
 * Runs a program to its end. Resolves with its standard output; `code` is checked unless `mayFail`.
 * @param {string[]} argv @param {{ input?: string, env?: NodeJS.ProcessEnv, mayFail?: boolean }} [options]
 * @returns {Promise<{ code: number, stdout: string, stderr: string }>}
 */
export function run(argv, { input, env, mayFail = false } = {}) {
  return new Promise((resolve, reject) => {
    // A session of its own: Ctrl-C at the terminal reaches the demo alone, which then ends in order.
    const child = spawn(argv[0], argv.slice(1), { detached: true, env: env ?? process.env });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.setEncoding('utf8').on('data', (chunk) => {
      stderr += chunk;
    });
    child.once('error', (cause) => reject(new RunError(`cannot run ${argv[0]}: ${cause.message}`)));
    child.once('close', (status, signal) => {
      const code = status ?? 128;
      if (code === 0 || mayFail) return resolve({ code, stdout, stderr });
      const how = signal ?? `exit status ${code}`;
      reject(new RunError(`${argv.join(' ')}\n  ${how}: ${(stderr || stdout).trim()}`));
    });
    child.stdin.on('error', () => {}); // a program that does not read its input: its exit status counts
    child.stdin.end(input ?? '');
  });
}

/** Waits until `test` gives something else than undefined. @throws {RunError} after `ms`, saying what was awaited */
export async function until(what, ms, test) {
  const deadline = Date.now() + ms;
  for (;;) {
    const found = await test();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new RunError(`${what}: not within ${ms / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
