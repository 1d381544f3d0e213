import { randomInt } from 'node:crypto';
import test from 'ava';
import { Random } from '../soak/random.js';
import { DnsFuzz } from '../support/dns-fuzz.js';

/** About a second of work; `scripts/dns-fuzz.mjs` sends a million. */
const MESSAGES = 3000;

test('whatever arrives is answered as it should, or not at all, at once; dns2 and dns-packet read the same', (t) => {
  const seed = randomInt(2 ** 31);
  t.log(`seed ${seed}`);
  const fuzz = new DnsFuzz(new Random(seed));
  for (let i = 0; i < MESSAGES; i++) fuzz.step();
  const { valid, damaged, unanswered } = fuzz.done;
  t.is(valid + damaged, MESSAGES);
  t.true(valid > 500 && damaged - unanswered > 500, `${valid} valid, ${damaged} damaged, ${unanswered} unanswered`);
});
