#!/usr/bin/env node
// `npm run check`: everything that can be said about the tree without running it. One line a part, what is wrong under
// it, and the totals on the last line. Exit status 1 when a part failed.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { counts } from './lane/verdict.mjs';

const TSC = ['node_modules/typescript/bin/tsc', '--noEmit', '--pretty', 'false'];

const BIOME = ['node_modules/@biomejs/biome/bin/biome'];

/** Its own build state: writing that of `npm run build` would race with a build beside this check. */
const state = (name) => ['--tsBuildInfoFile', `node_modules/.cache/weft/${name}.tsbuildinfo`];

const CONSTANTS = ['--preprocessor', './scripts/knip/header-constants.mjs'];

const PARTS = [
  ['types of src', [...TSC, '-p', 'tsconfig.json', ...state('src')]],
  ['types of tests', [...TSC, '-p', 'tsconfig.test.json', ...state('test')]],
  ['format and lint', [...BIOME, 'check', '--error-on-warnings', '--reporter=github', '--colors=off']],
  ['dead code', ['node_modules/knip/bin/knip.js', '--no-progress', '--treat-config-hints-as-errors', ...CONSTANTS]],
  ['import directions', ['scripts/imports.mjs']],
  ['documents', ['scripts/docs.mjs', '--check']],
  ['vagrant', ['scripts/check-vagrant.sh']],
];

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
if (!fs.existsSync('node_modules/typescript')) {
  console.error('check: node_modules is missing; run npm ci');
  process.exit(1);
}
const total = { passed: 0, failed: 0, skipped: 0 };
for (const [name, args] of PARTS) {
  const start = performance.now();
  const program = args[0].endsWith('.sh') ? 'bash' : process.execPath;
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 64 << 20 });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  total[status === 0 ? 'passed' : 'failed'] += 1;
  console.log(`${status === 0 ? 'ok' : 'not ok'} ${name} (${seconds} s)`);
  if (status !== 0) console.log(`${stdout}${stderr}`.trim().replace(/^/gm, '  '));
}
console.log(counts(total));
process.exitCode = total.failed > 0 ? 1 : 0;
