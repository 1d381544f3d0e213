import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { Leftovers } from '../../src/agent/memory.js';

/** Waits until it is so; the test's own limit ends it. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await sleep(10);
}

test('passes that wrote much are followed by one collection, and the count begins anew', async (t) => {
  let times = 0;
  const leftovers = new Leftovers(() => times++, 10);
  leftovers.passed(9_999);
  await sleep(50);
  t.is(times, 0);
  leftovers.passed(1);
  leftovers.passed(20_000);
  await until(() => times > 0);
  leftovers.passed(9_999);
  await sleep(50);
  t.is(times, 1);
  leftovers.stop();
});

test('who ends does not collect', async (t) => {
  let times = 0;
  const leftovers = new Leftovers(() => times++, 10);
  leftovers.passed(10_000);
  leftovers.stop();
  await sleep(50);
  t.is(times, 0);
});

test('what nobody holds is gone after it', async (t) => {
  const left = new WeakRef(Array.from({ length: 1000 }, (_, i) => `${i}`));
  new Leftovers(undefined, 10).passed(10_000);
  await until(() => left.deref() === undefined);
  t.is(left.deref(), undefined);
});
