import test, { type ExecutionContext } from 'ava';
import { WeftError } from '../../src/base/errors.js';
import { FakeKernel } from '../../src/kernel/fake/kernel.js';
import type { KindPort, Look } from '../../src/kernel/port.js';
import { NODE_NS } from '../../src/objects/kind.js';
import type { Link } from '../../src/objects/link.js';
import { KINDS } from '../../src/objects/registry.js';
import { Desired, Dirt } from '../../src/reconcile/desired.js';
import { type Drift, Loop, type Trouble } from '../../src/reconcile/loop.js';
import type { PruneGate } from '../../src/reconcile/pass.js';
import type { Op, Wanted } from '../../src/reconcile/plan.js';

const NET = 'net-app';
const want = (ns: string, kind: string, object: object, owner = 'network/app'): Wanted => ({
  ns,
  kind,
  object,
  because: owner,
  owner,
});
const bridge = (change: Partial<Link> = {}): Link =>
  ({ name: 'br0', type: 'bridge', up: true, mtu: 1450, alias: 'weft:network/app', ...change }) as Link;

/** A network with a bridge, an address on it and one neighbour. */
const NETWORK: Wanted[] = [
  want(NODE_NS, 'netns', { name: NET }),
  want(NET, 'link', { name: 'lo', type: 'present', up: true }),
  want(NET, 'sysctl', { path: 'net/ipv4/ip_forward', value: '0' }),
  want(NET, 'sysctl', { path: 'net/ipv4/conf/br0/rp_filter', value: '0' }),
  want(NET, 'link', bridge()),
  want(NET, 'address', { dev: 'br0', ip: '10.20.0.1', length: 24 }),
  want(NET, 'neighbour', { dev: 'br0', ip: '10.20.0.9', mac: '02:42:0a:14:00:09' }),
];
const ENDPOINT: Wanted[] = [
  want(NODE_NS, 'netns', { name: 'c1' }, 'endpoint/c1:app'),
  want(
    'c1',
    'link',
    { name: 'eth0', type: 'veth-end', up: true, mac: '02:42:0a:14:00:0b', alias: 'weft:endpoint/c1:app' },
    'endpoint/c1:app',
  ),
  want('c1', 'address', { dev: 'eth0', ip: '10.20.0.11', length: 24 }, 'endpoint/c1:app'),
  want(
    NET,
    'link',
    {
      name: 'wf1',
      type: 'veth',
      up: true,
      master: 'br0',
      alias: 'weft:endpoint/c1:app',
      peer: { ns: 'c1', name: 'eth0', mac: '02:42:0a:14:00:0b' },
    },
    'endpoint/c1:app',
  ),
];

class Rig {
  readonly kernel = new FakeKernel();
  readonly desired = new Desired(KINDS);
  readonly sent: string[] = [];
  readonly drifts: Drift[] = [];
  readonly troubles: Trouble[] = [];
  gate: PruneGate = () => undefined;
  readonly loop: Loop;

  constructor(t: ExecutionContext, sweepMs = 60_000) {
    this.loop = new Loop(this.kernel, this.desired, (...at) => this.gate(...at), sweepMs);
    this.loop.on('pass', ({ done }) => this.sent.push(...done.map((op) => `${op.verb} ${op.kind} ${op.key}`)));
    this.loop.on('drift', (drift) => this.drifts.push(drift));
    this.loop.on('trouble', (trouble) => this.troubles.push(trouble));
    t.teardown(() => this.loop.stop());
  }

  /** A change of the wish, applied. */
  async wish(producer: string, wanted: Wanted[]): Promise<void> {
    this.loop.wake(this.desired.set(producer, wanted), 'wish');
    await this.loop.settle();
  }

  /** A notification of the kernel about a kind in a namespace, followed up. */
  async notify(ns: string, kind: string): Promise<void> {
    const dirt = new Dirt();
    dirt.add(ns, kind);
    this.loop.wake(dirt, 'kernel');
    await this.loop.settle();
  }

  async up(...wishes: [string, Wanted[]][]): Promise<void> {
    for (const [producer, wanted] of wishes) this.desired.set(producer, wanted);
    await this.loop.start();
    this.sent.length = 0;
  }

