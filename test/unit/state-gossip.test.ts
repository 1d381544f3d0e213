import test from 'ava';
import fc from 'fast-check';
import { codeOf } from '../../src/base/errors.js';
import type { Stored } from '../../src/model/registry.js';
import {
  type GossipRow,
  mergeGossip,
  type OpenSnapshots,
  parseGossipRow,
  type Tombstone,
} from '../../src/state/gossip.js';
import { MutableWish } from '../../src/state/wish.js';
import { StoreRig } from '../support/store.js';

type Row = Record<string, unknown>;
const VALUE = { network: 'app', address: '10.20.0.30', vtep: '192.168.72.1', state: 'active' };
const set = (key: string, ltime: number, node = 'n2', value: Row = VALUE): Row => ({
  table: 'peers',
  op: 'set',
  key,
  node,
  ltime,
  value,
});
const gone = (key: string, ltime: number, node = 'n2'): Row => ({ table: 'peers', op: 'delete', key, node, ltime });
const begin = (table = 'peers'): Row => ({ table, op: 'snapshot-begin' });
const end = (table = 'peers'): Row => ({ table, op: 'snapshot-end' });
const node = (key: string, ltime: number): Row => ({
  table: 'nodes',
  op: 'set',
  key,
  node: key,
  ltime,
  value: { vtep: `192.168.72.${ltime}`, alive: true },
});

const peers = (rig: StoreRig): string[] => [...rig.store.wish.peers.keys()].sort();
const ltimes = (rig: StoreRig): Record<string, number | undefined> =>
  Object.fromEntries([...rig.store.wish.peers].map(([key, { ltime }]) => [key, ltime]));

function refusal(line: Row | string): string | undefined {
  try {
    parseGossipRow(typeof line === 'string' ? line : JSON.stringify(line), 3);
  } catch (error) {
    if (!(error as Error).message.includes('line 3') && codeOf(error)?.startsWith('WEFT_INVALID_ARG'))
      return 'without the line';
    return codeOf(error) ?? String(error);
  }
  return undefined;
}

test('the later writer wins, by time and then by node; older updates are ignored', (t) => {
  const rig = new StoreRig(t);
  t.is(rig.gossip(set('k', 5)), 1);
  t.is(rig.gossip(set('k', 4, 'n9')), 0);
  t.is(rig.gossip(set('k', 5, 'n1')), 0, 'a tie is the higher node’s');
  t.is(rig.gossip(set('k', 5, 'n3')), 1);
  t.is(rig.gossip(set('k', 5, 'n3')), 0, 'the same again');
  t.is(rig.gossip(set('k', 6, 'n0')), 1);
  t.deepEqual(ltimes(rig), { k: 6 });
});

test('a delete that comes too late is ignored; a set that comes too late stays deleted', (t) => {
  const rig = new StoreRig(t);
  rig.gossip(set('k', 5));
  t.is(rig.gossip(gone('k', 4)), 0);
  t.deepEqual(peers(rig), ['k']);
  t.is(rig.gossip(gone('k', 7)), 1);
  t.is(rig.gossip(set('k', 6)), 0, 'the tombstone is newer');
  t.is(rig.gossip(set('k', 8)), 1);
});

test('a delete that arrives before its set leaves a tombstone, over restarts too', (t) => {
  const rig = new StoreRig(t);
  t.is(rig.gossip(gone('k', 5)), 0);
  rig.restart();
  t.is(rig.gossip(set('k', 4)), 0);
  t.is(rig.gossip(set('k', 5)), 0);
  t.is(rig.gossip(set('k', 6)), 1);
});

