#!/usr/bin/env node
// Valid and damaged DNS messages at the resolver's answers. usage: dns-fuzz.mjs [--messages N] [--seed S]
//   --messages  how many, a million when not given
//   --seed      which; new ones when not given
// Needs `npm run build:test`. Exit status 1 when an answer is not as it should be: the message and the seed are printed.
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Random } from '../build/test/soak/random.js';
import { DnsFuzz } from '../build/test/support/dns-fuzz.js';

const text = { type: 'string' };
const { values } = parseArgs({ options: { messages: text, seed: text } });
const messages = Number(values.messages ?? 1_000_000);
const seed = Number(values.seed ?? randomInt(2 ** 31));
console.log(`seed ${seed}, ${messages} messages`);

const fuzz = new DnsFuzz(new Random(seed));
const start = performance.now();
for (let i = 0; i < messages; i++) {
  try {
    fuzz.step();
  } catch (error) {
    console.error(`message ${i} of seed ${seed}: ${error.message}`);
    process.exit(1);
  }
}
const { valid, damaged, unanswered, slowestMs } = fuzz.done;
const seconds = ((performance.now() - start) / 1000).toFixed(0);
console.log(`${valid} valid, all answered; ${damaged} damaged, ${unanswered} of them no queries and met with silence`);
console.log(`slowest ${slowestMs.toFixed(3)} ms, ${seconds} s in all`);
