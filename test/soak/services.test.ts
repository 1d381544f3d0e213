import t, { type Test } from 'tap';
import { patient } from '../support/lab.js';
import { MeshLab } from '../support/mesh-lab.js';
import { needs } from '../support/needs.js';
import { AGENT_OPERATIONS } from './agents.js';
import { asked } from './asked.js';
import { restartChangesNothing } from './checkpoint.js';
import { footprint, swollen } from './footprint.js';
import { Random } from './random.js';
import { allBack, BACKEND_OPERATIONS, RESURRECT } from './services-backends.js';
import { differsFromScratch, judged, settled } from './services-checkpoint.js';
import { NOISE_OPERATIONS, noiseWorld } from './services-noise.js';
import { type Services, servicesWorld } from './services-world.js';

/*
 * A service that always has a healthy backend is called all the time, while everything around changes: no request fails.
 * scripts/soak.mjs says how long; the seed decides which operations come in which order.
 */

const CHECK_EVERY = 100;
/** Operations shown when something is wrong. */
const SHOWN = 40;
/** Milliseconds from one operation to the next: most are a change of a backend, of which there shall be 10 a second. */
const PACE_MS = 80;
/** Milliseconds that each of the clients rests between two turns: the load leaves the agents room. */
const GAP_MS = 60;

const ALL = [...BACKEND_OPERATIONS, ...NOISE_OPERATIONS, ...AGENT_OPERATIONS, RESURRECT];

const { seed, seconds, operations } = asked();

if (needs(t, ['root', 'vxlan', 'bridge', 'veth', 'nft-bridge', 'nft-numgen', 'iptables-nat', 'ip6tables-nat'])) {
  t.test(`services, seed ${seed}`, async (t) => {
    const mesh = new MeshLab('auto', [4, 6]);
    t.teardown(() => mesh.down());
    const soak = await servicesWorld(mesh, patient(GAP_MS));
    await noiseWorld(soak);
    const { balancer } = await mesh.api(1).get<{ balancer: string }>('/v1/status');
    const history: string[] = [];
    const memory: number[] = [];
    const random = new Random(seed);
    const began = Date.now();
    const end = began + seconds * 1000;
    let done = 0;
    try {
      while (done < operations && Date.now() < end) {
        const step = random.fork(done);
        const operation = step.weighted(ALL);
        history.push(`${done + 1} ${operation.name}`);
        const next = Date.now() + PACE_MS;
        const said = await operation.run(soak, step);
        history.push(`${new Date().toISOString().slice(11, 23)} ${history.pop()}: ${said ?? 'nothing to do'}`);
        done++;
        if (done % CHECK_EVERY === 0) {
          await settled(soak);
          if (done % (3 * CHECK_EVERY) === 0) await restartChangesNothing(soak, step);
          const { tally, longestMs } = await judged(soak, false);
          memory.push(footprint(mesh.lab.node(1)).rssKiB);
          t.comment(`${done} operations, ${JSON.stringify(tally)}, slowest ${longestMs} ms, ${memory.at(-1)} KiB`);
        }
        await new Promise((resolve) => setTimeout(resolve, next - Date.now()));
      }
      history.push('end');
      const flaps = (soak.flaps * 1000) / (Date.now() - began);
      await whole(t, soak, random);
      t.comment(`${done} operations, ${flaps.toFixed(1)} changes of backends a second, balancer ${balancer}`);
      t.same(swollen(memory), undefined, 'memory is flat');
    } catch (error) {
      t.comment(`last operations:\n  ${history.slice(-SHOWN).join('\n  ')}`);
      t.comment(`to repeat: npm run test:soak -- services --seed ${seed} --operations ${done + 1}`);
      for (const node of mesh.lab.nodes) t.comment(`${node.name}: ${node.log().split('\n').slice(-15).join('\n  ')}`);
      throw error;
    }
  });
}

/** In the end everything is there and as wished, and nothing that was called has failed. */
async function whole(t: Test, soak: Services, random: Random): Promise<void> {
  await allBack(soak);
  await settled(soak);
  const { tally } = await judged(soak, true);
  t.ok((tally.ok ?? 0) > 0, `no request failed, of ${tally.ok}`);
  for (let i = 0; i < 2; i++) await restartChangesNothing(soak, random.fork(-1 - i));
  t.pass('agents that start again change nothing');
  for (const node of soak.lab.nodes) {
    t.same(await differsFromScratch(soak, node), [], `${node.name} is as after the same wish on an empty node`);
  }
}