  get(ns: string, kind: string, key: string): object | undefined {
    return this.kernel.spaces.get(ns)?.get(kind)?.get(key) as object | undefined;
  }
}

const netlink = (message: string): WeftError => new WeftError('WEFT_NETLINK', message);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('the first pass builds stage by stage, a second finds nothing to do', async (t) => {
  const rig = new Rig(t);
  rig.desired.set('network/app', NETWORK);
  rig.desired.set('endpoint/c1:app', ENDPOINT);
  await rig.loop.start();
  const order = rig.sent.map((line) => line.split(' ')[1] as string);
  const first = (kind: string) => order.indexOf(kind);
  t.true(
    first('netns') < first('sysctl') &&
      first('sysctl') < first('link') &&
      first('link') < first('address') &&
      first('address') < first('neighbour'),
  );
  const at = (line: string) => rig.sent.indexOf(line);
  t.true(at('add sysctl net/ipv4/ip_forward') < at('add link br0'));
  t.true(at('add sysctl net/ipv4/conf/br0/rp_filter') > at('add link br0'), 'exists only with its interface');
  t.true(
    at('add link br0') < at('add link wf1') &&
      at('add link wf1') < rig.sent.findIndex((line) => line.endsWith('link eth0')),
  );
  t.deepEqual(rig.troubles, []);
  const writes = rig.kernel.writes;
  await rig.loop.sweep();
  t.is(rig.kernel.writes, writes);
  t.deepEqual((await rig.loop.plan()).ops, []);
});

test('what is as it was when it was as wished is not read again; what changed is, and a plan reads everything', async (t) => {
  const rig = new Rig(t);
  const read: string[] = [];
  const port = rig.kernel.port.bind(rig.kernel);
  rig.kernel.port = (kind) => {
    const plain = port(kind);
    return {
      ...plain,
      ...(plain.look && {
        look: async (ns: string, wanted: boolean) => {
          const look = (await plain.look?.(ns, wanted)) as Look;
          const seen = () => {
            read.push(`${ns} ${kind}`);
            return look.read();
          };
          return { ...look, read: seen };
        },
      }),
    };
  };
  await rig.up(['network/app', NETWORK]);
  await rig.loop.sweep();
  const reads = async (work: () => Promise<unknown>) => {
    read.length = 0;
    await work();
    return read.filter((line) => line === `${NET} address` || line === `${NET} neighbour`).sort();
  };
  const sweep = () => rig.loop.sweep();
  t.deepEqual(await reads(sweep), []);
  t.deepEqual(await reads(() => rig.loop.plan()), [`${NET} address`, `${NET} neighbour`]);

  rig.kernel.take(NET, 'neighbour', 'br0 10.20.0.9');
  t.deepEqual(await reads(sweep), [`${NET} neighbour`]);
  t.truthy(rig.get(NET, 'neighbour', 'br0 10.20.0.9'), 'and is put back');
  t.is(rig.drifts.length, 1);
  t.deepEqual(await reads(sweep), [`${NET} neighbour`], 'what was done is seen once');
  t.deepEqual(await reads(sweep), []);

  const another = want(NET, 'address', { dev: 'br0', ip: '10.20.0.2', length: 32 }, 'service/web');
  await rig.wish('service/web', [another]);
  t.deepEqual(await reads(sweep), [`${NET} address`], 'something else is wished');
  t.deepEqual(await reads(sweep), []);

  rig.gate = () => 'not yet';
  rig.kernel.put(NET, 'address', { dev: 'br0', ip: '10.20.0.3', length: 32 });
  await sweep();
  t.deepEqual(await reads(sweep), [`${NET} address`], 'what is held back is asked about each time');
  rig.gate = () => undefined;
  await sweep();
  t.is(rig.get(NET, 'address', 'br0 10.20.0.3/32'), undefined);
});

test('removals go in reverse order, and a namespace takes everything along', async (t) => {
  const rig = new Rig(t);
  await rig.up(['network/app', NETWORK], ['endpoint/c1:app', ENDPOINT]);
  await rig.wish('endpoint/c1:app', []);
  t.true(rig.sent.indexOf('remove address eth0 10.20.0.11') < rig.sent.indexOf('remove link wf1'));
  t.true(rig.sent.indexOf('remove link wf1') < rig.sent.indexOf('remove netns c1'));
  await rig.wish('network/app', []);
  t.deepEqual(rig.kernel.dump(), []);
  t.deepEqual(rig.troubles, []);
});

