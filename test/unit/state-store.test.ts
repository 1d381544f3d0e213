import fs from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { codeOf, type WeftError } from '../../src/base/errors.js';
import type { Stored } from '../../src/model/registry.js';
import { nameOf } from '../../src/model/registry.js';
import { Ledger } from '../../src/state/record.js';
import type { Store } from '../../src/state/store.js';
import { SELF, StoreRig } from '../support/store.js';

const contents = (store: Store): Record<string, unknown> =>
  Object.fromEntries(
    (['networks', 'sandboxes', 'endpoints', 'services', 'nodes', 'peers'] as const).flatMap((table) =>
      [...(store.wish[table].values() as Iterable<Stored>)].map((o) => [
        nameOf(o),
        { ...o.spec, origin: o.origin, at: o.revision },
      ]),
    ),
  );

function code(call: () => unknown): string | undefined {
  try {
    call();
  } catch (error) {
    return codeOf(error) ?? String(error);
  }
  return undefined;
}

const PEER = { network: 'app', address: '10.20.0.30', vtep: '192.168.72.1', state: 'active' };
const peerRow = (key: string, ltime: number, value: object = PEER, node = 'n2') => ({
  table: 'peers',
  op: 'set',
  key,
  node,
  ltime,
  value,
});

test('a restart has the same wish: objects, revisions, origins, allocation', (t) => {
  const rig = new StoreRig(t).app();
  rig.put('endpoints', 'c1:app');
  rig.put('nodes', 'n2', { vtep: '192.168.72.1' });
  rig.gossip(peerRow('n2/x:app', 5));
  rig.store.remove('sandboxes', 'c2');
  const [before, revision] = [contents(rig.store), rig.store.revision];
  const after = rig.restart();
  t.deepEqual(contents(after), before);
  t.is(after.revision, revision);
  t.false(after.fresh);
  t.deepEqual(after.confidence, { peersKnown: true });
});

test('stating the same again changes nothing, not even the revision', (t) => {
  const rig = new StoreRig(t).app();
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'] });
  const size = fs.statSync(join(rig.dir, 'state.journal')).size;
  const { stored, created } = rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'] });
  t.false(created);
  t.is(stored.revision, rig.store.revision);
  rig.put('networks', 'app', { subnets: ['10.20.0.0/24'], ipRanges: ['10.20.0.128/29'] });
  t.is(fs.statSync(join(rig.dir, 'state.journal')).size, size);
});

test('a change is told after it is durable, with what changed', (t) => {
  const rig = new StoreRig(t);
  const told: string[] = [];
  rig.store.on('change', (mutations, revision) => {
    told.push(`${revision}: ${mutations.map((m) => `${m.stored ? '+' : '-'}${nameOf(m)}`).join(' ')}`);
    t.true(fs.readFileSync(join(rig.dir, 'state.journal'), 'utf8').includes(`{"r":${revision},`));
  });
  rig.put('sandboxes', 'c1');
  rig.store.remove('sandboxes', 'c1');
  t.deepEqual(told, ['1: +sandbox/c1', '2: -sandbox/c1']);
});

test('readers keep what they started with', (t) => {
  const rig = new StoreRig(t).app();
  const before = rig.store.wish;
  rig.put('sandboxes', 'c3');
  t.false(before.sandboxes.has('c3'));
  t.true(rig.store.wish.sandboxes.has('c3'));
});

test('If-Match refuses what changed meanwhile', (t) => {
  const rig = new StoreRig(t);
  const { stored } = rig.put('sandboxes', 'c1', { hostname: 'a' });
  rig.store.put('sandboxes', 'c1', { hostname: 'b' }, { ifMatch: stored.revision });
  t.is(
    code(() => rig.store.put('sandboxes', 'c1', { hostname: 'c' }, { ifMatch: stored.revision })),
    'WEFT_STALE_REVISION',
  );
  t.is(
    code(() => rig.store.remove('sandboxes', 'c1', { ifMatch: stored.revision })),
    'WEFT_STALE_REVISION',
  );
  t.is(
    code(() => rig.store.put('sandboxes', 'new', {}, { ifMatch: 1 })),
    'WEFT_STALE_REVISION',
  );
  t.is(rig.store.get('sandboxes', 'c1')?.spec.hostname, 'b');
});

