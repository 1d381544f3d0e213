import test from 'ava';
import { Writer } from '../../src/base/bytes.js';
import type { Message } from '../../src/codec/netlink.js';
import { AF_BRIDGE, AF_INET } from '../../src/codec/rtnl/family.js';
import {
  type Neighbour,
  NUD_NOARP,
  NUD_PERMANENT,
  NUD_STALE,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
  writeNeighbour,
} from '../../src/codec/rtnl/neigh.js';
import type { Spaces } from '../../src/kernel/real/spaces.js';
import { ToldRows } from '../../src/kernel/real/told-rows.js';
import { Dirt } from '../../src/reconcile/desired.js';

const MAC = '02:42:0a:14:00:15';
const ROW = { family: AF_BRIDGE, ifindex: 7, state: NUD_NOARP, flags: 0, lladdr: MAC };
const NEIGHBOUR = { family: AF_INET, ifindex: 7, state: NUD_PERMANENT, flags: 0, dst: '10.20.0.21', lladdr: MAC };

function message(type: number, row: Neighbour): Message {
  const w = new Writer(64);
  writeNeighbour(w, row);
  return { type, flags: 0, seq: 0, pid: 0, body: w.done() };
}

/** @param names of interfaces by ifindex; undefined where nobody has the namespace open */
async function marked(names: ReadonlyMap<number, string> | undefined, ...told: Message[]): Promise<string[]> {
  const rows = new ToldRows();
  for (const one of told) rows.hear('net-app', one);
  const dirt = new Dirt();
  const opened = () => names && { namesOf: async () => names };
  await rows.mark(dirt, { opened } as unknown as Spaces);
  return [...dirt.scopes.values()].map(({ kind, keys }) => `${kind}: ${keys === 'all' ? keys : [...keys].join(', ')}`);
}

const NAMES = new Map([[7, 'vxlan0']]);

test('rows are told by key, once for both databases', async (t) => {
  const told = [message(RTM_NEWNEIGH, ROW), message(RTM_DELNEIGH, ROW), message(RTM_DELNEIGH, NEIGHBOUR)];
  t.deepEqual(await marked(NAMES, ...told), [`fdb: vxlan0 ${MAC}`, 'neighbour: vxlan0 10.20.0.21']);
});

test('what containers resolve is nothing, until it is deleted', async (t) => {
  const stale = { ...NEIGHBOUR, state: NUD_STALE };
  t.deepEqual(await marked(NAMES, message(RTM_NEWNEIGH, stale)), []);
  t.deepEqual(await marked(NAMES, message(RTM_DELNEIGH, stale)), ['neighbour: vxlan0 10.20.0.21']);
});

test('rows that the kernel would not name alone make their scope dirty', async (t) => {
  const several = [{ lladdr: '00:00:00:00:00:00' }, { lladdr: '01:00:5e:00:00:01' }, { vlan: 5 }];
  for (const part of several)
    t.deepEqual(await marked(NAMES, message(RTM_NEWNEIGH, { ...ROW, ...part })), ['fdb: all']);
});

test('so do rows of an interface that has no name any more, and of a namespace that is not open', async (t) => {
  const [row, neighbour] = [message(RTM_DELNEIGH, ROW), message(RTM_DELNEIGH, NEIGHBOUR)];
  t.deepEqual(await marked(new Map(), row, neighbour), ['fdb: all', 'neighbour: all']);
  t.deepEqual(await marked(undefined, row), ['fdb: all']);
});
