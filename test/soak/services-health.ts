import { patient, until } from '../support/lab.js';
import { NODES, type NodeNumber } from '../support/mesh-lab.js';
import type { Random } from './random.js';
import { type Row, type Services, tellAll } from './services-world.js';
import type { Operation } from './soak.js';

/*
 * Service probed, on a network of its own: its backends stop answering, are found out by the probes of the node that hosts
 * them, and are let back.
 */

const NETWORK = 'side';
const VIP = { 4: '10.22.0.200', 6: 'fd22::200' } as const;
const PORT = 81;
/** Containers of the mesh: their node and the last byte of their addresses. */
const PROBED = {
  b1: { node: 1, host: 21 },
  b2: { node: 1, host: 22 },
  f3: { node: 3, host: 25 },
} as const satisfies Record<string, { node: NodeNumber; host: number }>;
type Probed = keyof typeof PROBED;
const NAMES = Object.keys(PROBED) as Probed[];
const CALLERS = [1, 3] as const;

/** A probe of a machine that stands still for a while has not failed. */
const HEALTH = { type: 'tcp', port: PORT, interval: 0.5, timeout: 30, healthy: 1, unhealthy: 1 };
const SERVICE = { networks: [NETWORK], vips: { [NETWORK]: Object.values(VIP) } };
const WAIT = `wait=applied&timeoutMs=${patient(60_000)}`;

const addresses = (host: number): string[] => [`10.22.0.${host}`, `fd22::${host}`];
const backend = (name: string): string => `${name}:${NETWORK}`;
/** Endpoints of a container besides those of the service that is called. */
export const probedIdsOf = (name: string): string[] => (name in PROBED ? [backend(name)] : []);

/** Network, service, backends and callers; every agent has to run. */
export async function healthWorld(soak: Services): Promise<void> {
  const { mesh } = soak;
  for (const node of NODES) {
    const endpoints: Record<string, Row> = {};
    for (const name of NAMES)
      if (PROBED[name].node === node)
        endpoints[backend(name)] = { addresses: addresses(PROBED[name].host), service: 'probed' };
    if (node !== 2) endpoints[backend(`c${node}`)] = { addresses: addresses(10 + node) };
    await mesh.api(node).put(`/v1/wish?prune=false&${WAIT}`, {
      networks: { [NETWORK]: { subnets: ['10.22.0.0/24', 'fd22::/64'], vni: 4098 } },
      services: { probed: { ...SERVICE, health: HEALTH } },
      endpoints,
    });
  }
  await Promise.all(NAMES.map((name) => server(soak, name).serve(PORT)));
  await tellAll(soak);
  for (const name of NAMES) await found(soak, name, 'healthy');
}

const server = ({ mesh }: Services, name: Probed) => mesh.traffic(name, mesh.pin(PROBED[name].node, name));

/** Waits for the verdict of the probes. */
async function found({ mesh }: Services, name: Probed, verdict: 'healthy' | 'unhealthy'): Promise<void> {
  const path = `/v1/endpoints/${encodeURIComponent(backend(name))}`;
  const said = async () => (await mesh.api(PROBED[name].node).get<{ health?: { state: string } }>(path)).health?.state;
  await until(`${name} is found ${verdict}`, async () => (await said()) === verdict, 60_000);
}

export const HEALTH_OPERATIONS: readonly Operation<Services>[] = [
  {
    name: 'falls ill',
    weight: 1,
    async run(soak, random) {
      if (soak.dead.size > 0 || soak.ill.size > 1) return undefined;
      const name = random.pick(NAMES.filter((each) => !soak.ill.has(each))) as Probed;
      await server(soak, name).deafen(PORT);
      soak.ill.add(name);
      await found(soak, name, 'unhealthy');
      await tellAll(soak);
      await probedAnswers(soak, random);
      return name;
    },
  },
  {
    name: 'recovers',
    weight: 2,
    async run(soak, random) {
      const name = random.pick(NAMES.filter((each) => soak.ill.has(each) && !soak.dead.has(PROBED[each].node)));
      if (!name) return undefined;
      await recover(soak, name);
      return name;
    },
  },
];

async function recover(soak: Services, name: Probed): Promise<void> {
  await server(soak, name).serve(PORT);
  await found(soak, name, 'healthy');
  soak.ill.delete(name);
}

/** All of them answer again. */
export async function allHealthy(soak: Services): Promise<void> {
  for (const name of NAMES) if (soak.ill.has(name)) await recover(soak, name);
}

/** Those that are well answer, and nobody else is asked. @throws where a caller meets one that is ill */
async function probedAnswers({ mesh, ill }: Services, random: Random): Promise<void> {
  const node = random.pick(CALLERS) as NodeNumber;
  for (const of of [4, 6] as const) {
    const tally = await mesh.container(node).ask('tcp', VIP[of], PORT, 2 * NAMES.length, patient(20_000));
    const others = Object.keys(tally).filter((word) => {
      const [name] = word.split(' ') as [string];
      return !(name in PROBED) || ill.has(name);
    });
    if (others.length > 0) throw new Error(`${[...ill]} are ill, and c${node} was answered ${JSON.stringify(tally)}`);
  }
}

/** No verdict any more: nobody serves in containers that are made anew. */
export async function unprobed({ mesh }: Services): Promise<void> {
  await Promise.all(NODES.map((node) => mesh.wish(node, { services: { probed: SERVICE } })));
}
