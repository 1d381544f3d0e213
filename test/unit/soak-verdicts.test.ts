import test from 'ava';
import { swollen } from '../soak/footprint.js';
import { Judge } from '../soak/judge.js';
import type { Failure } from '../support/load.js';
import type { WrkRun } from '../support/wrk.js';

/** KiB over 30 looks, each some MiB off a line: 8 up, 8 down, and so on. */
const wavy = (kibEach: number): number[] =>
  Array.from({ length: 30 }, (_, i) => 100_000 + kibEach * i + (i % 2 === 0 ? 4096 : -4096));

test('memory that rises is swollen, memory that only wavers is not', (t) => {
  t.is(swollen(wavy(0)), undefined);
  t.is(swollen([90_000, 95_000]), undefined, 'too short to say');
  t.is(swollen([60_000, 80_000, ...wavy(0)]), undefined, 'an agent warms up');
  t.regex(swollen(wavy(1500)) ?? '', /^rises by 2\d{4} KiB in 20 looks/);
  t.regex(swollen([80_000, 90_000, 200_000]) ?? '', /^80000 KiB at most in the first third, 200000/);
});

const failure = (changes: Partial<Failure>): Failure => ({
  ...{ flow: 'steady', proto: 'tcp', host: '10.20.0.200', port: 80, code: 'ECONNRESET', backend: 'b2' },
  ...{ from: Date.now() - 10, to: Date.now() + 10 },
  ...changes,
});

test('a connection breaks with its backend, and nothing else may', async (t) => {
  const judge = new Judge();
  await judge.during({ backends: ['b2'] }, async () => {});
  t.deepEqual(judge.faults([failure({})]), []);
  const { backend: _, ...begun } = failure({ flow: 'new' });
  for (const other of [failure({ backend: 'b3' }), failure({ code: 'ECONNREFUSED' }), failure({ proto: 'udp' }), begun])
    t.is(judge.faults([other]).length, 1, JSON.stringify(other));
  const later = { from: Date.now() + 1000, to: Date.now() + 2000 };
  t.is(judge.faults([failure(later)]).length, 1, 'long after');

  await judge.during({ backends: ['b3'], sudden: true }, async () => {});
  t.deepEqual(judge.faults([begun, failure({ backend: 'b3', code: 'ENDED' })]), []);
  t.is(judge.faults([failure({ backend: 'b3', code: 'EOTHER b3 10.0.0.1' })]).length, 1);
});

test('connections of wrk break once with each backend', async (t) => {
  const judge = new Judge();
  const counts = {
    requests: 500,
    connect: 0,
    read: 0,
    write: 0,
    status: 0,
    wrong: 0,
    slow: 0,
    silent: 0,
    longestMs: 1,
  };
  const run: WrkRun = { name: 'c1', from: Date.now() - 10, to: Date.now() + 10, example: '', ...counts };
  t.deepEqual(judge.faultsOf({ ...run, slow: 3 }), [], 'slow is no failure');
  for (const what of ['connect', 'read', 'write', 'status', 'wrong', 'silent'] as const)
    t.is(judge.faultsOf({ ...run, [what]: 1 }).length, 1, what);
  await judge.during({ backends: ['b2'] }, async () => {});
  t.deepEqual(judge.faultsOf({ ...run, read: 2 }), []);
  t.is(judge.faultsOf({ ...run, read: 3 }).length, 1);
  t.is(judge.faultsOf({ ...run, wrong: 1 }).length, 1);
  t.is(judge.faultsOf({ ...run, failed: 'exit status 1' }).length, 1);
});