test('a dry run checks and changes nothing', (t) => {
  const rig = new StoreRig(t).app();
  const revision = rig.store.revision;
  const { stored, created } = rig.store.put('endpoints', 'c1:app', {}, { dryRun: true });
  t.deepEqual((stored.spec as { addresses: string[] }).addresses, ['10.20.0.128']);
  t.true(created);
  t.is(rig.store.revision, revision);
  t.is(
    code(() => rig.store.put('endpoints', 'c9:app', {}, { dryRun: true })),
    'WEFT_NOT_FOUND',
  );
  t.deepEqual((rig.put('endpoints', 'c1:app').stored.spec as { addresses: string[] }).addresses, ['10.20.0.128']);
});

test('a disk that refuses leaves the wish as it was, and says why', (t) => {
  let full = false;
  const rig = new StoreRig(t, {
    write: (fd, bytes, from) => {
      if (full) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
      return fs.writeSync(fd, bytes, from);
    },
    sync: fs.fsyncSync,
    truncate: fs.ftruncateSync,
    rename: fs.renameSync,
  }).app();
  const [before, revision] = [contents(rig.store), rig.store.revision];
  rig.store.on('change', () => t.fail('nothing changed'));
  full = true;
  t.is(
    code(() => rig.put('sandboxes', 'c3')),
    'WEFT_UNAVAILABLE',
  );
  t.is(
    code(() => rig.gossip({ table: 'peers', op: 'snapshot-begin' }, peerRow('n2/x:app', 1))),
    'WEFT_UNAVAILABLE',
  );
  full = false;
  t.deepEqual([contents(rig.store), rig.store.revision], [before, revision]);
  t.is(
    code(() => rig.gossip({ table: 'peers', op: 'snapshot-end' })),
    'WEFT_INVALID_ARGUMENT',
    'the snapshot was never begun',
  );
  t.deepEqual(contents(rig.restart()), before);
});

// --- the whole wish ------------------------------------------------------------------------------------------------

const WISH = {
  networks: { app: { subnets: ['10.20.0.0/24'], vni: 4097 } },
  sandboxes: { c1: {}, c2: {} },
  endpoints: { 'c1:app': { addresses: ['10.20.0.11'] }, 'c2:app': { addresses: ['10.20.0.12'] } },
};

test('the whole wish lands as one change; what it leaves out goes; equal parts stay', (t) => {
  const rig = new StoreRig(t).app();
  rig.put('sandboxes', 'stale');
  rig.gossip(peerRow('n2/x:app', 1));
  const told: number[] = [];
  rig.store.on('change', (mutations) => told.push(mutations.length));
  const before = rig.store.get('sandboxes', 'c1')?.revision;
  rig.store.replace(WISH, { prune: true });
  t.is(told.length, 1);
  t.deepEqual([...rig.store.wish.sandboxes.keys()], ['c1', 'c2']);
  t.is(rig.store.get('sandboxes', 'c1')?.revision, before);
  t.is(rig.store.wish.peers.size, 1, 'gossip is not ours to prune');
  t.deepEqual(rig.store.replace(WISH, { prune: true }), []);
});

test('without prune nothing goes', (t) => {
  const rig = new StoreRig(t).app();
  rig.put('sandboxes', 'stays');
  rig.store.replace(WISH, { prune: false });
  t.true(rig.store.wish.sandboxes.has('stays'));
});

test('one bad object refuses the whole wish, and nothing of it lands', (t) => {
  const rig = new StoreRig(t).app();
  const before = contents(rig.store);
  const bad = { ...WISH, endpoints: { ...WISH.endpoints, 'c3:app': { addresses: ['10.20.0.13'] } } };
  t.is(
    code(() => rig.store.replace(bad, { prune: true })),
    'WEFT_NOT_FOUND',
  );
  t.deepEqual(contents(rig.store), before);
  t.deepEqual(contents(rig.restart()), before);
});

