import t, { type Test } from 'tap';
import { Lab, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { furnish, missingLines, standing } from '../support/overlay.js';
import { AGENT_OPERATIONS, KILL_IN_THE_MIDDLE } from './agents.js';
import { asked } from './asked.js';
import { checkpoint, restartChangesNothing, settled } from './checkpoint.js';
import { ControlPlane } from './control-plane.js';
import { DRIFT_OPERATIONS } from './drift.js';
import { type Footprint, footprint, grown, swollen } from './footprint.js';
import { Model, type Network, type Sandbox } from './model.js';
import { connect, createSandbox, OPERATIONS } from './operations.js';
import { Random } from './random.js';
import { rulesDifferFromScratch } from './rules.js';
import { alive, type Soak } from './soak.js';

/*
 * Random operations on networks, with gossip out of order, tampering, and agents that are killed, against a model of what
 * should be. scripts/soak.mjs says how long. The seed decides which operations come in which order; how they meet in time
 * is the machine's doing.
 */

const CHECK_EVERY = 200;
/** Operations shown when something is wrong. */
const SHOWN = 40;

const ALL = [...OPERATIONS, ...DRIFT_OPERATIONS, ...AGENT_OPERATIONS, KILL_IN_THE_MIDDLE];

const { seed, seconds, operations } = asked();

if (needs(t, ['root', 'vxlan', 'bridge', 'veth'])) {
  t.test(`networks, seed ${seed}`, async (t) => {
    const lab = await Lab.up({ nodes: 3, client: true, agents: false });
    t.teardown(() => lab.down());
    const before = await Promise.all(lab.nodes.map((node) => furnish(node)));
    await Promise.all(lab.nodes.map((node) => node.start()));
    const soak: Soak = { lab, model: new Model(), plane: new ControlPlane(lab.nodes), dead: new Set() };
    for (const node of lab.nodes) soak.plane.hear(node);

    const history: string[] = [];
    const memory: number[] = [];
    const random = new Random(seed);
    const end = Date.now() + seconds * 1000;
    let done = 0;
    try {
      const small = await rehearsal(soak);
      while (done < operations && Date.now() < end) {
        const step = random.fork(done);
        const operation = step.weighted(ALL);
        history.push(`${done + 1} ${operation.name}`);
        const said = await operation.run(soak, step);
        history.push(`${history.pop()}: ${said ?? 'nothing to do'}`);
        done++;
        if (done % CHECK_EVERY > 0) continue;
        await checkpoint(soak, step);
        if (done % (5 * CHECK_EVERY) === 0) await restartChangesNothing(soak, step);
        memory.push(footprint(lab.node(1)).rssKiB);
        t.comment(`${done} operations, ${soak.model.endpoints().length} endpoints, ${memory.at(-1)} KiB`);
      }
      history.push('end');
      await checkpoint(soak, random.fork(-2));
      t.pass(`${done} operations: the kernels are as the model says`);
      await restartChangesNothing(soak, random.fork(-3));
      t.pass('an agent that starts again changes nothing');
      const rules = await rulesDifferFromScratch(soak, lab.node(2));
      t.same(rules, [], 'packet rules are those of the same wish on an empty node');
      await leavesNothing(t, soak, small, before);
      t.same(swollen(memory), undefined, 'memory is flat');
    } catch (error) {
      t.comment(`last operations:\n  ${history.slice(-SHOWN).join('\n  ')}`);
      t.comment(`to repeat: npm run test:soak -- networks --seed ${seed} --operations ${done + 1}`);
      for (const node of lab.nodes) t.comment(`${node.name}: ${node.log().split('\n').slice(-15).join('\n  ')}`);
      throw error;
    }
  });
}

/** One of everything on every node, made and removed: what an agent keeps from then on is no leak. */
async function rehearsal(soak: Soak): Promise<Footprint> {
  const network: Network = {
    name: 'net1',
    driver: 'overlay',
    vni: 5000,
    prefixes: { 4: '10.30.1.', 6: 'fd30:1::' },
    internal: false,
    askedOf: new Set(),
  };
  for (const node of soak.lab.nodes) {
    const sandbox: Sandbox = { name: `c${node.number}`, node: node.number, endpoints: new Map(), ports: new Set() };
    await createSandbox(soak, node, sandbox);
    const addresses = [`10.30.1.1${node.number}`, `fd30:1::1${node.number}`];
    await connect(soak, sandbox, network, addresses, { routes: [], bandwidth: { toSandbox: 8e6, fromSandbox: 8e6 } });
  }
  await checkpoint(soak, new Random(0));
  await empty(soak);
  return footprint(soak.lab.node(1));
}

/** Everything that was asked for is taken back. */
async function empty(soak: Soak): Promise<void> {
  const { lab, model, plane } = soak;
  const remove = async (table: string, number: number, id: string) => lab.node(number).api.delete(`/v1/${table}/${id}`);
  for (const { name, node, endpoints } of model.sandboxes.values()) {
    for (const network of endpoints.keys()) await remove('endpoints', node, `${name}:${network}`);
    await remove('sandboxes', node, name);
  }
  for (const { name, askedOf } of model.networks.values())
    for (const number of askedOf) await remove('networks', number, name);
  model.sandboxes.clear();
  model.networks.clear();
  for (const node of lab.nodes) await plane.snapshot(node, alive(soak));
  await settled(soak);
}

/** Nothing is left in the kernel or open in the agents, and what others had is untouched. */
async function leavesNothing(t: Test, soak: Soak, small: Footprint, before: readonly string[]): Promise<void> {
  const { lab } = soak;
  await empty(soak);
  t.pass('everything that was asked for is taken back');
  let more: string[] = [];
  const same = () => {
    more = grown(small, footprint(lab.node(1)));
    return more.length === 0;
  };
  await until('descriptors and children are as before', same, 10_000).catch(() => {});
  t.same(more, [], 'descriptors and children are as before');
  for (const [i, node] of lab.nodes.entries()) {
    await node.api.post('/v1/down');
    const after = await standing(node);
    t.same(missingLines(before[i] as string, after), [], `what others had on ${node.name} is there`);
    const left = missingLines(after, before[i] as string).filter((line) => /weft/i.test(line));
    t.same(left, [], `nothing of weft is left on ${node.name}`);
  }
}
