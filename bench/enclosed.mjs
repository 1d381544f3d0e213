// Where benches run: in namespaces of their own.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Set for the run inside namespaces: the directory for its files. */
const INSIDE = 'WEFT_BENCH_DIRECTORY';
const AGENT = fileURLToPath(new URL('../dist/weftd.js', import.meta.url));

/**
 * Runs the program again in mount, network and process namespaces of its own, and there `measure`: names cannot collide
 * with anything on the machine, and whatever ends the run, the kernel removes all of it.
 * @param {(directory: string) => Promise<void>} measure given a directory for its files
 * @throws where it cannot: not root, not built, no unshare
 */
export async function enclosed(measure) {
  const inside = process.env[INSIDE];
  if (inside !== undefined) return measure(inside);
  if (process.geteuid() !== 0) throw new Error('the benches make namespaces: run as root');
  if (!fs.existsSync(AGENT)) throw new Error('build first: npm run build');
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weft-bench-'));
  const mounts = 'mkdir -p /run/netns; mount -t tmpfs tmpfs /run/netns; mount -t sysfs sysfs /sys; ip link set lo up';
  const argv = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-ec'];
  argv.push(`${mounts}; exec "$@"`, 'sh', process.execPath, ...process.argv.slice(1));
  const child = spawn('unshare', argv, { stdio: 'inherit', env: { ...process.env, [INSIDE]: directory } });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill('SIGKILL'));
  return new Promise((resolve, reject) => {
    child.on('error', (cause) => reject(new Error(`cannot run unshare: ${cause.message}`)));
    child.on('exit', (code) => {
      fs.rmSync(directory, { recursive: true, force: true });
      process.exitCode = code ?? 1;
      resolve();
    });
  });
}