test('one change of the wish touches what it names and nothing else', async (t) => {
  const rig = new Rig(t);
  await rig.up(['network/app', NETWORK]);
  await rig.wish('peer/x', [
    want(NET, 'neighbour', { dev: 'br0', ip: '10.20.0.10', mac: '02:42:0a:14:00:0a' }, 'peer/x'),
  ]);
  t.deepEqual(rig.sent, ['add neighbour br0 10.20.0.10']);
  t.deepEqual(rig.drifts, [], 'the wish explains it');
});

test('a link that somebody removed comes back with all that stood on it, though only the link was told', async (t) => {
  const rig = new Rig(t);
  await rig.up(['network/app', NETWORK]);
  rig.kernel.take(NET, 'link', 'br0');
  t.is(rig.get(NET, 'address', 'br0 10.20.0.1'), undefined);
  await rig.notify(NET, 'link');
  t.truthy(rig.get(NET, 'address', 'br0 10.20.0.1'));
  t.truthy(rig.get(NET, 'neighbour', 'br0 10.20.0.9'));
  t.deepEqual(rig.drifts.map(({ op }) => `${op.ns} ${op.kind} ${op.key}`).sort(), [
    'net-app address br0 10.20.0.1',
    'net-app link br0',
    'net-app neighbour br0 10.20.0.9',
  ]);
  t.regex(rig.drifts[0]?.op.because ?? '', /missing: network\/app/);
});

test('a near end that is made again brings its far end’s address back, in a namespace where nothing was told', async (t) => {
  const rig = new Rig(t);
  await rig.up(['network/app', NETWORK], ['endpoint/c1:app', ENDPOINT]);
  rig.kernel.take(NET, 'link', 'wf1');
  t.is(rig.get('c1', 'link', 'eth0'), undefined);
  await rig.notify(NET, 'link');
  t.like(rig.get('c1', 'link', 'eth0'), { up: true, alias: 'weft:endpoint/c1:app' });
  t.truthy(rig.get('c1', 'address', 'eth0 10.20.0.11'));
  t.deepEqual(rig.troubles, []);
});

test('a link that is made has what is wished on it compared, and nothing of its namespace is read whole', async (t) => {
  const rig = new Rig(t);
  await rig.up(['network/app', NETWORK]);
  const read: string[] = [];
  const port = rig.kernel.port.bind(rig.kernel);
  rig.kernel.port = (kind) => ({
    ...port(kind),
    observe: (ns, want, keys) => {
      read.push(`${ns} ${kind} ${keys ? [...keys].sort() : 'all'}`);
      return port(kind).observe(ns, want, keys);
    },
  });
  await rig.wish('endpoint/c1:app', ENDPOINT);
  t.deepEqual(read.sort(), ['@node netns c1', 'c1 address all', 'c1 link all', 'net-app link wf1']);
  read.length = 0;
  rig.kernel.take(NET, 'link', 'wf1');
  await rig.notify(NET, 'link');
  t.deepEqual(read.sort(), ['c1 address eth0 10.20.0.11', 'c1 link eth0', 'net-app link all']);
});

test('one pass sees one wish: what changes while it runs is produced for the next, which comes by itself', async (t) => {
  const kernel = new FakeKernel();
  const desired = new Desired(KINDS);
  const due: [string, Wanted[]][] = [['network/app', NETWORK]];
  let running = false;
  const loop = new Loop(
    kernel,
    desired,
    () => undefined,
    60_000,
    () => {
      t.false(running, 'nothing is produced in the middle of a pass');
      const dirt = new Dirt();
      for (const [producer, wanted] of due.splice(0)) desired.set(producer, wanted, dirt);
      return dirt;
    },
  );
  t.teardown(() => loop.stop());
  loop.on('trouble', ({ error }) => t.fail(error.message));
  await loop.start();
  const port = kernel.port.bind(kernel);
  kernel.port = (kind) => ({
    ...port(kind),
    async apply(ns, ops) {
      running = true;
      // The sandbox comes when namespaces are made already, and would be found without one.
      if (kind === 'neighbour') {
        due.push(['endpoint/c1:app', ENDPOINT]);
        loop.wake(new Dirt(), 'wish');
        loop.hurry();
      }
      return port(kind).apply(ns, ops);
    },
  });
  loop.on('pass', () => {
    running = false;
  });
  due.push(['peer/x', [want(NET, 'neighbour', { dev: 'br0', ip: '10.20.0.10', mac: '02:42:0a:14:00:0a' }, 'peer/x')]]);
  loop.wake(new Dirt(), 'wish');
  while (!kernel.spaces.get('c1')?.get('address')?.has('eth0 10.20.0.11')) await sleep(5);
  t.is(loop.counters.passes, 3);
});