test('tombstones are forgotten after half an hour', (t) => {
  const row = parseGossipRow(JSON.stringify(set('k', 1)), 1);
  const tombs = new Map<string, Tombstone>([['peers/k', { table: 'peers', key: 'k', node: 'n2', ltime: 9, at: 0 }]]);
  const wish = new MutableWish().read();
  t.is(mergeGossip(wish, [row], tombs, new Map(), 'n1', 1).mutations.length, 0);
  const rig = new StoreRig(t);
  rig.gossip(gone('k', 9));
  const real = Date.now;
  t.teardown(() => {
    Date.now = real;
  });
  const now = real();
  Date.now = () => now + 31 * 60 * 1000;
  t.is(rig.gossip(set('k', 1)), 1);
});

test('one batch is one change, in the order of its lines', (t) => {
  const rig = new StoreRig(t);
  let told = 0;
  rig.store.on('change', () => told++);
  t.is(rig.gossip(set('a', 1), set('b', 1), gone('a', 2), set('c', 1), set('c', 2)), 3);
  t.is(told, 1);
  t.deepEqual(ltimes(rig), { b: 1, c: 2 });
});

test('what a snapshot does not name goes at its end, and only rows of gossip', (t) => {
  const rig = new StoreRig(t).app();
  rig.put('peers', 'app/10.20.0.77', { network: 'app', address: '10.20.0.77', vtep: '192.168.79.1' });
  rig.gossip(set('stale', 1), set('kept', 1), set('older', 9));
  rig.gossip(begin());
  rig.gossip(set('kept', 1), set('new', 1), set('older', 3));
  t.deepEqual(peers(rig), ['app/10.20.0.77', 'kept', 'new', 'older', 'stale'], 'nothing goes before the end');
  rig.gossip(end());
  t.deepEqual(peers(rig), ['app/10.20.0.77', 'kept', 'new', 'older']);
  t.is(ltimes(rig).older, 9, 'named by an older update: it exists, and the newer one stays');
});

test('snapshots of two tables may be interleaved, and updates may come in between', (t) => {
  const rig = new StoreRig(t);
  rig.gossip(set('p-old', 1), node('m-old', 1));
  rig.gossip(begin('peers'), begin('nodes'), set('p', 1), node('m', 2));
  rig.gossip(end('nodes'), set('p2', 1));
  t.deepEqual([...rig.store.wish.nodes.keys()], ['m']);
  t.deepEqual(peers(rig), ['p', 'p-old', 'p2']);
  rig.gossip(end('peers'));
  t.deepEqual(peers(rig), ['p', 'p2']);
});

test('a snapshot that begins anew forgets what the broken one had named', (t) => {
  const rig = new StoreRig(t);
  rig.gossip(set('a', 1), set('b', 1));
  rig.gossip(begin(), set('a', 1));
  rig.gossip(begin(), set('b', 1), end());
  t.deepEqual(peers(rig), ['b']);
});

test('rows that come before a snapshot in the same batch are not spared by it', (t) => {
  const rig = new StoreRig(t);
  rig.gossip(set('a', 1), begin(), set('b', 1), end());
  t.deepEqual(peers(rig), ['b']);
});

test('an end without its begin refuses the batch, which then changes nothing at all', (t) => {
  const rig = new StoreRig(t);
  rig.gossip(set('a', 1));
  t.is(codeOf(t.throws(() => rig.gossip(begin('peers'), set('b', 1), end('nodes')))), 'WEFT_INVALID_ARGUMENT');
  t.deepEqual(peers(rig), ['a']);
  t.is(
    codeOf(t.throws(() => rig.gossip(end('peers')))),
    'WEFT_INVALID_ARGUMENT',
    'the begin of the refused batch does not count',
  );
  t.deepEqual(peers(rig), ['a']);
});

test('rows that this node hosts are its own to tell, and what was asked of it is not overruled', (t) => {
  const rig = new StoreRig(t).app();
  t.is(rig.gossip(set('n1/c1:app', 99, 'n1')), 0);
  rig.put('nodes', 'n3', { vtep: '192.168.73.1' });
  t.is(rig.gossip(node('n3', 99)), 0);
  t.is(rig.store.get('nodes', 'n3')?.spec.vtep, '192.168.73.1');
  t.is(rig.gossip({ table: 'networks', op: 'delete', key: 'app', node: 'n2', ltime: 99 }), 0);
  t.true(rig.store.wish.networks.has('app'));
});