test('two endpoints may swap their addresses in one wish', (t) => {
  const rig = new StoreRig(t);
  rig.store.replace(WISH, { prune: true });
  const swapped = {
    ...WISH,
    endpoints: { 'c1:app': { addresses: ['10.20.0.12'] }, 'c2:app': { addresses: ['10.20.0.11'] } },
  };
  t.is(
    code(() => rig.store.replace(swapped, { prune: true })),
    undefined,
  );
  t.deepEqual(rig.store.get('endpoints', 'c1:app')?.spec.addresses, ['10.20.0.12']);
  const both = {
    ...WISH,
    endpoints: { 'c1:app': { addresses: ['10.20.0.12'] }, 'c2:app': { addresses: ['10.20.0.12'] } },
  };
  t.is(
    code(() => rig.store.replace(both, { prune: true })),
    'WEFT_CONFLICT',
  );
});

test('an address that one endpoint of the wish asks for is not allocated to another of it', (t) => {
  const rig = new StoreRig(t);
  const wish = {
    networks: { app: { subnets: ['10.20.0.0/24'], vni: 4097, ipRanges: ['10.20.0.128/29'] } },
    sandboxes: { c1: {}, c2: {} },
    endpoints: { 'c1:app': {}, 'c2:app': { addresses: ['10.20.0.128'] } },
  };
  t.is(
    code(() => rig.store.replace(wish, { prune: true })),
    undefined,
  );
  t.deepEqual(rig.store.get('endpoints', 'c1:app')?.spec.addresses, ['10.20.0.129']);
});

test('ids that are names of Object.prototype are pruned like others', (t) => {
  const rig = new StoreRig(t);
  rig.put('sandboxes', 'constructor');
  rig.store.replace({ sandboxes: {} }, { prune: true });
  t.is(rig.store.wish.sandboxes.size, 0);
});

// --- doubt ---------------------------------------------------------------------------------------------------------

function damage(rig: StoreRig): void {
  const path = join(rig.dir, 'state.journal');
  const lines = fs.readFileSync(path, 'utf8').split('\n');
  lines[1] = `00000000${lines[1]?.slice(8)}`;
  fs.writeFileSync(path, lines.join('\n'));
}

test('a damaged journal: what is whole is there, and doubt stays over changes and restarts', (t) => {
  const rig = new StoreRig(t).app();
  damage(rig);
  rig.restart();
  t.true(rig.store.wish.networks.has('app'));
  t.false(rig.store.wish.sandboxes.has('c1'), 'its record is the damaged one');
  t.deepEqual(rig.store.confidence, { peersKnown: false, doubt: 'state.journal, line 2: checksum mismatch' });
  rig.put('sandboxes', 'c1');
  t.truthy(rig.restart().confidence.doubt);
});

test('stating the whole wish ends the doubt, once and for all, even where it changes nothing', (t) => {
  const rig = new StoreRig(t);
  rig.store.replace(WISH, { prune: true });
  rig.store.distrust('the state directory is empty');
  t.is(rig.restart().confidence.doubt, 'the state directory is empty', 'lost state is not found by restarting');
  let told = 0;
  rig.store.on('confident', () => told++);
  const revision = rig.store.revision;
  t.deepEqual(rig.store.replace(WISH, { prune: true }), []);
  t.is(told, 1);
  t.deepEqual(rig.store.confidence, { peersKnown: true });
  t.true(rig.store.revision > revision, 'a waiter can tell when it is applied');
  t.deepEqual(rig.restart().confidence, { peersKnown: true });
  rig.store.replace(WISH, { prune: true });
  t.is(told, 1);
});