test('a namespace that somebody removed comes back whole, its pairs from the other side too', async (t) => {
  const rig = new Rig(t);
  await rig.up(['network/app', NETWORK], ['endpoint/c1:app', ENDPOINT]);
  const before = rig.kernel.dump();
  rig.kernel.take(NODE_NS, 'netns', 'c1');
  t.is(rig.get(NET, 'link', 'wf1'), undefined);
  await rig.notify(NODE_NS, 'netns');
  t.deepEqual(rig.kernel.dump(), before);
  t.deepEqual(rig.troubles, []);
});

test('an address that goes with another one of its subnet is back before anybody is told that the wish is applied', async (t) => {
  const rig = new Rig(t);
  await rig.up(['network/app', NETWORK], ['endpoint/c1:app', ENDPOINT]);
  const moved = ENDPOINT.map((w) =>
    w.kind === 'address' ? { ...w, object: { dev: 'eth0', ip: '10.20.0.12', length: 24 } } : w,
  );
  const seen: boolean[] = [];
  rig.loop.on('pass', () =>
    seen.push(rig.loop.appliedRevision === 5 && rig.get('c1', 'address', 'eth0 10.20.0.12') === undefined),
  );
  rig.loop.wishRevision = 5;
  await rig.wish('endpoint/c1:app', moved);
  t.is(rig.get('c1', 'address', 'eth0 10.20.0.11'), undefined);
  t.truthy(rig.get('c1', 'address', 'eth0 10.20.0.12'), 'the kernel dropped it with the first');
  t.false(seen.includes(true));
  t.is(rig.loop.appliedRevision, 5);
  t.deepEqual(rig.drifts, []);
});

test('where every pass takes something along, what was wished before is applied all the same', async (t) => {
  const rig = new Rig(t);
  const own = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6'];
  const address = (ns: string, ip: string) => want(ns, 'address', { dev: 'eth0', ip, length: 24 });
  const container = (ns: string, ips: readonly string[]) => [
    want(NODE_NS, 'netns', { name: ns }),
    want(ns, 'link', { name: 'eth0', type: 'present', up: true }),
    ...ips.map((ip) => address(ns, ip)),
  ];
  await rig.up(...own.map((ns): [string, Wanted[]] => [ns, container(ns, ['10.20.0.11', '10.20.0.12'])]));
  const behind: number[] = [];
  const next = () => {
    const ns = own.shift();
    if (ns === undefined) return;
    rig.loop.wishRevision++;
    rig.loop.wake(rig.desired.set(ns, container(ns, ['10.20.0.12'])), 'wish');
  };
  rig.loop.on('pass', ({ again }) => {
    if (again.scopes.size > 0) behind.push(rig.loop.wishRevision - rig.loop.appliedRevision);
    next();
  });
  next();
  await rig.loop.settle();
  t.deepEqual(behind, [1, 1, 1, 1, 1, 1]);
  t.is(rig.loop.appliedRevision, 6);
});