test('what is made anew here is newer to everyone than what was heard of it, also where only its removal was', (t) => {
  const rig = new StoreRig(t);
  rig.gossip({ table: 'networks', op: 'delete', key: 'app', node: 'n2', ltime: 500 });
  t.true(rig.put('networks', 'app', { subnets: ['10.20.0.0/24'], vni: 7 }).stored.revision > 500);
  rig.gossip(set('n2/c9:app', 900));
  t.is(rig.store.revision, 900);
  rig.restart();
  t.is(rig.store.revision, 900);
  t.true(rig.put('sandboxes', 'c1', {}).stored.revision > 900);
});

test('a network without gateway gets the first address, as one that is put', (t) => {
  const rig = new StoreRig(t);
  rig.gossip({
    table: 'networks',
    op: 'set',
    key: 'far',
    node: 'n2',
    ltime: 1,
    value: { subnets: ['10.30.0.0/24'], vni: 5000 },
  });
  t.deepEqual(rig.store.get('networks', 'far')?.spec.gateways, ['10.30.0.1']);
});

test('a peer without MAC gets the one that follows from its address', (t) => {
  const rig = new StoreRig(t);
  rig.gossip(set('k', 1));
  t.is(rig.store.get('peers', 'k')?.spec.mac, '02:42:0a:14:00:1e');
});

test('what is malformed is refused, with the number of the line', (t) => {
  const refused: [Row | string, string][] = [
    ['{', 'WEFT_INVALID_ARGUMENT'],
    ['null', 'WEFT_INVALID_ARGUMENT'],
    ['[]', 'WEFT_INVALID_ARGUMENT'],
    [{ ...set('k', 1), table: 'sandboxes' }, 'WEFT_INVALID_ARGUMENT'],
    [{ ...set('k', 1), op: 'upsert' }, 'WEFT_INVALID_ARGUMENT'],
    [{ ...set('k', 1), extra: 1 }, 'WEFT_INVALID_ARGUMENT'],
    [{ ...set('k', 1), ltime: -1 }, 'WEFT_INVALID_ARGUMENT'],
    [{ ...set('k', 1), ltime: 1.5 }, 'WEFT_INVALID_ARGUMENT'],
    [{ ...set('k', 1), key: undefined }, 'WEFT_INVALID_ARGUMENT'],
    [{ ...set('k', 1), node: undefined }, 'WEFT_INVALID_ARGUMENT'],
    [{ ...gone('k', 1), ltime: undefined }, 'WEFT_INVALID_ARGUMENT'],
    [set('k', 1, 'n2', { ...VALUE, address: '10.20.0.300' }), 'WEFT_INVALID_ADDRESS'],
    [set('k', 1, 'n2', { ...VALUE, vtep: 'n2.example' }), 'WEFT_INVALID_ADDRESS'],
    [set('k', 1, 'n2', { ...VALUE, mac: 'ff:ff:ff:ff:ff:ff' }), 'WEFT_INVALID_ADDRESS'],
    [set('k', 1, 'n2', { ...VALUE, state: 'dead' }), 'WEFT_INVALID_ARGUMENT'],
    [set('k', 1, 'n2', { ...VALUE, colour: 'red' }), 'WEFT_INVALID_ARGUMENT'],
    [
      { table: 'networks', op: 'set', key: 'far', node: 'n2', ltime: 1, value: { subnets: ['10.30.0.0/24'] } },
      'WEFT_INVALID_ALLOCATION',
    ],
    [
      {
        table: 'networks',
        op: 'set',
        key: '../../etc',
        node: 'n2',
        ltime: 1,
        value: { subnets: ['10.30.0.0/24'], vni: 1 },
      },
      'WEFT_INVALID_NAME',
    ],
    [
      {
        table: 'networks',
        op: 'set',
        key: 'far',
        node: 'n2',
        ltime: 1,
        value: { subnets: ['10.30.0.0/24'], vni: 1, encrypted: true },
      },
      'WEFT_NOT_SUPPORTED',
    ],
    [
      {
        table: 'networks',
        op: 'set',
        key: 'far',
        node: 'n2',
        ltime: 1,
        value: { subnets: ['10.30.0.0/24'], vni: 1, gateways: ['10.31.0.1'] },
      },
      'WEFT_INVALID_SUBNET',
    ],
    [
      { table: 'services', op: 'set', key: 'web', node: 'n2', ltime: 1, value: { networks: ['app'] } },
      'WEFT_INVALID_ALLOCATION',
    ],
  ];
  for (const [row, code] of refused) t.is(refusal(row), code, JSON.stringify(row));
  t.is(
    refusal({
      table: 'services',
      op: 'set',
      key: 'web',
      node: 'n2',
      ltime: 1,
      value: { networks: ['app'], mode: 'dnsrr' },
    }),
    undefined,
  );
  t.is(refusal({ ...set('n2/c1:app', 1) }), undefined, 'keys of peers are the control plane’s');
});

