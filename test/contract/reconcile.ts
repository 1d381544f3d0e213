import assert from 'node:assert/strict';
import fc from 'fast-check';
import { gatewayOf } from '../../src/agent/choices.js';
import type { Kernel } from '../../src/kernel/port.js';
import type { Wish } from '../../src/model/registry.js';
import { produce, producers } from '../../src/network/produce.js';
import type { BalancerChoice, World } from '../../src/network/world.js';
import { type Kind, NODE_NS } from '../../src/objects/kind.js';
import type { Netns } from '../../src/objects/netns.js';
import { KINDS } from '../../src/objects/registry.js';
import { Desired, Dirt } from '../../src/reconcile/desired.js';
import { Loop } from '../../src/reconcile/loop.js';
import type { Op } from '../../src/reconcile/plan.js';
import { SELF } from '../support/store.js';
import { type Faults, FaultyKernel } from './faulty.js';
import { type Bodies, bodies, wishOf } from './wish.js';

/**
 * What every kernel, real or fake, and everything that is kept in one must hold to: whatever was there before, whatever
 * is wished, whatever fails and wherever the agent dies, its next life makes the kernel what the wish says, touches
 * nothing that is not weft's, and removes nothing while it may not.
 */

/** A kernel under test, and what others do in it. */
export interface Host {
  readonly kernel: Kernel;
  readonly balancer: BalancerChoice;
  /** The kernel has nf_tables of the IP layer. */
  readonly nftInet: boolean;
  /** Makes everything of FOREIGN: what a machine may have that is not weft's. */
  settle(): Promise<void>;
  /** Everything that `settle` made, as it is now, one thing a line. */
  foreign(): Promise<string[]>;
  /** Somebody else takes an object away behind the agent's back. */
  steal(ns: string, kind: string, object: unknown): Promise<void>;
  /** Somebody else puts an object into a namespace of ours. */
  litter(ns: string, stray: Stray): Promise<void>;
  /** Looks with other eyes whether what stands in the kernel is what is wished, no more and no less. */
  inspect(desired: Desired): Promise<void>;
  /** How long the kernel may take to free what was removed. */
  readonly patienceMs: number;
}

/** Objects of nobody's wish that somebody leaves in a namespace of ours, as the fake shows them and `ip` makes them. */
export interface Stray {
  kind: string;
  object: object;
  command: string;
}

/** One row a kind that can be littered: `bridge` of a network's namespace is there to stand on. */
export const STRAYS: readonly Stray[] = [
  { kind: 'link', object: { name: 'stray0', type: 'bridge', up: true }, command: 'ip link add stray0 type bridge' },
  {
    kind: 'address',
    object: { dev: 'br0', ip: '10.66.0.1', length: 24, protocol: 0 },
    command: 'ip addr add 10.66.0.1/24 dev br0',
  },
  {
    kind: 'neighbour',
    object: { dev: 'br0', ip: '10.66.0.9', mac: '02:00:00:00:00:09', protocol: 0 },
    command: 'ip neigh replace 10.66.0.9 lladdr 02:00:00:00:00:09 dev br0 nud permanent',
  },
  {
    kind: 'fdb',
    object: { dev: 'vxlan0', mac: '02:00:00:00:00:0a', bridge: true, dst: '192.168.79.1' },
    command: 'bridge fdb replace 02:00:00:00:00:0a dev vxlan0 dst 192.168.79.1 self permanent',
  },
];

/** One row a kind of what may stand in the node's namespace and is nobody of weft's business. */
export const FOREIGN: readonly Stray[] = [
  {
    kind: 'link',
    object: { name: 'docker0', type: 'bridge', up: true },
    command: 'ip link add docker0 up type bridge',
  },
  {
    kind: 'address',
    object: { dev: 'docker0', ip: '172.17.0.1', length: 16, protocol: 0 },
    command: 'ip addr add 172.17.0.1/16 dev docker0',
  },
  {
    kind: 'route',
    object: { dst: '10.99.0.0/16', dev: 'docker0', via: '172.17.0.9', table: 254, metric: 0, protocol: 3 },
    command: 'ip route add 10.99.0.0/16 via 172.17.0.9 dev docker0 onlink',
  },
  {
    kind: 'rule',
    object: { family: 4, priority: 900, table: 100, src: '10.97.0.0/16', protocol: 0 },
    command: 'ip rule add from 10.97.0.0/16 lookup 100 priority 900',
  },
  {
    kind: 'neighbour',
    object: { dev: 'docker0', ip: '172.17.0.9', mac: '02:00:00:00:00:09', protocol: 0 },
    command: 'ip neigh add 172.17.0.9 lladdr 02:00:00:00:00:09 dev docker0 nud permanent',
  },
];