test('a container that goes from one network to another keeps the name of its interface', async (t) => {
  const rig = new Rig(t);
  await rig.up(['network/app', NETWORK], ['endpoint/c1:app', ENDPOINT]);
  const alias = 'weft:endpoint/c1:app2';
  const other = ENDPOINT.map((w) => ({
    ...w,
    owner: 'endpoint/c1:app2',
    object: JSON.parse(JSON.stringify(w.object).replaceAll('wf1', 'wf2').replaceAll('weft:endpoint/c1:app', alias)),
  }));
  rig.desired.set('endpoint/c1:app', []);
  await rig.wish('endpoint/c1:app2', other);
  t.deepEqual(rig.troubles, []);
  t.like(rig.get('c1', 'link', 'eth0'), { alias, up: true });
  t.truthy(rig.get('c1', 'address', 'eth0 10.20.0.11'));
  t.is(rig.get(NET, 'link', 'wf1'), undefined);
});

test('a far end whose agent died before it was named is taken over, whatever its address is by now', async (t) => {
  const rig = new Rig(t);
  rig.kernel.refuse = (op) => (op.key === 'eth0' ? netlink('the agent died') : undefined);
  await rig.up(['network/app', NETWORK], ['endpoint/c1:app', ENDPOINT]);
  await rig.loop.stop();
  rig.kernel.refuse = undefined;
  const next = new Loop(rig.kernel, rig.desired, () => undefined);
  t.teardown(() => next.stop());
  rig.desired.set(
    'endpoint/c1:app',
    ENDPOINT.map((w) =>
      w.ns === 'c1' && w.kind === 'link' ? { ...w, object: { ...(w.object as Link), mac: '02:42:0a:14:00:63' } } : w,
    ),
  );
  await next.start();
  t.deepEqual(next.troubles(), []);
  t.like(rig.get('c1', 'link', 'eth0'), { mac: '02:42:0a:14:00:63', alias: 'weft:endpoint/c1:app' });
});

test('somebody’s change is put back and told as drift; the same change found at the start is not', async (t) => {
  const rig = new Rig(t);
  await rig.up(['network/app', NETWORK]);
  t.deepEqual(rig.drifts, [], 'building is no drift');
  rig.kernel.put(NET, 'link', bridge({ mtu: 1500 }));
  await rig.notify(NET, 'link');
  t.is(rig.drifts.length, 1);
  t.like(rig.drifts[0]?.op, { verb: 'change', ns: NET, key: 'br0', because: 'mtu 1500, wanted 1450 (network/app)' });
  t.is(rig.loop.counters.drifts, 1);
});

test('a foreign object that appears is left alone', async (t) => {
  const rig = new Rig(t);
  await rig.up(['network/app', NETWORK]);
  const foreign: [string, object][] = [
    ['link', { name: 'docker0', type: 'bridge', up: true }],
    ['address', { dev: 'docker0', ip: '172.17.0.1', length: 16, protocol: 0 }],
    ['route', { dst: '10.0.0.0/8', dev: 'docker0', table: 254, protocol: 3 }],
    ['rule', { family: 4, priority: 100, table: 100, protocol: 0 }],
    ['neighbour', { dev: 'docker0', ip: '172.17.0.2', mac: '02:42:ac:11:00:02', protocol: 0 }],
  ];
  for (const [kind, object] of foreign) rig.kernel.put(NODE_NS, kind, object);
  const before = rig.kernel.dump();
  await rig.loop.sweep();
  t.deepEqual(rig.kernel.dump(), before);
  await rig.wish('network/app', []);
  t.is(rig.kernel.dump().length, foreign.length);
});

test('a foreign object in the way is told to the owner of the wish and tried again until it is gone', async (t) => {
  const rig = new Rig(t);
  rig.kernel.put(NODE_NS, 'link', { name: 'weft-gw', type: 'bridge', up: true });
  await rig.up([
    'network/app',
    [want(NODE_NS, 'link', { name: 'weft-gw', type: 'bridge', up: true, alias: 'weft:network/app' })],
  ]);
  t.is(rig.loop.trouble('network/app')?.error.code, 'WEFT_CONFLICT');
  t.is(rig.loop.clashes.length, 1);
  await rig.loop.sweep();
  t.is(rig.loop.clashes.length, 1, 'told once, however often it is seen');
  rig.kernel.take(NODE_NS, 'link', 'weft-gw');
  await rig.loop.sweep();
  t.is(rig.loop.trouble('network/app'), undefined);
  t.deepEqual(rig.loop.clashes, []);
});

