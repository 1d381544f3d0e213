import test from 'ava';
import type { Reading, Subject } from '../../src/balance/counts.js';
import { Tally } from '../../src/balance/tally.js';

const subject: Subject = { service: 'web', network: 'app', family: 4, backends: [], byId: new Map() };

const reading = (id: string, packets: number, backend: string | undefined = '10.0.0.2'): Reading => {
  return { id, subject, backend, packets, bytes: 100 * packets, connections: 0 };
};

test('a first look takes over what the kernel has', (t) => {
  const tally = new Tally();
  tally.see(reading('live', 7));
  t.deepEqual(tally.service('web'), { packets: 7, bytes: 700, connections: 0 });
  t.deepEqual(tally.backend('web', 'app', '10.0.0.2'), { packets: 7, bytes: 700, connections: 0 });
});

test('a counter that begins anew only adds', (t) => {
  const tally = new Tally();
  for (const packets of [7, 10, 2, 5]) tally.see(reading('live', packets));
  t.is(tally.service('web').packets, 15);
});

test('what a counter had when it went is counted once, and its successor from 0', (t) => {
  const tally = new Tally();
  tally.see(reading('live', 7));
  tally.end(reading('live', 9), false);
  tally.see(reading('live', 8));
  t.is(tally.service('web').packets, 17);
});

test('a counter that went before anybody looked counts whole', (t) => {
  const tally = new Tally();
  tally.end(reading('live', 9), false);
  t.is(tally.service('web').packets, 9);
});

test('a counter that comes back with what it had counts only what is new', (t) => {
  const tally = new Tally();
  tally.see(reading('server', 7));
  tally.end(reading('server', 9), true);
  tally.see(reading('server', 12));
  t.is(tally.service('web').packets, 12);
  tally.end(reading('server', 12), true);
  tally.see(reading('server', 1));
  t.is(tally.service('web').packets, 13, 'one that begins anew after all');
});

test('a counter that a later look does not find has gone', (t) => {
  const tally = new Tally();
  tally.see(reading('live', 7));
  tally.keep(new Set());
  tally.see(reading('live', 8));
  t.is(tally.service('web').packets, 15);
});

test('a backend that goes stays in the total of its service, and a service that goes is forgotten', (t) => {
  const tally = new Tally();
  tally.see(reading('live', 7));
  tally.see(reading('nobody', 1, undefined));
  tally.prune(new Map([['web', new Set<string>()]]));
  t.is(tally.service('web').packets, 8);
  t.is(tally.backend('web', 'app', '10.0.0.2').packets, 0);
  tally.prune(new Map());
  t.is(tally.service('web').packets, 0);
});