/** One life of an agent: it starts with the first wish, goes on to the next, and may end badly. */
interface Life extends Faults {
  wishes: Bodies[];
  gateShut: boolean;
  /** What others do after it: wished objects taken (by number), strays left (by number). */
  thefts: number[];
  litter: number[];
}

export interface Story {
  lives: Life[];
  /** What the last life, which nothing disturbs, makes true. */
  wish: Bodies;
}

const life: fc.Arbitrary<Life> = fc.record({
  wishes: fc.array(bodies, { minLength: 1, maxLength: 2 }),
  gateShut: fc.boolean(),
  refuseEvery: fc.option(fc.integer({ min: 2, max: 9 }), { nil: undefined }),
  crashAfter: fc.option(fc.nat(60), { nil: undefined }),
  thefts: fc.array(fc.nat(500), { maxLength: 3 }),
  litter: fc.array(fc.nat(20), { maxLength: 2 }),
});

export const story: fc.Arbitrary<Story> = fc.record({ lives: fc.array(life, { maxLength: 2 }), wish: bodies });

/** Tells a story on a host and looks whether it ended as it must. */
export async function tell({ lives, wish }: Story, host: Host): Promise<void> {
  await host.settle();
  const before = await host.foreign();
  const numbers = new Map<string, number>();
  for (const it of lives) {
    const agent = new Agent(host, it, it.gateShut, numbers);
    await agent.live(it.wishes);
    await disturb(host, agent.desired, it);
  }
  const last = new Agent(host, { refuseEvery: undefined, crashAfter: undefined }, false, numbers);
  await last.live([wish], async () => {
    await last.converged();
    assert.deepEqual(await host.foreign(), before, 'foreign objects are as they were');
    await host.inspect(last.desired);
  });
}

/** Kinds that are always there: nobody takes them away, and what nobody wishes any more stays. */
export const SETTINGS: ReadonlySet<string> = new Set(['sysctl', 'ipvs-timeouts', 'udp-flows']);

/** Others at work: thefts of what was wished, and strays in a namespace of a network. */
async function disturb(host: Host, desired: Desired, { thefts, litter }: Life): Promise<void> {
  const there = new Set(await host.kernel.namespaces());
  const takeable = desired
    .scopes()
    .filter(({ ns, kind }) => !SETTINGS.has(kind) && (ns === NODE_NS || there.has(ns)))
    .flatMap(({ ns, kind }) => desired.in(ns, kind).map((wanted) => ({ ns, kind, object: wanted.object })));
  for (const n of takeable.length ? thefts : []) {
    const { ns, kind, object } = takeable[n % takeable.length] as (typeof takeable)[number];
    await host.steal(ns, kind, object);
  }
  const networks = (await host.kernel.namespaces()).filter((ns) => ns.startsWith('net-')).sort();
  for (const n of networks.length ? litter : []) {
    await host.litter(networks[n % networks.length] as string, STRAYS[n % STRAYS.length] as Stray);
  }
  host.kernel.passed();
}

/** The part of an agent that turns wishes into operations. */
class Agent {
  readonly desired = new Desired(KINDS);
  readonly kernel: FaultyKernel;
  readonly loop: Loop;