test('what fails lands on its owner, hinders nobody else, and is tried again with backoff', async (t) => {
  const rig = new Rig(t);
  let failures = 0;
  rig.kernel.refuse = (op: Op) => {
    if (op.kind !== 'neighbour' || failures >= 2) return undefined;
    failures++;
    return netlink(`EBUSY ${failures}`);
  };
  rig.desired.set('network/app', NETWORK);
  const started = Date.now();
  await rig.loop.start();
  t.is(rig.loop.trouble('network/app')?.error.message, 'EBUSY 1');
  t.truthy(rig.get(NET, 'address', 'br0 10.20.0.1'));
  while (rig.loop.troubles().length > 0 && Date.now() - started < 5000) await sleep(20);
  const took = Date.now() - started;
  t.is(failures, 2);
  t.truthy(rig.get(NET, 'neighbour', 'br0 10.20.0.9'));
  t.true(took >= 690, `200 ms, then 500 ms: not after ${took} ms`);
  t.deepEqual(rig.drifts, [], 'a repeated attempt is no drift');
  t.deepEqual(
    rig.troubles.map((trouble) => trouble.error.message),
    ['EBUSY 1', 'EBUSY 2'],
  );
});

test('an equal failure is told once; its time is that of the first', async (t) => {
  const rig = new Rig(t);
  rig.kernel.refuse = (op) => (op.kind === 'neighbour' ? netlink('EPERM') : undefined);
  await rig.up(['network/app', NETWORK]);
  const since = rig.loop.trouble('network/app')?.since;
  await sleep(300);
  await rig.loop.sweep();
  t.is(rig.troubles.length, 1);
  t.is(rig.loop.trouble('network/app')?.since, since);
});

test('a failure is forgotten when its object is not wished any more', async (t) => {
  const rig = new Rig(t);
  rig.kernel.refuse = (op) => (op.kind === 'neighbour' ? netlink('EPERM') : undefined);
  await rig.up(['network/app', NETWORK]);
  t.is(rig.loop.troubles().length, 1);
  await rig.wish('network/app', NETWORK.slice(0, -1));
  t.is(rig.loop.troubles().length, 0);
});

test('what stands on a link that failed is well as soon as the link is, without waiting for its own retry', async (t) => {
  const rig = new Rig(t);
  let refuse = true;
  rig.kernel.refuse = (op) => (refuse && op.key === 'br0' ? netlink('EBUSY') : undefined);
  await rig.up(['network/app', NETWORK]);
  t.true(rig.loop.troubles().length >= 3, 'the bridge and what stands on it');
  refuse = false;
  await rig.notify(NET, 'link');
  t.deepEqual(rig.loop.troubles(), []);
});

test('with the gate shut nothing unknown is removed, an explicit removal is; what is held is listed once', async (t) => {
  const rig = new Rig(t);
  rig.gate = (ns, kind, key) => (rig.desired.isReleased(ns, kind, key) ? undefined : 'the journal is damaged');
  rig.kernel.spaces.set('net-old', new Map());
  rig.kernel.put(NODE_NS, 'neighbour', { dev: 'eth0', ip: '10.0.0.7', mac: '02:00:00:00:00:07', protocol: 87 });
  await rig.up(['network/app', NETWORK]);
  t.true(rig.kernel.spaces.has('net-old'));
  const keys = () => rig.loop.held.map((held) => held.key).sort();
  t.deepEqual(keys(), ['eth0 10.0.0.7', 'net-old']);
  await rig.loop.sweep();
  await rig.notify(NODE_NS, 'link');
  await rig.notify(NODE_NS, 'neighbour');
  t.deepEqual(keys(), ['eth0 10.0.0.7', 'net-old']);
  await rig.wish('network/app', []);
  t.false(rig.kernel.spaces.has(NET), 'an explicit removal needs no open gate');
  rig.gate = () => undefined;
  await rig.loop.sweep();
  t.deepEqual([rig.loop.held, rig.kernel.dump()], [[], []]);
});

