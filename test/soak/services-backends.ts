import { NODES } from '../support/mesh-lab.js';
import { resurrect } from './services-death.js';
import { allHealthy } from './services-health.js';
import { undrain } from './services-removal.js';
import { anyMoving, change, type Moving, type Services, tellAll, WAIT } from './services-world.js';
import type { Operation } from './soak.js';

/** Backends of the service that is called change and come back. */
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
    name: 'return',
    weight: 8,
    async run(soak, random) {
      const name = anyMoving(soak, random, 'out');
      if (!name) return undefined;
      await comeBack(soak, name);
      return name;
    },
  },
];

async function comeBack(soak: Services, name: Moving): Promise<void> {
  // A task is healthy once it can be reached, not before.
  await change(soak, name, { state: 'unhealthy' }, WAIT);
  if (soak.out.get(name) === 'drained') await undrain(soak, name);
  await change(soak, name, { state: 'active' });
  soak.out.delete(name);
  soak.flaps++;
}

/** Everything that moves is there again, and everybody knows. */
export async function allBack(soak: Services): Promise<void> {
  await resurrect(soak);
  for (const name of [...soak.out.keys()]) await comeBack(soak, name);
  await allHealthy(soak);
  // Draining a node concerned backends that nobody calls, too.
  for (const node of NODES) await soak.mesh.api(node).post('/v1/undrain', JSON.stringify({ node: `n${node}` }));
  await tellAll(soak);
}
