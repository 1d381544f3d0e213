import { SCHEDULERS } from '../../src/model/service.js';
import { changeWeb, type Services } from './services-world.js';
import type { Operation } from './soak.js';

/** Schedulers that balancer `nft` cannot do, and refuses. */
const BY_COUNT: readonly string[] = ['lc', 'wlc'];

export const schedulersOf = ({ balancer }: Services): string[] =>
  SCHEDULERS.filter((name) => balancer === 'ipvs' || !BY_COUNT.includes(name));

/** How the service that is called is balanced changes; what has begun stays. */
export const RETUNE: Operation<Services> = {
  name: 'retune',
  weight: 3,
  async run(soak, random) {
    // All nodes are told over their sockets.
    if (soak.dead.size > 0) return undefined;
    const how = {
      scheduler: random.pick(schedulersOf(soak)),
      affinity: random.pick([0, 0, 2, 600]),
      preferLocal: random.chance(0.3),
      ports: random.chance(0.5) ? [{ port: 9001, target: 80 }] : [],
    };
    await changeWeb(soak, how);
    return `web ${JSON.stringify(how)}`;
  },
};
