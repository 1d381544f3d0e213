import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

// The contract on the real kernel plays the part of a whole machine: it gets a network namespace that is thrown away,
// also when this file is run by hand. Only that program speaks TAP.
const program = [process.execPath, ...process.execArgv, fileURLToPath(new URL('../contract/real.js', import.meta.url))];
const root = process.geteuid?.() === 0;
const [command, ...args] = root ? ['unshare', '--net', ...program] : program;
const child = spawn(command as string, args, { stdio: 'inherit' });
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => child.kill(signal));
const [code] = (await once(child, 'exit')) as [number | null];
process.exitCode = code ?? 1;
