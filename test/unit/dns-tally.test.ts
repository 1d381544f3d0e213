import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { Chain } from '../../src/dns/chain.js';
import { encodeMessage } from '../../src/dns/codec.js';
import { FLAG, TYPE } from '../../src/dns/constants.js';
import { QueryLog } from '../../src/dns/query-log.js';
import { OTHERS, Tally } from '../../src/dns/tally.js';
import { parseView } from '../../src/dns/view-json.js';
import { NOBODY } from '../support/name-servers.js';

const VIEW = {
  revision: 1,
  upstreams: ['192.0.2.1'],
  sandboxes: { c: { netns: '/c', networks: ['n'] } },
  networks: { n: { internal: false, names: { web: { a: ['10.0.0.1'] } }, ptr: {} } },
};

function query(name: string): Uint8Array {
  const questions = [{ name, type: TYPE.A, class: 1 }];
  return encodeMessage({ id: 1, flags: FLAG.RD, questions, answers: [], authorities: [], additionals: [] });
}

test('each query is counted once, by sandbox and outcome, and timed', async (t) => {
  const chain = new Chain(NOBODY);
  chain.view = parseView(VIEW);
  chain.respond('c', query('web'), 'udp');
  chain.respond('c', query('nothing'), 'tcp');
  await chain.respond('c', query('www.example'), 'udp');
  const { sandboxes, ways } = chain.tally.toJson();
  t.deepEqual(sandboxes, { c: { answered: 1, nxdomain: 1, failed: 1 } });
  const counts = Object.entries(ways).map(([way, { counts }]) => [way, counts.reduce((sum, n) => sum + n, 0)]);
  t.deepEqual(counts, [
    ['local', 2],
    ['cached', 0],
    ['forwarded', 1],
  ]);
  t.like(chain.counters, { udp: 2, tcp: 1, answered: 1, nxdomain: 1, failed: 1 });
});

test('times fall into the bucket whose bound is not below them', (t) => {
  const tally = new Tally();
  for (const seconds of [0, 0.0001, 0.00011, 7]) tally.add('c', 'forwarded', seconds);
  t.deepEqual(tally.toJson().ways.forwarded.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
});

test('sandboxes that are gone are forgotten, those beyond a thousand counted together', (t) => {
  const tally = new Tally();
  for (let i = 0; i < 1010; i++) tally.add(`c${i}`, 'answered', 0);
  const { sandboxes } = tally.toJson();
  t.deepEqual([Object.keys(sandboxes).length, sandboxes[OTHERS]], [1001, { answered: 10 }]);
  tally.retain(new Map([['c5', undefined]]));
  t.deepEqual(Object.keys(tally.toJson().sandboxes).sort(), [OTHERS, 'c5']);
  t.is(tally.total.answered, 1010);
});

test('what was answered elsewhere is added to a copy, and to itself only when it is told', (t) => {
  const tally = new Tally();
  tally.add('c', 'answered', 0);
  const copy = tally.copy();
  const udp = { answered: 4, nodata: 0, nxdomain: 0, cached: 2 };
  copy.addHits('c', { udp, tcp: { ...udp, answered: 1 } });
  t.deepEqual(copy.toJson().sandboxes, { c: { answered: 6, cached: 4 } });
  t.like(copy.total, { answered: 6, cached: 4, udp: 6, tcp: 3 });
  t.deepEqual(tally.toJson().sandboxes, { c: { answered: 1 } });
});

test('the log has a line for each query, and nothing is answered out of its sight', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-query-log-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const path = join(dir, 'queries');
  const log = new QueryLog((message) => t.fail(message));
  const chain = new Chain(NOBODY, log);
  let kept = 0;
  const ask = (name: string) => chain.respond('c', query(name), 'udp', () => kept++);
  chain.view = parseView(VIEW);
  ask('web');
  chain.view = parseView({ ...VIEW, queryLog: path });
  ask('Web');
  ask('nothing');
  await log.close();
  ask('web');
  t.is(kept, 2);
  const lines = readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.like(lines, [
    { sandbox: 'c', name: 'Web', type: TYPE.A, transport: 'udp', outcome: 'answered' },
    { name: 'nothing', outcome: 'nxdomain' },
  ] as never);
  t.is(lines.length, 2);
});

test('a log that cannot be written is given up, and said so', async (t) => {
  const said = await new Promise<string>((resolve) => {
    const log = new QueryLog(resolve);
    log.follow('/nowhere/at/all');
  });
  t.regex(said, /\/nowhere\/at\/all is given up: ENOENT/);
});
