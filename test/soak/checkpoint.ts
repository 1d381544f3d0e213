import { until } from '../support/lab.js';
import { lost } from '../support/overlay.js';
import { revive } from './agents.js';
import { differences, MTU } from './expectations.js';
import { type Endpoint, familyOf, type Network } from './model.js';
import { published } from './published.js';
import type { Random } from './random.js';
import { alive, type Cluster, type Soak } from './soak.js';

/** What nobody tells is found by the sweep, every 30 s. */
const SETTLED_MS = 60_000;
const PINGS = 6;
/** Bytes of IP and ICMP. */
const HEADERS = { 4: 28, 6: 48 } as const;

/** All agents run, all know of all, and nothing is left to do: then the kernels are as the model says, and carry traffic. */
export async function checkpoint(soak: Soak, random: Random): Promise<void> {
  for (const number of [...soak.dead]) await revive(soak, soak.lab.node(number));
  for (const node of soak.lab.nodes) await soak.plane.snapshot(node, alive(soak));
  await settled(soak);
  for (let i = 0; i < PINGS; i++) await ping(soak, random);
  await published(soak, random);
}

/** Waits until the kernels are as the model says. @throws with each difference that stays */
export async function settled(soak: Soak): Promise<void> {
  let left: string[] = [];
  try {
    await until(
      'kernel = wish',
      async () => {
        left = await differences(soak);
        return left.length === 0;
      },
      SETTLED_MS,
    );
  } catch (error) {
    throw new Error([(error as Error).message, ...left].join('\n  '));
  }
}

/** Two endpoints of one network, of one node or of two, whole packets. */
async function ping({ model, lab }: Soak, random: Random): Promise<void> {
  const from = random.pick(model.endpoints());
  const others = model.on(from?.network ?? '').filter(({ sandbox }) => sandbox !== from?.sandbox);
  const to = random.pick(others);
  if (!from || !to) return;
  const place = (endpoint: Endpoint) => `${endpoint.sandbox} on n${model.nodeOf(endpoint)}`;
  const mtu = MTU[(model.networks.get(from.network) as Network).driver];
  for (const ip of to.addresses) {
    const options = ['-s', String(mtu - HEADERS[familyOf(ip)]), '-M', 'do'];
    if ((await lost(lab.node(model.nodeOf(from)), from.sandbox, ip, 2, '-i', '0.2', ...options)) < 2) continue;
    throw new Error(`${place(from)} does not reach ${place(to)} at ${ip} on ${from.network}`);
  }
}

/** An agent that starts again finds everything as wished. @throws where it changes anything */
export async function restartChangesNothing(soak: Cluster, random: Random): Promise<void> {
  const node = random.pick(soak.lab.nodes.filter(({ number }) => number !== 1));
  if (!node) return;
  const from = node.log().length;
  soak.dead.add(node.number);
  await node.kill9();
  await revive(soak, node);
  const said = /adopted \d+ objects, (\d+) changes/.exec(node.log().slice(from));
  if (said?.[1] !== '0') throw new Error(`${node.name} was as wished, and yet when started again it ${said?.[0]}`);
}
