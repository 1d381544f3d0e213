import { setTimeout as sleep } from 'node:timers/promises';
import type { LabNode } from '../support/lab.js';
import type { Random } from './random.js';
import { alive, type Cluster, type Operation } from './soak.js';

/** What happens to agents. Only one is dead at a time; the first is spared, so that its memory can be watched. */
export const AGENT_OPERATIONS: readonly Operation<Cluster>[] = [
  {
    name: 'kill -9',
    weight: 1,
    async run(soak, random) {
      const node = anyMortal(soak, random);
      if (!node) return undefined;
      soak.dead.add(node.number);
      await node.kill9();
      return node.name;
    },
  },
  {
    name: 'stop and start',
    weight: 0.5,
    async run(soak, random) {
      const node = anyMortal(soak, random);
      if (!node) return undefined;
      soak.dead.add(node.number);
      const status = await node.stop();
      if (status !== 0) throw new Error(`the agent of ${node.name} ended with ${status}`);
      await revive(soak, node);
      return node.name;
    },
  },
  {
    name: 'start',
    weight: 10,
    async run(soak, random) {
      const number = random.pick(soak.dead);
      if (number === undefined) return undefined;
      await revive(soak, soak.lab.node(number));
      return `n${number}`;
    },
  },
];

export const KILL_IN_THE_MIDDLE: Operation = {
  name: 'kill -9 in the middle',
  weight: 1,
  async run(soak, random) {
    const node = anyMortal(soak, random);
    const sandbox = random.pick(soak.model.at(node?.number ?? 0));
    const network = sandbox && random.pick(soak.model.open(sandbox));
    if (!node || !sandbox || !network) return undefined;
    const addresses = soak.model.freeAddresses(random, network);
    const answered = node.api
      .put(`/v1/endpoints/${sandbox.name}:${network.name}`, { addresses })
      .then(() => 'done')
      // Refused or cut off: what became of it, the agent says when it is back.
      .catch(() => 'open');
    await sleep(random.int(30));
    soak.dead.add(node.number);
    await node.kill9();
    const outcome = await answered;
    await revive(soak, node);
    const { items } = await node.api.get<{ items: { id: string; ifname: string; addresses: string[] }[] }>(
      '/v1/endpoints',
    );
    const found = items.find(({ id }) => id === `${sandbox.name}:${network.name}`);
    if (outcome === 'done' && !found) throw new Error(`${sandbox.name}:${network.name} was acknowledged and is lost`);
    if (found)
      sandbox.endpoints.set(network.name, {
        sandbox: sandbox.name,
        network: network.name,
        addresses,
        ifname: found.ifname,
        extras: { routes: [], bandwidth: {} },
      });
    return `${node.name} while it connects ${sandbox.name} to ${network.name} with ${addresses}: ${found ? 'kept' : 'not taken'}`;
  },
};

/** Starts an agent again; the control plane tells it everything anew. */
export async function revive(soak: Cluster, node: LabNode): Promise<void> {
  await node.start();
  soak.dead.delete(node.number);
  soak.plane.hear(node);
  await soak.plane.snapshot(node, alive(soak));
}

export function anyMortal(soak: Cluster, random: Random): LabNode | undefined {
  if (soak.dead.size > 0) return undefined;
  return random.pick(soak.lab.nodes.filter(({ number }) => number !== 1));
}
