#!/usr/bin/env node
// Long random runs. usage: soak.mjs [NAME…] [--minutes N] [--operations N] [--seed S] [--guest]
//   NAME          part of the name of a file in test/soak; all when none is given
//   --minutes     how long each runs; one when nothing is given
//   --operations  how many operations instead
//   --seed        which operations, and in which order; a new one when not given
//   --guest       in a User-Mode Linux guest, whose kernel has IPVS
// Exit status 1 when something is not as it should be; how to repeat the run is then said. 2 on wrong usage.
import { randomInt } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import './system-path.mjs';
import { GuestRunner, HostRunner } from './lane/runners.mjs';
import { counts, report } from './lane/verdict.mjs';

const FOLDER = path.join('build', 'test', 'soak');
/** How much slower a guest is (test/support/lab.ts). */
const SLOWNESS = 8;
/** What a run may take beyond its time: to settle at the end and to take everything down. tap's own limit is a tenth less. */
const GRACE_SECONDS = 300;
const PATIENCE = 1.2;
/** Seconds that an operation may take at most, checkpoints included. */
const SECONDS_AN_OPERATION = 2;
/** A guest takes of it what it uses. */
const GUEST_MEMORY = '3G';

function fail(status, message) {
  console.error(`soak: ${message}`);
  process.exit(status);
}

function usage() {
  const text = { type: 'string' };
  let parsed;
  try {
    parsed = parseArgs({
      allowPositionals: true,
      options: { minutes: text, operations: text, seed: text, guest: { type: 'boolean' } },
    });
  } catch (cause) {
    fail(2, cause.message);
  }
  const { minutes, operations, seed = String(randomInt(2 ** 31)), guest = false } = parsed.values;
  for (const [option, value] of Object.entries({ minutes, operations, seed }))
    if (value !== undefined && !/^\d{1,10}(\.\d+)?$/.test(value)) fail(2, `--${option} takes a number, not "${value}"`);
  if (minutes !== undefined && operations !== undefined) fail(2, 'give --minutes or --operations, not both');
  return { parts: parsed.positionals, minutes: minutes ?? '1', operations, seed, guest };
}

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const { parts, minutes, operations, seed, guest } = usage();
if (process.geteuid() !== 0) fail(1, 'soaks make namespaces and change network state: run as root');
const files = fs
  .readdirSync(FOLDER)
  .filter((name) => name.endsWith('.test.js') && (parts.length === 0 || parts.some((part) => name.includes(part))));
if (files.length === 0) fail(1, `no file of ${FOLDER} matches; was it built?`);

const slowness = guest ? SLOWNESS : 1;
const seconds = operations === undefined ? Number(minutes) * 60 : Number(operations) * SECONDS_AN_OPERATION * slowness;
const args = [
  '--seed',
  seed,
  '--seconds',
  String(seconds),
  ...(operations === undefined ? [] : ['--operations', operations]),
];
const runner = guest ? new GuestRunner({ memory: GUEST_MEMORY }) : new HostRunner();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => runner.stop().finally(() => process.exit(130)));

const total = { passed: 0, failed: 0, skipped: 0 };
for (const file of files) {
  console.log(
    `# ${file}: seed ${seed}, ${operations === undefined ? `${minutes} minutes` : `${operations} operations`}`,
  );
  const onStdout = (chunk) => process.stdout.write(chunk.toString().replace(/^(?! *#).*\n/gm, ''));
  const limit = Math.ceil(seconds * PATIENCE + GRACE_SECONDS * slowness);
  const verdict = await runner.run(path.join(FOLDER, file), limit, { args, onStdout });
  console.log(report(verdict));
  for (const key of Object.keys(total)) total[key] += verdict[key];
}
await runner.stop();
console.log(counts(total));
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
