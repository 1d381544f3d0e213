import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import test from 'ava';

type Side = { scale: string; measure: () => Promise<number> } | { missing: string };
interface Figure {
  id: string;
  unit: 'ratio-time' | 'ratio-rate';
  ours: string;
  theirs: string;
  against: string;
  goal: number;
}
interface Result {
  id: string;
  value: number | null;
  unit: string;
  goal: number;
  rounds: number;
  min: number | null;
  max: number | null;
  missing?: string;
}
interface Outcome {
  figure: Figure;
  result: Result;
  sides: Record<string, Side>;
  samples: Record<string, number[]>;
}
interface Rounds {
  median(values: readonly number[]): number;
  interleave(sides: Record<string, Side>, rounds: number): Promise<Record<string, number[]>>;
  resultOf(figure: Figure, sides: Record<string, Side>, samples: Record<string, number[]>): Result;
  meets(result: Result): boolean | undefined;
}

const ROOT = new URL('../../../', import.meta.url);
const load = (file: string): Promise<unknown> => import(new URL(file, ROOT).href);
const { median, interleave, resultOf, meets } = (await load('bench/rounds.mjs')) as Rounds;
const { table } = (await load('bench/report.mjs')) as { table(outcomes: readonly Outcome[]): string };
const { idleTicks } = (await load('bench/cpus.mjs')) as { idleTicks(stat: string): Map<number, number> };
const { SCENES } = (await load('bench/scenes.mjs')) as { SCENES: Record<string, { figures: Figure[] }> };

const figure: Figure = { id: 'x.y', unit: 'ratio-time', ours: 'a', theirs: 'b', against: 'b', goal: 1 };

test('the median of an odd and an even count, without touching the list', (t) => {
  const values = [9, 1, 5];
  t.is(median(values), 5);
  t.deepEqual(values, [9, 1, 5]);
  t.is(median([4, 1, 3, 2]), 2.5);
  // Numbers, not text: as text 10 comes before 9.
  t.is(median([10, 9, 8]), 9);
});

test('sides take turns, forwards and backwards, and the first round does not count', async (t) => {
  const order: string[] = [];
  const side = (name: string): Side => ({ scale: 'us', measure: async () => order.push(name) });
  const samples = await interleave({ a: side('a'), gone: { missing: 'not installed' }, b: side('b') }, 2);
  t.deepEqual(order, ['a', 'b', 'b', 'a', 'a', 'b']);
  t.deepEqual(samples, { a: [4, 5], b: [3, 6] });
});

test('a figure is the median of the rounds’ ratios, not the ratio of the medians', (t) => {
  const sides = { a: { scale: 'us', measure: async () => 0 }, b: { scale: 'us', measure: async () => 0 } };
  const result = resultOf(figure, sides, { a: [10, 40, 9], b: [10, 20, 10] });
  t.like(result, { value: 1, min: 0.9, max: 2, rounds: 3 });
});

test('a peer that is not there makes its figure missing, with the reason', (t) => {
  const sides = { a: { scale: 'us', measure: async () => 0 }, b: { missing: 'not installed: nft' } };
  const result = resultOf(figure, sides, { a: [1] });
  t.like(result, { value: null, min: null, max: null, rounds: 0, missing: 'not installed: nft' });
  t.is(meets(result), undefined);
  t.regex(table([{ figure, result, sides, samples: { a: [1] } }]), /x\.y +- +<= 1 +MISSING +not installed: nft/);
});

test('a goal is an upper bound for times and a lower one for rates', (t) => {
  const result: Result = { id: 'x', value: 0.9, unit: 'ratio-time', goal: 0.9, rounds: 5, min: 0.9, max: 0.9 };
  t.true(meets(result));
  t.false(meets({ ...result, value: 0.91 }));
  t.false(meets({ ...result, unit: 'ratio-rate', value: 0.89 }));
  t.true(meets({ ...result, unit: 'ratio-rate', value: 0.91 }));
});

test('every figure has an id of its bench, and none stands twice against the same', (t) => {
  const all = Object.entries(SCENES).flatMap(([name, { figures }]) => figures.map((one) => ({ name, ...one })));
  for (const { name, id } of all) t.true(id.startsWith(`${name}.`), id);
  t.is(new Set(all.map(({ id, against }) => `${id} ${against}`)).size, all.length);
});

test('idle time is the 4th and 5th number of a processor’s line', (t) => {
  const stat = 'cpu  9 9 9 9 9\ncpu0 1 2 3 40 5 6 7\ncpu1 1 2 3 50 6 7 8\nintr 5 1\n';
  t.deepEqual(
    [...idleTicks(stat)],
    [
      [0, 45],
      [1, 56],
    ],
  );
});

const script = fileURLToPath(new URL('scripts/bench.mjs', ROOT));
const bench = (...words: string[]) => spawnSync(process.execPath, [script, ...words], { encoding: 'utf8' });

for (const [words, message] of [
  [['overlay', 'nothing'], /no bench nothing; there are overlay, vip, ingress/],
  [['--rounds', '4'], /--rounds takes a whole number from 5/],
  [['--rounds', '5x'], /--rounds takes a whole number from 5/],
  [['--json', '/nowhere/at/all.json'], /--json \/nowhere\/at\/all\.json: ENOENT/],
  [['--quick'], /--quick/],
] as const) {
  test(`refused before anything is made: ${words.join(' ')}`, (t) => {
    const { status, stderr } = bench(...words);
    t.is(status, 2);
    t.regex(stderr, message);
  });
}

test('the traffic tool measures in every mode, and says what fails', async (t) => {
  const made = spawnSync('make', ['-s', '-C', fileURLToPath(new URL('bench/native', ROOT))], { encoding: 'utf8' });
  t.is(made.status, 0, made.stderr);
  const tool = fileURLToPath(new URL('build/bench/traffic', ROOT));
  // A port below the range that the kernel gives to clients.
  const port = 20_000 + (process.pid % 10_000);
  const server = spawn(tool, ['serve', '-1', '-1', String(port)], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => server.kill());
  await once(server.stdout, 'data');
  const run = (mode: string, at: number, amount: number) =>
    spawnSync(tool, [mode, '-1', '127.0.0.1', String(at), String(amount)], { encoding: 'utf8' });
  for (const mode of ['established', 'connect', 'udp']) {
    const { p50, p99, count } = JSON.parse(run(mode, port, 50).stdout);
    t.is(count, 50, mode);
    t.true(p50 > 0 && p50 <= p99, mode);
  }
  const { bytes, ns } = JSON.parse(run('bulk', port + 1, 20).stdout);
  t.true(bytes > 0 && ns >= 20e6);
  const refused = run('connect', port + 2, 1);
  t.is(refused.status, 1);
  t.is(refused.stderr, 'traffic: connect: Connection refused\n');
  t.is(run('connect', 0, 1).status, 2);
});
