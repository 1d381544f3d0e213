import test from 'ava';
import { WeftError } from '../../src/base/errors.js';
import { FakeKernel } from '../../src/kernel/fake/kernel.js';
import { Fingerprints } from '../../src/kernel/real/fingerprints.js';
import type { Native } from '../../src/kernel/real/native.js';
import type { Spaces } from '../../src/kernel/real/spaces.js';
import { NODE_NS } from '../../src/objects/kind.js';
import { KINDS } from '../../src/objects/registry.js';
import { Desired, Dirt } from '../../src/reconcile/desired.js';
import type { Op, Wanted } from '../../src/reconcile/plan.js';

const FORWARD = { path: 'net/ipv4/ip_forward', value: '1' };
const SERVER = { family: 4, fwmark: 256, ip: '10.0.0.2', weight: 1 };
const KEY = 'v4 mark 256 10.0.0.2';
const NET = 'net-app';

function wanted(ns: string, kind: string, object: unknown): Wanted {
  return { ns, kind, object, because: 'a test', owner: 'test' };
}

/** A kernel that has what is wished, and somebody who watches it; `entries` of the one legacy table is the test's to set. */
function world(version: string) {
  const kernel = new FakeKernel();
  kernel.spaces.set(NET, new Map());
  kernel.put(NODE_NS, 'sysctl', FORWARD);
  kernel.put(NET, 'real-server', SERVER);
  const desired = new Desired(KINDS);
  const chain = { what: 'chain', family: 4, table: 'nat', chain: 'WEFT-INGRESS', rules: [] };
  desired.set('test', [
    wanted(NODE_NS, 'sysctl', FORWARD),
    wanted(NET, 'real-server', SERVER),
    wanted(NODE_NS, 'iptables', chain),
  ]);
  const table = { entries: 5, size: 1000 };
  const asked: string[] = [];
  const native = {
    exec: async () => ({ code: 0, signal: null, stdout: Buffer.from(version), stderr: Buffer.alloc(0) }),
    xtGetInfo: (_fd: number, family: number, name: string) => {
      asked.push(`${family} ${name}`);
      return { ...table, validHooks: 0 };
    },
  } as unknown as Native;
  const spaces = { native, open: () => ({ fd: -1 }) } as unknown as Spaces;
  const dirty: string[][] = [];
  const told = (dirt: Dirt) =>
    dirty.push(
      [...dirt.scopes.values()].map(({ kind, keys }) => `${kind} ${keys === 'all' ? keys : [...keys].join()}`),
    );
  const fingerprints = new Fingerprints(
    spaces,
    kernel,
    desired,
    () => undefined,
    told,
    (error) => {
      throw error;
    },
  );
  return { kernel, desired, table, asked, dirty, fingerprints };
}

const LEGACY = 'iptables v1.8.9 (legacy)\n';
const NFT = 'iptables v1.8.9 (nf_tables)\n';

function looked(...kinds: string[]): Dirt {
  const dirt = new Dirt();
  for (const kind of kinds) dirt.add(NODE_NS, kind);
  return dirt;
}

test('what is as wished wakes nobody', async (t) => {
  const { fingerprints, dirty } = world(NFT);
  await fingerprints.poll();
  t.deepEqual(dirty, []);
});

test('a sysctl and a real server that somebody changed are told by key', async (t) => {
  const { fingerprints, kernel, dirty } = world(NFT);
  kernel.put(NODE_NS, 'sysctl', { ...FORWARD, value: '0' });
  kernel.put(NET, 'real-server', { ...SERVER, weight: 7 });
  await fingerprints.poll();
  t.deepEqual(dirty, [[`sysctl ${FORWARD.path}`, `real-server ${KEY}`]]);
});

test('what a pass could not bring about is left to its retries, until one succeeds', async (t) => {
  const { fingerprints, kernel, dirty } = world(NFT);
  kernel.put(NODE_NS, 'sysctl', { ...FORWARD, value: '0' });
  const op = { ns: NODE_NS, kind: 'sysctl', key: FORWARD.path } as Op;
  fingerprints.passed({ looked: looked('sysctl'), failed: [{ op }] });
  await fingerprints.poll();
  t.deepEqual(dirty, []);
  fingerprints.passed({ looked: looked('sysctl'), failed: [] });
  await fingerprints.poll();
  t.deepEqual(dirty, [[`sysctl ${FORWARD.path}`]]);
});

test('legacy tables are compared with what the last pass left, and only those of the wish', async (t) => {
  const { fingerprints, table, asked, dirty } = world(LEGACY);
  await fingerprints.start();
  fingerprints.stop();
  fingerprints.passed({ looked: looked('iptables'), failed: [] });
  await fingerprints.poll();
  t.deepEqual(dirty, []);
  table.entries = 4;
  await fingerprints.poll();
  t.deepEqual(dirty, [['iptables all']]);
  await fingerprints.poll();
  t.is(dirty.length, 1, 'once for each change');
  table.entries = 5;
  fingerprints.passed({ looked: looked('iptables'), failed: [] });
  await fingerprints.poll();
  t.is(dirty.length, 1, 'a change of our own is none');
  t.deepEqual([...new Set(asked)], ['4 nat']);
});

test('with iptables-nft, which is heard, nothing is counted', async (t) => {
  const { fingerprints, asked } = world(NFT);
  await fingerprints.start();
  fingerprints.stop();
  await fingerprints.poll();
  t.deepEqual(asked, []);
});

test('of many virtual servers each poll reads some, and a few polls all', async (t) => {
  const { fingerprints, kernel, desired, dirty } = world(NFT);
  const servers = Array.from({ length: 600 }, (_, i) => ({ ...SERVER, fwmark: 1000 + i }));
  desired.set(
    'many',
    servers.map((server) => wanted(NET, 'real-server', server)),
  );
  for (const server of servers) kernel.put(NET, 'real-server', { ...server, weight: 0 });
  const found = new Set<string>();
  for (let i = 0; i < 3; i++) await fingerprints.poll();
  for (const [line] of dirty) for (const key of (line ?? '').replace('real-server ', '').split(',')) found.add(key);
  t.is(found.size, 600);
  t.true(dirty.every(([line]) => (line ?? '').split(',').length <= 256));
});

test('a kernel that cannot be read fails the poll', async (t) => {
  const { fingerprints, kernel } = world(NFT);
  const port = kernel.port.bind(kernel);
  const broken = { observe: () => Promise.reject(new WeftError('WEFT_NETLINK', 'no')), apply: async () => [] };
  kernel.port = (kind) => (kind === 'sysctl' ? broken : port(kind));
  await t.throwsAsync(fingerprints.poll(), { message: 'no' });
});
