// What a machine must have to boot guests.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { WeftGuestError } from './error.mjs';

/** Program or directory, and the Debian package that has it. */
const REQUIRED = [
  ['linux.uml', 'user-mode-linux'],
  ['/usr/lib/uml/modules', 'user-mode-linux'],
  ['modprobe', 'kmod'],
  ['cc', 'gcc libc6-dev'],
  ['ip', 'iproute2'],
  ['nsenter', 'util-linux'],
];

/** Throws WeftGuestError naming everything that is missing and what to install. */
export function checkMachine() {
  const missing = REQUIRED.filter(([what]) => !present(what));
  if (missing.length === 0) return;
  const what = missing.map(([name]) => name).join(', ');
  const packages = [...new Set(missing.map(([, name]) => name))].join(' ');
  throw new WeftGuestError(`this machine cannot boot guests: no ${what}; apt-get install ${packages}`);
}

function present(what) {
  if (what.startsWith('/')) return fs.existsSync(what);
  return (process.env.PATH ?? '').split(':').some((dir) => fs.existsSync(`${dir}/${what}`));
}

/** Compiles the agent to `target`. Static: a guest pays for every page the dynamic linker touches. */
export function compileAgent(target) {
  compile('agent.c', target, '-static');
}

/** Compiles to `target` what linux.uml needs on newer processors. */
export function compilePreload(target) {
  compile('xstate.c', target, '-shared', '-fPIC');
}

function compile(name, target, ...options) {
  const source = fileURLToPath(new URL(name, import.meta.url));
  try {
    execFileSync('cc', ['-O2', '-Wall', ...options, '-o', target, source], { stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (cause) {
    throw new WeftGuestError(`cc could not compile ${source}:\n${cause.stderr}`);
  }
}
