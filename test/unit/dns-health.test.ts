import test from 'ava';
import { Health } from '../../src/dns/health.js';
import { parseServer } from '../../src/dns/server-address.js';

const [a, b] = [parseServer('192.0.2.1'), parseServer('192.0.2.2')];
const SERVERS = [a, b];

test('one lost answer is none, two make a server dead: asked last, then beside the others, ever more rarely', (t) => {
  const health = new Health();
  const order = (now: number) => health.order(SERVERS, now);
  const usual = { inTurn: SERVERS, beside: [], allDown: false };
  health.failed(a, 0);
  t.deepEqual(order(0), usual);
  health.failed(a, 0);
  t.deepEqual(order(999), { ...usual, inTurn: [b, a] });
  t.deepEqual(order(1000), { inTurn: [b], beside: [a], allDown: false });
  t.deepEqual(order(1001), { ...usual, inTurn: [b, a] }, 'one query looks, not all');
  t.deepEqual(order(2999), { ...usual, inTurn: [b, a] });
  t.deepEqual(order(3000).beside, [a]);
  health.answered(a);
  t.deepEqual(order(3001), usual);
});

test('where all are dead, all are asked', (t) => {
  const health = new Health();
  for (const server of [a, a, b, b]) health.failed(server, 0);
  t.deepEqual(health.order(SERVERS, 1), { inTurn: SERVERS, beside: [], allDown: true });
  t.deepEqual(health.order([], 1), { inTurn: [], beside: [], allDown: false });
});

test('what a server lacks is forgotten after ten minutes; elsewhere the address is another server', (t) => {
  const health = new Health();
  health.found(a, 'case', 0);
  health.answered(a);
  t.true(health.lacks(a, 'case', 599_999));
  t.false(health.lacks(a, 'edns', 1));
  t.false(health.lacks({ ...a, netns: '/n' }, 'case', 1));
  t.false(health.lacks(a, 'case', 600_000));
});