test('a wish without prune, or one that is refused, ends no doubt', (t) => {
  const rig = new StoreRig(t);
  rig.store.replace(WISH, { prune: true });
  rig.store.distrust('lost');
  rig.store.replace(WISH, { prune: false });
  rig.store.replace(WISH, { prune: true, dryRun: true });
  t.is(
    code(() => rig.store.replace({ endpoints: { 'x:y': {} } }, { prune: true })),
    'WEFT_NOT_FOUND',
  );
  t.is(rig.store.confidence.doubt, 'lost');
});

test('where gossip speaks, peers are known only after a snapshot of them, also over restarts', (t) => {
  const rig = new StoreRig(t).app();
  rig.gossip(peerRow('n2/x:app', 1));
  rig.store.distrust('lost');
  rig.store.replace(WISH, { prune: true });
  t.deepEqual(rig.store.confidence, { peersKnown: false });
  t.deepEqual(rig.restart().confidence, { peersKnown: false });
  let told = 0;
  rig.store.on('confident', () => told++);
  rig.gossip({ table: 'nodes', op: 'snapshot-begin' }, { table: 'nodes', op: 'snapshot-end' });
  t.deepEqual(rig.store.confidence, { peersKnown: false });
  rig.gossip({ table: 'peers', op: 'snapshot-begin' }, peerRow('n2/x:app', 1), { table: 'peers', op: 'snapshot-end' });
  t.is(told, 1);
  t.deepEqual(rig.store.confidence, { peersKnown: true });
  t.deepEqual(rig.restart().confidence, { peersKnown: true });
});

test('compaction keeps everything, doubt included', (t) => {
  const rig = new StoreRig(t).app();
  rig.put('endpoints', 'c1:app');
  rig.store.distrust('lost');
  const pad = 'x'.repeat(1024 * 1024);
  for (let i = 0; i < 10; i++) rig.put('sandboxes', 'big', { labels: { pad, i: String(i) } });
  t.true(fs.existsSync(join(rig.dir, 'state.snapshot')));
  t.true(fs.statSync(join(rig.dir, 'state.journal')).size < 8 * 1024 * 1024);
  const before = contents(rig.store);
  t.deepEqual(contents(rig.restart()), before);
  t.is(rig.store.confidence.doubt, 'lost');
  t.deepEqual((rig.put('endpoints', 'c2:app').stored.spec as { addresses: string[] }).addresses, ['10.20.0.129']);
});

test('what is many is kept in several records, each of a size that is easily held', (t) => {
  const ledger = new Ledger();
  const peer = (n: number) => ({ table: 'peers', id: `n2/${n}`, origin: 'gossip', revision: 7, spec: { n } }) as never;
  ledger.enter({
    r: 7,
    set: Array.from({ length: 25_000 }, (_, n) => peer(n)),
    numbers: [['port/a', 5]],
    doubt: 'lost',
  });
  const records = [...ledger.whole()];
  t.deepEqual(
    records.map(({ r, set = [] }) => [r, set.length]),
    [
      [7, 0],
      [7, 10_000],
      [7, 10_000],
      [7, 5_000],
    ],
  );
  const again = new Ledger();
  for (const record of JSON.parse(JSON.stringify(records))) again.enter(record);
  t.deepEqual([...again.wish.read().peers], [...ledger.wish.read().peers]);
  t.deepEqual([again.wish.revision, [...again.numbers], again.doubt], [7, [['port/a', 5]], 'lost']);
  const [settled] = ledger.whole({ r: 8, peersKnown: true });
  t.like(settled, { r: 8, peersKnown: true, doubt: undefined });
});

test('a compaction that fails is told, refuses no change and loses nothing', (t) => {
  let full = false;
  const rig = new StoreRig(t, {
    write: (fd, bytes, from) => fs.writeSync(fd, bytes, from),
    sync: fs.fsyncSync,
    truncate: fs.ftruncateSync,
    rename: (from, to) => {
      if (full) throw Object.assign(new Error('EROFS'), { code: 'EROFS' });
      fs.renameSync(from, to);
    },
  });
  const troubles: WeftError[] = [];
  rig.store.on('trouble', (error) => troubles.push(error));
  full = true;
  const pad = 'x'.repeat(1024 * 1024);
  for (let i = 0; i < 10; i++) rig.put('sandboxes', 'big', { labels: { pad, i: String(i) } });
  t.is(troubles.length, 1);
  t.is(troubles[0]?.code, 'WEFT_UNAVAILABLE');
  t.is(rig.restart().get('sandboxes', 'big')?.spec.labels.i, '9');
});

