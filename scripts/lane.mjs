#!/usr/bin/env node
// Runs the privileged tests. usage: lane.mjs LANE [--jobs N] [--timeout SECONDS] [--wide] [PART-OF-A-FILE-NAME…]
//   kernel  build/test/{kernel,host} on this machine, each file in network and mount namespaces of its own
//   guest   build/test/{kernel,guest} in a User-Mode Linux guest; a guest has one processor, so with --jobs N
//           there are N of them, each with its share of the files
//   guest-all  the same and build/test/host, whose files ask nothing of a kernel that this machine's would not answer
//   lab     build/test/lab on this machine; these files boot guests themselves
// With --wide every scene is run with every balancer, family and kernel, also what CI asks elsewhere (asked() in
// test/support/needs.ts); files take two to four times as long.
// A test file is a node program that prints TAP. Exit status 1 when a test fails or none ran, 2 on wrong usage.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import './system-path.mjs';
import { GuestRunner, HostRunner } from './lane/runners.mjs';
import { counts, report } from './lane/verdict.mjs';

const LANES = {
  kernel: { folders: ['kernel', 'host'], seconds: 240, Runner: HostRunner },
  guest: { folders: ['kernel', 'guest'], seconds: 600, Runner: GuestRunner },
  'guest-all': { folders: ['kernel', 'host', 'guest'], seconds: 600, Runner: GuestRunner },
  lab: { folders: ['lab'], seconds: 300, Runner: HostRunner },
};

function fail(status, message) {
  console.error(`lane: ${message}`);
  process.exit(status);
}

function usage() {
  let parsed;
  try {
    const text = { type: 'string' };
    const options = { jobs: text, timeout: text, wide: { type: 'boolean', default: false } };
    parsed = parseArgs({ allowPositionals: true, options });
  } catch (cause) {
    fail(2, cause.message);
  }
  const [name, ...parts] = parsed.positionals;
  const lane = Object.hasOwn(LANES, name ?? '') ? LANES[name] : fail(2, `say which: ${Object.keys(LANES).join(', ')}`);
  const jobs = count('--jobs', parsed.values.jobs ?? '1');
  const { wide } = parsed.values;
  if (wide) process.env.WEFT_WIDE = '1';
  const seconds = count('--timeout', parsed.values.timeout ?? String(lane.seconds * (wide ? 4 : 1)));
  return { lane, parts, jobs, seconds };
}

function count(option, text) {
  if (!/^[1-9]\d{0,5}$/.test(text)) fail(2, `${option} takes a whole number from 1, not "${text}"`);
  return Number(text);
}

function testFiles(folders, parts) {
  const found = [];
  for (const folder of folders) {
    const root = path.join('build', 'test', folder);
    if (!fs.existsSync(root)) continue;
    for (const entry of fs.readdirSync(root, { recursive: true, encoding: 'utf8' }).sort()) {
      if (entry.endsWith('.test.js')) found.push(path.join(root, entry));
    }
  }
  return parts.length === 0 ? found : found.filter((file) => parts.some((part) => file.includes(part)));
}

async function runAll(runners, files, seconds) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  const queue = [...files];
  const worker = async (runner) => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const verdict = await runner.run(file, seconds);
      console.log(report(verdict));
      for (const key of Object.keys(total)) total[key] += verdict[key];
    }
  };
  await Promise.all(runners.map(worker));
  return total;
}

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const { lane, parts, jobs, seconds } = usage();
if (process.geteuid() !== 0) fail(1, 'these tests make namespaces and change network state: run as root');
const files = testFiles(lane.folders, parts);
if (files.length === 0) fail(1, `no test file in build/test/{${lane.folders.join(',')}} matches; was it built?`);

const runners = Array.from({ length: Math.min(jobs, files.length) }, () => new lane.Runner());
const stop = () => Promise.all(runners.map((runner) => runner.stop()));
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  process.once(signal, () => stop().finally(() => process.exit(status)));
}
let total;
try {
  total = await runAll(runners, files, seconds);
} catch (cause) {
  await stop();
  fail(1, cause.message);
}
await stop();
console.log(counts(total));
process.exitCode = total.failed > 0 || total.passed + total.failed === 0 ? 1 : 0;
