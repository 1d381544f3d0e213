import { setTimeout as sleep } from 'node:timers/promises';
import { patient } from '../support/lab.js';
import { appAddress, ingressAddress, NODES, type NodeNumber, TARGET } from '../support/mesh-lab.js';
import type { Random } from './random.js';
import { schedulersOf } from './services-tuning.js';
import { type Services, WAIT } from './services-world.js';
import { anyAlive, type Operation } from './soak.js';

/** Services that come and go, each asked of one node; their VIPs and ports are theirs for good. */
const SERVICES = ['s1', 's2', 's3', 's4', 's5', 's6'] as const;
/** Containers that are backends of any of them, or of none: two on each node. */
const TASKS = NODES.flatMap((node) => [0, 1].map((i) => ({ name: `g${node}${i}`, node, host: 28 + 2 * node + i })));
type Task = (typeof TASKS)[number];

const ownerOf = (service: string): NodeNumber => NODES[SERVICES.indexOf(service as never) % NODES.length] as NodeNumber;

/** Which of them are there. */
const connected = new WeakMap<Services, Set<string>>();
const there = (soak: Services): Set<string> => {
  const known = connected.get(soak) ?? new Set();
  connected.set(soak, known);
  return known;
};

/** Sandboxes of the tasks. */
export async function noiseWorld({ mesh }: Services): Promise<void> {
  for (const node of NODES) {
    const mine = TASKS.filter((task) => task.node === node);
    await mesh.wish(node, { sandboxes: Object.fromEntries(mine.map(({ name }) => [name, {}])) });
  }
}

/** Milliseconds from one change of a node's backends to the next: there shall be 10 a second on three nodes. */
const PACE_MS = patient(200);
/** Share of them that wait until the kernel shows them: machines that cannot follow are asked for less. */
const WAITED = 0.2;

/** On each node backends of services that nobody calls change all the time, whatever else happens. */
export class Flapping {
  #running: Promise<unknown> | undefined;
  #rests = true;
  #turns = 0;
  #failure: unknown;

  constructor(
    readonly soak: Services,
    readonly random: Random,
  ) {}

  start(): void {
    this.#rests = false;
    this.#running = Promise.all(NODES.map((node) => this.#run(node))).catch((error) => {
      this.#failure = error;
    });
  }

  /** Waits for the last change. @throws what one failed with */
  async rest(): Promise<void> {
    this.#rests = true;
    await this.#running;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #run(node: NodeNumber): Promise<void> {
    while (!this.#rests && this.#failure === undefined) {
      const next = Date.now() + PACE_MS;
      await flap(this.soak, this.random.fork(this.#turns++), node);
      await sleep(next - Date.now());
    }
  }
}

async function flap(soak: Services, random: Random, node: NodeNumber): Promise<void> {
  const task = random.pick(TASKS.filter((each) => each.node === node));
  if (!task || soak.dead.has(node)) return;
  try {
    await flapTask(soak, random, task);
    soak.flaps++;
  } catch (error) {
    if (!soak.dead.has(task.node)) throw error;
    // Its agent was killed in the middle: whether it took it is not known, and stating it anew is right in any case.
    there(soak).delete(task.name);
  }
}

async function flapTask(soak: Services, random: Random, task: Task): Promise<void> {
  const api = soak.mesh.api(task.node);
  const wait = random.chance(WAITED) ? WAIT : '';
  if (there(soak).has(task.name) && random.chance(0.3)) {
    for (const id of idsOf(task)) await api.delete(`/v1/endpoints/${encodeURIComponent(id)}?${wait}`);
    there(soak).delete(task.name);
    return;
  }
  const changes = {
    service: random.pick(SERVICES),
    state: random.pick(['active', 'active', 'draining', 'unhealthy']),
    weight: random.int(10),
  };
  await api.put(`/v1/wish?prune=false&${wait}`, { endpoints: endpointsOf(task, changes) });
  there(soak).add(task.name);
}

/** What happens to services that nobody calls: anything, at any time. */
export const NOISE_OPERATIONS: readonly Operation<Services>[] = [
  {
    name: 'service',
    weight: 8,
    async run(soak, random) {
      const name = anyService(soak, random);
      if (!name) return undefined;
      const n = SERVICES.indexOf(name);
      const spec = {
        networks: ['app'],
        vips: { app: [appAddress(211 + n, 4), `fd20::21${n}`] },
        scheduler: random.pick(schedulersOf(soak)),
        affinity: random.pick([0, 0, 60]),
        preferLocal: random.chance(0.2),
        clientIp: random.pick(['preserve', 'preserve', 'snat']),
        udpDrain: random.pick(['move', 'keep']),
        publish: random.chance(0.5) ? [{ published: 8100 + n, target: TARGET }] : [],
        mode: random.chance(0.2) ? 'dnsrr' : 'vip',
      };
      const body = spec.mode === 'dnsrr' ? { ...spec, vips: {}, publish: [] } : spec;
      await soak.mesh.api(ownerOf(name)).put(`/v1/services/${name}`, body);
      return `${name} ${JSON.stringify(body)}`;
    },
  },
  {
    name: 'no service',
    weight: 4,
    async run(soak, random) {
      const name = anyService(soak, random);
      if (!name) return undefined;
      const api = soak.mesh.api(ownerOf(name));
      const { items } = await api.get<{ items: { id: string }[] }>('/v1/services');
      if (!items.some(({ id }) => id === name)) return undefined;
      await api.delete(`/v1/services/${name}?${WAIT}`);
      return name;
    },
  },
  {
    name: 'gossip',
    weight: 20,
    async run(soak, random) {
      const node = anyAlive(soak, random);
      return `${await soak.plane.deliver(node, random)} rows to ${node.name}`;
    },
  },
];

const idsOf = ({ name }: Task): string[] => [`${name}:app`, `${name}:ingress`];

const endpointsOf = ({ name, host }: Task, changes: object): Record<string, object> => ({
  [`${name}:app`]: { addresses: [appAddress(host, 4), appAddress(host, 6)], ...changes },
  [`${name}:ingress`]: { addresses: [ingressAddress(host, 4), ingressAddress(host, 6)], ...changes },
});

const anyService = ({ dead }: Services, random: Random) =>
  random.pick(SERVICES.filter((name) => !dead.has(ownerOf(name))));
