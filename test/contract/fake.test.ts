import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import { FakeKernel } from '../../src/kernel/fake/kernel.js';
import type { BalancerChoice } from '../../src/network/world.js';
import { type Kind, NODE_NS } from '../../src/objects/kind.js';
import { KINDS } from '../../src/objects/registry.js';
import type { Desired } from '../../src/reconcile/desired.js';
import { FOREIGN, type Host, SETTINGS, type Stray, story, tell } from './reconcile.js';

const keyOf = (kind: string, object: unknown): string => (KINDS.get(kind) as unknown as Kind<unknown>).key(object);

class FakeHost implements Host {
  readonly kernel = new FakeKernel();
  readonly patienceMs = 0;

  constructor(
    readonly balancer: BalancerChoice,
    readonly nftInet: boolean,
  ) {}

  async settle(): Promise<void> {
    for (const { kind, object } of FOREIGN) this.kernel.put(NODE_NS, kind, structuredClone(object));
  }

  async foreign(): Promise<string[]> {
    const ours = FOREIGN.map(({ kind, object }) => `${NODE_NS} ${kind} ${keyOf(kind, object)} `);
    return this.kernel.dump().filter((line) => ours.some((start) => line.startsWith(start)));
  }

  async steal(ns: string, kind: string, object: unknown): Promise<void> {
    this.kernel.take(ns, kind, keyOf(kind, object));
  }

  async litter(ns: string, { kind, object }: Stray): Promise<void> {
    const { dev } = object as { dev?: string };
    const links = this.kernel.spaces.get(ns)?.get('link');
    if (dev === undefined || links?.has(dev)) this.kernel.put(ns, kind, structuredClone(object));
  }

  async inspect(desired: Desired): Promise<void> {
    const foreign = new Set(FOREIGN.map(({ kind, object }) => `${NODE_NS} ${kind} ${keyOf(kind, object)}`));
    for (const [ns, shelf] of this.kernel.spaces) {
      for (const [kind, objects] of shelf) {
        // Nobody takes settings back, and `lo` is the kernel's.
        for (const key of SETTINGS.has(kind) ? [] : objects.keys()) {
          if (foreign.has(`${ns} ${kind} ${key}`) || key === 'lo') continue;
          assert.ok(desired.wants(ns, kind, key), `${kind} ${key} stays in ${ns}, and nobody wishes it`);
        }
      }
    }
    const named = new Set([...this.kernel.spaces.keys(), ...this.kernel.aliases.keys()]);
    for (const { ns, kind } of desired.scopes()) {
      const there = kind === 'netns' ? named : this.kernel.spaces.get(ns)?.get(kind);
      for (const { object } of desired.in(ns, kind)) {
        assert.ok(there?.has(keyOf(kind, object)), `${kind} ${keyOf(kind, object)} is missing in ${ns}`);
      }
    }
    for (const name of this.kernel.aliases.keys()) assert.ok(desired.wants(NODE_NS, 'netns', name), name);
  }
}

const RUNS = Number(process.env.WEFT_CONTRACT_RUNS ?? 150);
const BALANCERS: BalancerChoice[] = [
  { name: 'nft', bridgeConntrack: true, hash: true },
  { name: 'nft', bridgeConntrack: false, hash: true },
  { name: 'ipvs', bridgeConntrack: false, hash: true },
];

for (const balancer of BALANCERS) {
  test(`the contract holds on the fake kernel with ${JSON.stringify(balancer)}`, async (t) => {
    await fc.assert(
      fc.asyncProperty(story, async (it) => tell(it, new FakeHost(balancer, balancer.name === 'nft'))),
      {
        numRuns: RUNS,
        includeErrorInReport: true,
        ...(process.env.WEFT_SEED !== undefined && { seed: Number(process.env.WEFT_SEED) }),
      },
    );
    t.pass();
  });
}