test('what is held in a namespace is listed once, though a repaired link there is followed by a second look', async (t) => {
  const rig = new Rig(t);
  rig.gate = () => 'shut';
  await rig.up(['network/app', NETWORK]);
  rig.kernel.put(NET, 'neighbour', { dev: 'br0', ip: '10.20.0.99', mac: '02:00:00:00:00:01', protocol: 87 });
  for (let i = 0; i < 3; i++) {
    rig.kernel.put(NET, 'link', bridge({ mtu: 1400 + i }));
    await rig.loop.sweep();
  }
  t.deepEqual(
    rig.loop.held.map((held) => held.key),
    ['br0 10.20.0.99'],
  );
});

/** A kernel that cannot be read for a while. */
class Blind extends FakeKernel {
  blind = 0;
  override port(kind: string): KindPort {
    const port = super.port(kind);
    return {
      ...port,
      observe: (...args) =>
        kind === 'link' && this.blind-- > 0 ? Promise.reject(netlink('ENOBUFS')) : port.observe(...args),
    };
  }
}

test('what could not be read hinders nothing else, is told to whom it concerns, and is compared as soon as it can be', async (t) => {
  const kernel = new Blind();
  const desired = new Desired(KINDS);
  const loop = new Loop(kernel, desired, () => undefined);
  t.teardown(() => loop.stop());
  loop.on('drift', ({ op }) => t.fail(`drift ${op.key}`));
  kernel.blind = 1;
  desired.set('network/app', NETWORK);
  await loop.start();
  t.true(kernel.spaces.has(NET), 'the namespace was made all the same');
  t.is(loop.trouble('network/app')?.error.code, 'WEFT_NETLINK');
  while (loop.trouble('network/app')) await sleep(20);
  t.true(kernel.spaces.get(NET)?.get('link')?.has('br0'));
  kernel.blind = 1;
  loop.wishRevision = 7;
  loop.wake(desired.set('network/app', [...NETWORK.slice(0, 4), want(NET, 'link', bridge({ mtu: 1400 }))]), 'wish');
  await loop.settle();
  t.is(loop.trouble('network/app')?.key, 'br0');
  t.false(loop.isApplied(7), 'nobody has seen it there');
  while (loop.trouble('network/app')) await sleep(20);
  t.true(loop.isApplied(7));
  t.like((kernel.spaces.get(NET)?.get('link')?.get('br0') ?? {}) as object, { mtu: 1400 });
});

test('a leftover in a scope that could not be read goes once it can be', async (t) => {
  const kernel = new Blind();
  const desired = new Desired(KINDS);
  const loop = new Loop(kernel, desired, () => undefined);
  t.teardown(() => loop.stop());
  loop.on('drift', ({ op }) => t.fail(`drift ${op.key}`));
  desired.set('network/app', NETWORK);
  await loop.start();
  kernel.put(NET, 'link', bridge({ name: 'br9' }));
  // The node's namespace is looked at first.
  kernel.blind = 2;
  await loop.sweep();
  t.true(kernel.spaces.get(NET)?.get('link')?.has('br9'));
  while (kernel.spaces.get(NET)?.get('link')?.has('br9')) await sleep(20);
  t.pass();
});

test('the sweep finds what no notification told', async (t) => {
  const rig = new Rig(t, 30);
  await rig.up(['network/app', NETWORK]);
  rig.kernel.take(NET, 'neighbour', 'br0 10.20.0.9');
  const until = Date.now() + 2000;
  while (rig.drifts.length === 0 && Date.now() < until) await sleep(10);
  t.is(rig.drifts.length, 1);
});

test('after stop nothing is sent, whatever wakes the loop', async (t) => {
  const rig = new Rig(t, 10);
  await rig.up(['network/app', NETWORK]);
  await rig.loop.stop();
  const writes = rig.kernel.writes;
  rig.loop.wake(rig.desired.set('network/app', []), 'wish');
  await rig.loop.settle();
  await sleep(50);
  t.is(rig.kernel.writes, writes);
});

test('the revision counts as applied only when a pass that began after it has ended', async (t) => {
  const rig = new Rig(t);
  await rig.up(['network/app', NETWORK]);
  const dirt = rig.desired.set('peer/x', [
    want(NET, 'neighbour', { dev: 'br0', ip: '10.20.0.10', mac: '02:42:0a:14:00:0a' }),
  ]);
  rig.loop.wishRevision = 3;
  rig.loop.wake(dirt, 'wish');
  t.is(rig.loop.appliedRevision, 0);
  await rig.loop.settle();
  t.is(rig.loop.appliedRevision, 3);
});

