import t, { type Test } from 'tap';
import { patient } from '../support/lab.js';
import { MeshLab } from '../support/mesh-lab.js';
import { inGuest, needs } from '../support/needs.js';
import { AGENT_OPERATIONS } from './agents.js';
import { asked } from './asked.js';
import { restartChangesNothing } from './checkpoint.js';
import { Memory } from './memory.js';
import { Random } from './random.js';
import { allBack, BACKEND_OPERATIONS } from './services-backends.js';
import { differsFromScratch, settled } from './services-checkpoint.js';
import { DEATH_OPERATIONS, RESURRECT } from './services-death.js';
import { HEALTH_OPERATIONS, healthWorld, unprobed } from './services-health.js';
import { inWords, judged, type Seen } from './services-load.js';
import { Flapping, NOISE_OPERATIONS, noiseWorld } from './services-noise.js';
import { PUBLISH, portsAnswer } from './services-ports.js';
import { REMOVAL_OPERATIONS } from './services-removal.js';
import { RETUNE } from './services-tuning.js';
import { differsFromWish } from './services-witness.js';
import { type Services, servicesWorld } from './services-world.js';

/*
 * A service that always has a healthy backend is called all the time, while everything around changes: no request fails.
 * scripts/soak.mjs says how long; the seed decides which operations come in which order.
 */

const CHECK_EVERY = 100;
/** What `Spent` calls the time in which kernels are compared and nothing changes. */
const CHECKPOINT = 'checkpoint';
/** Operations shown when something is wrong. */
const SHOWN = 40;
/** Milliseconds from one operation to the next; backends that nobody calls change beside them. */
const PACE_MS = 80;
/** Milliseconds that each of the clients rests between two turns: the load leaves the agents room. */
const GAP_MS = 150;

const ALL = [
  ...BACKEND_OPERATIONS,
  ...REMOVAL_OPERATIONS,
  ...DEATH_OPERATIONS,
  ...HEALTH_OPERATIONS,
  ...NOISE_OPERATIONS,
  ...AGENT_OPERATIONS,
  ...[PUBLISH, RETUNE, RESURRECT],
];

const { seed, seconds, operations } = asked();

if (needs(t, ['root', 'vxlan', 'bridge', 'veth', 'nft-bridge', 'nft-numgen', 'iptables-nat', 'ip6tables-nat', 'wrk'])) {
  t.test(`services, seed ${seed}`, async (t) => {
    const mesh = new MeshLab('auto', [4, 6]);
    t.teardown(() => mesh.down());
    const soak = await servicesWorld(mesh, patient(GAP_MS));
    t.teardown(() => Promise.all(soak.wrks.map((wrk) => wrk.stop())));
    await noiseWorld(soak);
    await healthWorld(soak);
    const history: string[] = [];
    const memory = new Memory(mesh.lab.nodes);
    const seen: Seen[] = [];
    const spent = new Spent();
    const random = new Random(seed);
    const flapping = new Flapping(soak, random.fork(-3));
    const began = Date.now();
    const end = began + seconds * 1000;
    let done = 0;
    try {
      flapping.start();
      while (done < operations && Date.now() < end) {
        const step = random.fork(done);
        const operation = step.weighted(ALL);
        history.push(`${done + 1} ${operation.name}`);
        const next = Date.now() + PACE_MS;
        const said = await operation.run(soak, step);
        spent.add(operation.name, Date.now() - next + PACE_MS);
        history.push(`${new Date().toISOString().slice(11, 23)} ${history.pop()}: ${said ?? 'nothing to do'}`);
        done++;
        if (done % CHECK_EVERY === 0) {
          const from = Date.now();
          await flapping.rest();
          await settled(soak);
          if (done % (3 * CHECK_EVERY) === 0) await restartChangesNothing(soak, step);
          await portsAnswer(soak, step);
          seen.push(await judged(soak, false));
          t.comment(`${done} operations, ${inWords(seen.slice(-1))}; ${memory.look()}`);
          spent.add(CHECKPOINT, Date.now() - from);
          flapping.start();
        }
        await new Promise((resolve) => setTimeout(resolve, next - Date.now()));
      }
      history.push('end');
      await flapping.rest();
      const flaps = (soak.flaps * 1000) / (Date.now() - began - spent.of(CHECKPOINT));
      seen.push(await whole(t, soak, random));
      const { balancer } = soak;
      t.comment(
        `${done} operations, ${flaps.toFixed(1)} changes of backends a second between checkpoints, balancer ${balancer}`,
      );
      t.comment(`${spent}`);
      t.comment(`in all ${inWords(seen)}; ${memory}`);
      t.same(memory.swollen(), [], 'memory is flat');
    } catch (error) {
      t.comment(`last operations:\n  ${history.slice(-SHOWN).join('\n  ')}`);
      const guest = inGuest() ? ' --guest' : '';
      t.comment(`to repeat: npm run test:soak -- services --seed ${seed} --operations ${done + 1}${guest}`);
      for (const node of mesh.lab.nodes) t.comment(`${node.name}: ${node.log().split('\n').slice(-15).join('\n  ')}`);
      throw error;
    }
  });
}

/** Operations by name: how many, and the milliseconds that one takes. */
class Spent {
  readonly #by = new Map<string, { times: number; ms: number }>();

  add(name: string, ms: number): void {
    const before = this.#by.get(name) ?? { times: 0, ms: 0 };
    this.#by.set(name, { times: before.times + 1, ms: before.ms + ms });
  }

  /** Milliseconds that all of a name took. */
  of(name: string): number {
    return this.#by.get(name)?.ms ?? 0;
  }

  toString(): string {
    return [...this.#by].map(([name, { times, ms }]) => `${name} ${times}×${Math.round(ms / times)} ms`).join(', ');
  }
}

/** In the end everything is there and as wished, and nothing that was called has failed. */
async function whole(t: Test, soak: Services, random: Random): Promise<Seen> {
  await allBack(soak);
  await settled(soak);
  await portsAnswer(soak, random);
  const seen = await judged(soak, true);
  t.ok((seen.own.tally.ok ?? 0) > 0, 'no request failed');
  for (const node of soak.lab.nodes)
    t.same(
      await differsFromWish(soak, node),
      [],
      `VIPs of ${node.name} lead where they should, by ip, nft and ipvsadm`,
    );
  for (let i = 0; i < 2; i++) await restartChangesNothing(soak, random.fork(-1 - i));
  t.pass('agents that start again change nothing');
  await unprobed(soak);
  for (const node of soak.lab.nodes) {
    t.same(await differsFromScratch(soak, node), [], `${node.name} is as after the same wish on an empty node`);
  }
  return seen;
}
