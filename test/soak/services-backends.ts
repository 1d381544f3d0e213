import { NODES, type NodeNumber, PUBLISHED, TARGET } from '../support/mesh-lab.js';
import { anyMortal, revive } from './agents.js';
import {
  anyMoving,
  change,
  disconnect,
  type MOVING,
  movingOn,
  type Services,
  tellAll,
  turn,
  WAIT,
} from './services-world.js';
import type { Operation } from './soak.js';

/** What happens to the service that is called. */
export const BACKEND_OPERATIONS: readonly Operation<Services>[] = [
  {
    name: 'flap',
    weight: 40,
    async run(soak, random) {
      const name = anyMoving(soak, random, 'in');
      if (!name) return undefined;
      const changes = random.chance(0.3) ? { state: 'draining' } : { weight: random.int(8) };
      await change(soak, name, changes);
      soak.flaps++;
      return `${name} ${JSON.stringify(changes)}`;
    },
  },
  {
    name: 'retire',
    weight: 3,
    async run(soak, random) {
      const name = soak.dead.size > 0 ? undefined : anyMoving(soak, random, 'in');
      if (!name) return undefined;
      // As a rolling update does: no new connections first, then those that began before are through, then it goes.
      await change(soak, name, { state: 'draining' }, WAIT);
      await tellAll(soak);
      await turn(soak);
      const how = random.chance(0.5) ? 'unhealthy' : 'disconnected';
      await soak.judge.during([name], false, async () => {
        await (how === 'unhealthy' ? change(soak, name, { state: how }, WAIT) : disconnect(soak, name));
        await tellAll(soak);
      });
      soak.out.set(name, how);
      soak.flaps++;
      return `${name}: ${how}`;
    },
  },
  {
    name: 'return',
    weight: 8,
    async run(soak, random) {
      const name = anyMoving(soak, random, 'out');
      if (!name) return undefined;
      await comeBack(soak, name);
      return name;
    },
  },
  {
    name: 'publish',
    weight: 2,
    async run(soak, random) {
      // All nodes were told of web over their sockets, and are told of its ports in the same way.
      if (soak.dead.size > 0) return undefined;
      const more = [8090, 8091, 8092].filter(() => random.chance(0.5));
      await soak.mesh.service({ publish: [PUBLISHED, ...more].flatMap(bothProtocols) });
      return `web at ${more} too`;
    },
  },
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
      await soak.judge.during(movingOn(number), true, () => soak.mesh.declare(number, false, living(soak)));
      if (!killFirst) await node.kill9();
      soak.buried.add(number);
      return `${node.name}, ${killFirst ? 'killed and then' : 'then killed,'} said to be dead`;
    },
  },
];

const bothProtocols = (published: number) =>
  (['tcp', 'udp'] as const).map((proto) => ({ published, target: TARGET, proto }));

/** Nodes with an agent, by number. */
const living = ({ dead }: Services): NodeNumber[] => NODES.filter((i) => !dead.has(i));

async function comeBack(soak: Services, name: keyof typeof MOVING): Promise<void> {
  // A task is healthy once it can be reached, not before.
  await change(soak, name, { state: 'unhealthy' }, WAIT);
  await change(soak, name, { state: 'active' });
  soak.out.delete(name);
  soak.flaps++;
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

/** Everything that moves is there again, and everybody knows. */
export async function allBack(soak: Services): Promise<void> {
  await resurrect(soak);
  for (const name of [...soak.out.keys()]) await comeBack(soak, name);
  await tellAll(soak);
}