/** A peer of the network, as the wish states it with a revision. */
async function peer(rig: Rig, revision: number, ip: string): Promise<void> {
  const dirt = rig.desired.set(`peer/${ip}`, [
    want(NET, 'neighbour', { dev: 'br0', ip, mac: '02:42:0a:14:00:0a' }, `peer/${ip}`),
  ]);
  rig.loop.wishRevision = revision;
  rig.loop.wake(dirt, 'wish');
  await rig.loop.settle();
}

test('what failed keeps its revision from being applied until it is there, and no other revision', async (t) => {
  const rig = new Rig(t);
  rig.loop.wishRevision = 2;
  await rig.up(['network/app', NETWORK]);
  let refuse = true;
  rig.kernel.refuse = (op) => (refuse && op.key === 'br0 10.20.0.10' ? netlink('EBUSY') : undefined);
  await peer(rig, 3, '10.20.0.10');
  await peer(rig, 4, '10.20.0.11');
  t.deepEqual(
    [2, 3, 4, 5].map((revision) => rig.loop.isApplied(revision)),
    [true, false, true, false],
  );
  t.like(rig.loop.obstacle(3), { key: 'br0 10.20.0.10', owner: 'peer/10.20.0.10' });
  rig.loop.wishRevision = 5;
  await rig.wish('peer/10.20.0.10', [
    want(NET, 'neighbour', { dev: 'br0', ip: '10.20.0.10', mac: '02:42:0a:14:00:0b' }, 'peer/10.20.0.10'),
  ]);
  t.deepEqual(
    [rig.loop.isApplied(3), rig.loop.isApplied(5)],
    [false, false],
    'stated anew, it is waited for all the same',
  );
  refuse = false;
  await rig.notify(NET, 'neighbour');
  t.deepEqual([rig.loop.isApplied(3), rig.loop.isApplied(5)], [true, true]);
});

test('what had failed before a change is no obstacle to it, nor what failed when the agent came up', async (t) => {
  const rig = new Rig(t);
  rig.kernel.refuse = (op) => (op.kind === 'neighbour' && op.key.endsWith('.9') ? netlink('EPERM') : undefined);
  rig.loop.wishRevision = 2;
  await rig.up(['network/app', NETWORK]);
  t.is(rig.loop.troubles().length, 1);
  t.true(rig.loop.isApplied(2));
  await peer(rig, 3, '10.20.0.10');
  t.true(rig.loop.isApplied(3));
});

test('a removal that failed is not applied', async (t) => {
  const rig = new Rig(t);
  await rig.up(['network/app', NETWORK]);
  await peer(rig, 3, '10.20.0.10');
  let refuse = true;
  rig.kernel.refuse = (op) => (refuse && op.verb === 'remove' ? netlink('EBUSY') : undefined);
  rig.loop.wishRevision = 4;
  await rig.wish('peer/10.20.0.10', []);
  t.false(rig.loop.isApplied(4));
  refuse = false;
  await rig.loop.sweep();
  t.true(rig.loop.isApplied(4));
});

test('a pass that breaks off has applied nothing, and none after it has until its work is done', async (t) => {
  const rig = new Rig(t);
  await rig.up(['network/app', NETWORK]);
  const { settle } = rig.desired;
  rig.desired.settle = () => {
    throw new Error('broken');
  };
  rig.loop.wishRevision = 3;
  await rig.wish('network/app', NETWORK.slice(0, -1));
  rig.desired.settle = settle;
  await rig.notify(NODE_NS, 'link');
  t.is(rig.troubles.at(-1)?.error.message, 'broken');
  t.false(rig.loop.isApplied(3));
  while (!rig.loop.isApplied(3)) await sleep(20);
  t.is(rig.get(NET, 'neighbour', 'br0 10.20.0.9'), undefined);
});

test('a plan says what a pass would do and does nothing', async (t) => {
  const rig = new Rig(t);
  rig.desired.set('network/app', NETWORK);
  const { ops } = await rig.loop.plan();
  t.is(ops.length, NETWORK.length);
  t.is(ops[0]?.kind, 'netns');
  t.is(rig.kernel.writes, 0);
});