/** Updates of three keys by two nodes, each (key, ltime, node) stated once, as the table of one writer has it. */
const update = fc.record({
  key: fc.constantFrom('a', 'b', 'c'),
  ltime: fc.nat(6),
  node: fc.constantFrom('n2', 'n3'),
  op: fc.constantFrom('set', 'delete'),
});
const updates = fc.uniqueArray(update, { selector: (u) => `${u.key} ${u.ltime} ${u.node}`, maxLength: 14 });

function merged(
  rows: readonly { key: string; ltime: number; node: string; op: string }[],
  sizes: readonly number[],
): unknown {
  const wish = new MutableWish();
  const tombs = new Map<string, Tombstone>();
  const open: OpenSnapshots = new Map();
  const queue: GossipRow[] = rows.map(({ key, ltime, node: by, op }) =>
    parseGossipRow(JSON.stringify(op === 'set' ? set(key, ltime, by) : gone(key, ltime, by)), 1),
  );
  for (let i = 0; queue.length > 0; i++) {
    const outcome = mergeGossip(wish.read(), queue.splice(0, (sizes[i % sizes.length] ?? 0) + 1), tombs, open, 'n1', 0);
    for (const tomb of outcome.tombstones) tombs.set(`${tomb.table}/${tomb.key}`, tomb);
    for (const { table, id, stored } of outcome.mutations) if (stored) tombs.delete(`${table}/${id}`);
    wish.apply(i, outcome.mutations);
  }
  return [...(wish.read().peers.values() as Iterable<Stored>)]
    .map(({ id, ltime, node: by }) => `${id} ${ltime} ${by}`)
    .sort();
}

test('whatever the order and the batches, all nodes end with the same rows: those of the last writers', (t) => {
  const shuffled = updates.chain((rows) =>
    fc.tuple(
      fc.constant(rows),
      fc.shuffledSubarray(rows, { minLength: rows.length }),
      fc.array(fc.nat(4), { minLength: 1, maxLength: 4 }),
    ),
  );
  fc.assert(
    fc.property(shuffled, ([rows, other, sizes]) => {
      const expected: string[] = [];
      for (const key of ['a', 'b', 'c']) {
        const [last] = rows
          .filter((row) => row.key === key)
          .sort((x, y) => y.ltime - x.ltime || (x.node < y.node ? 1 : -1));
        if (last?.op === 'set') expected.push(`${key} ${last.ltime} ${last.node}`);
      }
      t.deepEqual(merged(rows, [100]), expected.sort());
      t.deepEqual(merged(other, sizes), expected);
    }),
    { numRuns: 300 },
  );
});