test('clear forgets all: wish, tombstones, allocation, numbers, doubt', (t) => {
  const rig = new StoreRig(t).app();
  rig.put('endpoints', 'c1:app');
  rig.gossip(peerRow('n2/x:app', 1), { table: 'peers', op: 'delete', key: 'n2/y:app', node: 'n2', ltime: 9 });
  t.is(rig.store.number('mark', 'web', 256), 256);
  rig.store.distrust('lost');
  rig.store.clear();
  rig.restart();
  t.deepEqual(contents(rig.store), {});
  t.deepEqual(rig.store.confidence, { peersKnown: true });
  t.is(rig.gossip(peerRow('n2/y:app', 1)), 1, 'no tombstone');
  t.is(rig.store.number('mark', 'api', 256), 256);
  rig.app();
  t.deepEqual((rig.put('endpoints', 'c2:app').stored.spec as { addresses: string[] }).addresses, ['10.20.0.128']);
});

test('numbers stay with their names over restarts and are unique in their space', (t) => {
  const rig = new StoreRig(t);
  const first = ['web', 'api', 'db'].map((name) => rig.store.number('mark', name, 0x100));
  t.deepEqual(first, [0x100, 0x101, 0x102]);
  t.is(rig.store.number('gateway', 'web', 2), 2, 'another space');
  rig.restart();
  t.deepEqual(
    ['db', 'web', 'api', 'new'].map((name) => rig.store.number('mark', name, 0x100)),
    [0x102, 0x100, 0x101, 0x103],
  );
});

test('numbers that are asked for together wait for the disk once, and are forgotten where it refuses', (t) => {
  let [syncs, full] = [0, false];
  const rig = new StoreRig(t, {
    write: fs.writeSync,
    sync(fd) {
      if (full) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
      syncs++;
      fs.fsyncSync(fd);
    },
    truncate: fs.ftruncateSync,
    rename: fs.renameSync,
  });
  const ask = (...names: string[]) =>
    rig.store.numbering(() => names.map((name) => rig.store.number('gateway', name, 2)));
  t.deepEqual(ask('c1', 'c2', 'c1'), [2, 3, 2]);
  t.is(syncs, 1);
  t.deepEqual(ask('c2'), [3]);
  t.is(syncs, 1, 'nothing new, nothing to write');
  full = true;
  t.is(
    code(() => ask('c3', 'c4')),
    'WEFT_UNAVAILABLE',
  );
  full = false;
  t.deepEqual(ask('c4'), [4]);
  rig.restart();
  t.deepEqual(ask('c1', 'c2', 'c4', 'c3'), [2, 3, 4, 5]);
});

test('a node that returns with another underlay address tells all of its own anew, once', (t) => {
  const rig = new StoreRig(t).app();
  rig.store.settleVtep();
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.7'] });
  rig.put('nodes', 'n1', { vtep: SELF.vtep });
  rig.put('nodes', 'n2', { vtep: '192.168.72.1' });
  rig.restart().settleVtep();
  const revisions = () => [rig.store.get('endpoints', 'c1:app')?.revision, rig.store.get('nodes', 'n2')?.revision];
  const [endpoint = 0, other] = revisions();
  const last = rig.store.revision;
  rig.restart({ ...SELF, vtep: '192.168.79.1' }).settleVtep();
  t.deepEqual(revisions(), [last + 1, other]);
  t.true(endpoint <= last);
  t.like(rig.store.get('nodes', 'n1'), { revision: last + 1, spec: { vtep: '192.168.79.1', alive: true } });
  rig.restart({ ...SELF, vtep: '192.168.79.1' }).settleVtep();
  t.is(rig.store.revision, last + 1);
});
