#!/usr/bin/env node
// Measures weft against peers on this machine. usage: bench.mjs [NAME…] [--rounds N] [--json FILE]
// See docs/benchmarks.md. Exit status: 1 when something could not be measured, 2 on wrong usage; a missed goal is
// reported and is no failure, for the machine may be busy.
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import './system-path.mjs';
import { chooseCpus } from '../bench/cpus.mjs';
import { enclosed } from '../bench/enclosed.mjs';
import { Lab } from '../bench/lab/lab.mjs';
import { machine, table, told } from '../bench/report.mjs';
import { interleave, resultOf } from '../bench/rounds.mjs';
import { SCENES } from '../bench/scenes.mjs';
import { buildTool, Traffic } from '../bench/traffic.mjs';

const ROUNDS = { least: 5, usual: 31, most: 1000 };

function fail(status, message) {
  console.error(`bench: ${message}`);
  process.exit(status);
}

function usage() {
  let parsed;
  try {
    parsed = parseArgs({ allowPositionals: true, options: { rounds: { type: 'string' }, json: { type: 'string' } } });
  } catch (cause) {
    fail(2, cause.message);
  }
  const { rounds = String(ROUNDS.usual), json } = parsed.values;
  const wrong = parsed.positionals.filter((name) => !Object.hasOwn(SCENES, name));
  const names = Object.keys(SCENES);
  if (wrong.length > 0) fail(2, `there is no bench ${wrong.join(', ')}; there are ${names.join(', ')}`);
  if (!/^\d{1,4}$/.test(rounds) || Number(rounds) < ROUNDS.least || Number(rounds) > ROUNDS.most) {
    fail(2, `--rounds takes a whole number from ${ROUNDS.least} to ${ROUNDS.most}, not "${rounds}"`);
  }
  if (json !== undefined) checkWritable(json);
  const chosen = parsed.positionals.length > 0 ? [...new Set(parsed.positionals)] : names;
  return { names: chosen, rounds: Number(rounds), json };
}

/** Before minutes of measuring, not after. */
function checkWritable(file) {
  try {
    fs.accessSync(path.dirname(path.resolve(file)), fs.constants.W_OK);
  } catch (cause) {
    fail(2, `--json ${file}: ${cause.message}`);
  }
}

async function measure({ names, rounds, json }, directory) {
  buildTool();
  const before = machine();
  const { cpu, other, rest } = await chooseCpus();
  const traffic = new Traffic({ cpu, other });
  const lab = new Lab({ directory, cpus: rest, traffic });
  const outcomes = [];
  try {
    for (const name of names) outcomes.push(...(await scene(name, lab, rounds)));
  } finally {
    await lab.stop();
  }
  console.log(`${table(outcomes)}\n${JSON.stringify(before)}, measured on cpu ${cpu}`);
  if (json === undefined) return;
  const figures = outcomes.map(({ result }) => result);
  fs.writeFileSync(json, `${JSON.stringify({ machine: before, figures }, null, 2)}\n`);
}

async function scene(name, lab, rounds) {
  console.error(`# ${name}: setting up`);
  const sides = await SCENES[name].sides(lab);
  console.error(`# ${name}: ${rounds} rounds of ${Object.keys(sides).join(', ')}`);
  const samples = await interleave(sides, rounds);
  for (const [side, what] of Object.entries(SCENES[name].told ?? {}))
    console.log(told(what, sides[side], samples[side]));
  return SCENES[name].figures.map((figure) => ({ figure, sides, samples, result: resultOf(figure, sides, samples) }));
}

const asked = usage();
await enclosed((directory) => measure(asked, directory)).catch((cause) => fail(1, cause.message));