  constructor(
    readonly host: Host,
    faults: Faults,
    gateShut: boolean,
    readonly numbers: Map<string, number>,
  ) {
    const gate = (ns: string, kind: string, key: string) =>
      gateShut && !this.desired.isReleased(ns, kind, key) ? 'the gate is shut' : undefined;
    this.kernel = new FaultyKernel(host.kernel, faults, (op) => this.#mayBeSent(op, gate));
    this.loop = new Loop(this.kernel, this.desired, gate);
  }

  /** From the first wish to the end of the last; `atEnd` looks before the agent goes. */
  async live(wishes: readonly Bodies[], atEnd: () => Promise<void> = async () => {}): Promise<void> {
    const defects: unknown[] = [];
    this.loop.on('trouble', ({ error }) => {
      if (error.code === 'WEFT_INTERNAL') defects.push(error);
    });
    try {
      for (const [i, stated] of wishes.entries()) {
        const dirt = this.#state(wishOf(stated));
        if (i === 0) await this.loop.start();
        else this.loop.wake(dirt, 'wish');
        await this.loop.settle();
      }
      await atEnd();
    } finally {
      await this.loop.stop();
    }
    assert.deepEqual(defects, []);
  }

  /** The kernel is what the wish says, and a second look finds nothing to do. */
  async converged(): Promise<void> {
    const end = Date.now() + this.host.patienceMs;
    while (this.loop.troubles().length > 0 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual(
      this.loop.troubles().map(({ owner, error }) => `${owner}: ${error.message}`),
      [],
    );
    const { writes } = this.kernel;
    assert.deepEqual(
      (await this.loop.plan()).ops.map((op) => `${op.verb} ${op.ns} ${op.kind} ${op.key}: ${op.because}`),
      [],
    );
    await this.loop.sweep();
    assert.equal(this.kernel.writes, writes, 'a second look writes nothing');
    assert.deepEqual([this.loop.held, this.loop.clashes], [[], []]);
    assert.deepEqual((await this.host.kernel.namespaces()).sort(), this.#wishedNamespaces());
  }

  #wishedNamespaces(): string[] {
    return this.desired
      .in(NODE_NS, 'netns')
      .map((wanted) => wanted.object as Netns)
      .filter((wanted) => wanted.aliasOf === undefined)
      .map((wanted) => wanted.name)
      .sort();
  }

  #state(wish: Wish): Dirt {
    const world = this.#world(wish);
    const dirt = new Dirt();
    for (const name of new Set([...this.desired.producers(), ...producers(wish)])) {
      dirt.merge(this.desired.set(name, produce(world, name)));
    }
    return dirt;
  }

  #world(wish: Wish): World {
    return {
      wish,
      self: { ...SELF, dataPathPort: 4789, addresses: { 4: SELF.vtep } },
      underlayMtu: 1500,
      smallPaths: new Map(),
      balancer: this.host.balancer,
      nftInet: this.host.nftInet,
      gateway: { 4: gatewayOf('172.31.0.0/16'), 6: gatewayOf('fd87:7765:6674:1::/64') },
      number: (space, name, first) => this.#number(space, name, first),
      chosenPort: () => undefined,
      resolverPorts: () => undefined,
    };
  }

  /** As the store does it: the lowest that no other name of the space has. */
  #number(space: string, name: string, first: number): number {
    const known = this.numbers.get(`${space}/${name}`);
    if (known !== undefined) return known;
    const taken = new Set([...this.numbers].filter(([key]) => key.startsWith(`${space}/`)).map(([, n]) => n));
    let n = first;
    while (taken.has(n)) n++;
    this.numbers.set(`${space}/${name}`, n);
    return n;
  }

  #mayBeSent(op: Op, gate: (ns: string, kind: string, key: string) => string | undefined): void {
    const kind = KINDS.get(op.kind) as unknown as Kind<unknown>;
    if (op.verb === 'remove') {
      assert.equal(gate(op.ns, op.kind, op.key), undefined, `${op.kind} ${op.key} is removed though the gate is shut`);
    }
    if (op.verb === 'add') return;
    const where = this.kernel.where(op.ns) ?? { ns: op.ns, nsOwned: true };
    const may = kind.owns(op.have, where) || (op.verb === 'change' && kind.adopts?.(op.want, op.have, where));
    assert.ok(may, `${op.verb} of ${op.kind} ${op.key} in ${op.ns}, which is not weft's`);
  }
}
