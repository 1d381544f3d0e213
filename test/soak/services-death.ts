import { NODES, type NodeNumber, TARGET } from '../support/mesh-lab.js';
import { anyMortal, revive } from './agents.js';
import { breaks, movingOn, type Services, server } from './services-world.js';
import type { Operation } from './soak.js';

/** Nodes die under load. */
export const DEATH_OPERATIONS: readonly Operation<Services>[] = [
  {
    name: 'node dies',
    weight: 1,
    async run(soak, random) {
      const node = anyMortal(soak, random);
      if (!node) return undefined;
      const number = node.number as NodeNumber;
      soak.dead.add(number);
      const killFirst = random.chance(0.5);
      if (killFirst) await node.kill9();
      await breaks(soak, { backends: movingOn(number), sudden: true }, async () => {
        await soak.mesh.declare(number, false, living(soak));
        if (!killFirst) await node.kill9();
        // The containers beside them were told nothing, and are with them until now.
        await forgetClients(soak, number);
      });
      soak.buried.add(number);
      return `${node.name}, ${killFirst ? 'killed and then' : 'then killed,'} said to be dead`;
    },
  },
];

/** Nodes with an agent, by number. */
const living = ({ dead }: Services): NodeNumber[] => NODES.filter((i) => !dead.has(i));

/** Connections with backends of a node are gone, and it does not know. */
async function forgetClients(soak: Services, node: NodeNumber): Promise<void> {
  for (const name of movingOn(node)) await server(soak, name).renew(TARGET);
}

/** Agents of dead nodes run again; those that were said to be dead are not any more. */
export async function resurrect(soak: Services): Promise<void> {
  for (const number of [...soak.dead]) await revive(soak, soak.lab.node(number));
  for (const number of [...soak.buried]) {
    await soak.mesh.declare(number, true);
    soak.buried.delete(number);
  }
}

export const RESURRECT: Operation<Services> = {
  name: 'resurrect',
  weight: 6,
  async run(soak) {
    const names = [...soak.dead, ...soak.buried];
    if (names.length === 0) return undefined;
    await resurrect(soak);
    return `n${[...new Set(names)]}`;
  },
};
