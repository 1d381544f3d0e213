#!/usr/bin/env node
// Reads TAP on standard input; prints what failed or was skipped and, on the last line, the totals as a lane does.
// usage: … | totals.mjs NAME. Exit status 1 when a test failed or none ran.
import { TapReader } from './lane/tap.mjs';
import { counts, report } from './lane/verdict.mjs';

const started = performance.now();
const tap = new TapReader();
for await (const chunk of process.stdin) tap.write(chunk);
const score = tap.end();
const seconds = (performance.now() - started) / 1000;
console.log(report({ ...score, file: process.argv[2] ?? 'tests', seconds, notes: [], stderr: [] }));
console.log(counts(score));
process.exitCode = score.failed > 0 || score.passed === 0 ? 1 : 0;
