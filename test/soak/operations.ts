import { WeftError } from '../../src/base/errors.js';
import type { LabNode } from '../support/lab.js';
import { until } from '../support/lab.js';
import { bodyOf, type Endpoint, type Extras, type Network, newExtras, type Sandbox } from './model.js';
import type { Random } from './random.js';
import { alive, anyAlive, type Operation, refused, type Soak } from './soak.js';

/** Port of a sandbox that published ports lead to. */
export const TARGET = 80;

/** Body of `PUT /v1/sandboxes/NAME`. */
export const sandboxBody = ({ ports }: Sandbox): object => ({
  ports: [...ports].map((published) => ({ published, target: TARGET })),
});

/** What an orchestrator does. */
export const OPERATIONS: readonly Operation[] = [
  {
    name: 'create network',
    weight: 5,
    async run(soak, random) {
      const network = soak.model.newNetwork(random);
      if (!network) return undefined;
      const node = anyAlive(soak, random);
      await askFor(soak, node, network);
      soak.model.networks.set(network.name, network);
      return `${network.name} ${JSON.stringify(bodyOf(network))} on ${node.name}`;
    },
  },
  {
    name: 'create bridge network',
    weight: 3,
    async run(soak, random) {
      const network = soak.model.newBridge(random);
      if (!network) return undefined;
      const node = anyAlive(soak, random);
      await askFor(soak, node, network);
      return `${network.name} ${JSON.stringify(bodyOf(network))} on ${node.name}`;
    },
  },
  {
    name: 'create network elsewhere too',
    weight: 2,
    async run(soak, random) {
      const network = random.pick([...soak.model.networks.values()].filter(({ driver }) => driver === 'overlay'));
      if (!network) return undefined;
      const node = anyAlive(soak, random);
      await askFor(soak, node, network);
      return `${network.name} on ${node.name}`;
    },
  },
  {
    name: 'remove network',
    weight: 3,
    async run(soak, random) {
      const { model, plane, lab } = soak;
      const network = random.pick(model.networks.values());
      if (!network || [...network.askedOf].some((number) => soak.dead.has(number))) return undefined;
      const { name } = network;
      const owners = [...network.askedOf].map((number) => lab.node(number));
      if (model.on(name).length > 0) {
        const user = owners.find(({ number }) => model.on(name).some((endpoint) => model.nodeOf(endpoint) === number));
        if (!user) return undefined;
        await refused('WEFT_IN_USE', user.api.delete(`/v1/networks/${name}`));
        return `${name} on ${user.name}: refused, it is in use`;
      }
      for (const owner of owners) await owner.api.delete(`/v1/networks/${name}`);
      model.networks.delete(name);
      // The name comes back with another VNI: everybody has to have heard that it was gone.
      for (const node of alive(soak)) {
        const gone = async () => {
          await plane.deliverAll(node);
          const { items } = await node.api.get<{ items: { id: string }[] }>('/v1/networks');
          return items.every(({ id }) => id !== name);
        };
        await until(`${node.name} knows that ${name} is gone`, gone, 10_000);
      }
      return name;
    },
  },
  {
    name: 'create sandbox',
    weight: 6,
    async run(soak, random) {
      const node = anyAlive(soak, random);
      const sandbox = soak.model.newSandbox(random, node.number);
      if (!sandbox) return undefined;
      await createSandbox(soak, node, sandbox);
      return `${sandbox.name} on ${node.name}`;
    },
  },
  {
    name: 'remove sandbox',
    weight: 3,
    async run(soak, random) {
      const sandbox = anySandbox(soak, random);
      if (!sandbox) return undefined;
      const node = soak.lab.node(sandbox.node);
      if (sandbox.endpoints.size > 0) await refused('WEFT_IN_USE', node.api.delete(`/v1/sandboxes/${sandbox.name}`));
      await removeSandbox(soak, sandbox);
      return `${sandbox.name} on ${node.name}`;
    },
  },
  {
    name: 'connect',
    weight: 24,
    async run(soak, random) {
      const sandbox = anySandbox(soak, random);
      const network = sandbox && random.pick(soak.model.open(sandbox));
      if (!sandbox || !network) return undefined;
      const addresses = soak.model.freeAddresses(random, network);
      const extras = newExtras(random, network);
      await connect(soak, sandbox, network, addresses, extras);
      return `${sandbox.name} to ${network.name} with ${addresses} ${JSON.stringify(extras)} on n${sandbox.node}`;
    },
  },
  {
    name: 'disconnect',
    weight: 12,
    async run(soak, random) {
      const sandbox = anySandbox(soak, random);
      const endpoint = sandbox && random.pick(sandbox.endpoints.values());
      if (!endpoint) return undefined;
      await disconnect(soak, sandbox, endpoint);
      return `${sandbox.name} from ${endpoint.network} on n${sandbox.node}`;
    },
  },
  {
    name: 'move',
    weight: 5,
    async run(soak, random) {
      const sandbox = anySandbox(soak, random);
      const to = random.pick(alive(soak).filter(({ number }) => number !== sandbox?.node));
      if (!sandbox || !to) return undefined;
      const from = sandbox.node;
      // A bridge network stays where it is.
      const isElsewhere = ({ network }: Endpoint) => soak.model.networks.get(network)?.driver === 'overlay';
      const endpoints = [...sandbox.endpoints.values()].filter(isElsewhere);
      await removeSandbox(soak, sandbox);
      const moved: Sandbox = { name: sandbox.name, node: to.number, endpoints: new Map(), ports: sandbox.ports };
      await createSandbox(soak, to, moved);
      for (const { network, addresses, extras } of random.shuffled(endpoints))
        await connect(soak, moved, soak.model.networks.get(network) as Network, addresses, extras);
      return `${sandbox.name} with ${endpoints.length} endpoints from n${from} to ${to.name}`;
    },
  },
  {
    name: 'change endpoint',
    weight: 4,
    async run(soak, random) {
      const sandbox = anySandbox(soak, random);
      const endpoint = sandbox && random.pick(sandbox.endpoints.values());
      const network = soak.model.networks.get(endpoint?.network ?? '');
      if (!sandbox || !endpoint || !network) return undefined;
      const extras = newExtras(random, network);
      await connect(soak, sandbox, network, endpoint.addresses, extras);
      return `${sandbox.name} on ${network.name} on n${sandbox.node}: ${JSON.stringify(extras)}`;
    },
  },
  {
    name: 'publish',
    weight: 4,
    async run(soak, random) {
      const sandbox = anySandbox(soak, random);
      const port = soak.model.freePort(random);
      if (!sandbox || port === undefined) return undefined;
      await soak.lab.node(sandbox.node).api.put(`/v1/sandboxes/${sandbox.name}/ports/tcp/${port}`, { target: TARGET });
      sandbox.ports.add(port);
      return `${port} of n${sandbox.node} leads to ${sandbox.name}`;
    },
  },
  {
    name: 'unpublish',
    weight: 3,
    async run(soak, random) {
      const sandbox = anySandbox(soak, random);
      const port = sandbox && random.pick(sandbox.ports);
      if (!sandbox || port === undefined) return undefined;
      await soak.lab.node(sandbox.node).api.delete(`/v1/sandboxes/${sandbox.name}/ports/tcp/${port}`);
      sandbox.ports.delete(port);
      return `${port} of n${sandbox.node} no longer leads to ${sandbox.name}`;
    },
  },
  {
    name: 'gossip',
    weight: 24,
    async run(soak, random) {
      const node = anyAlive(soak, random);
      return `${await soak.plane.deliver(node, random)} rows to ${node.name}`;
    },
  },
  {
    name: 'snapshot',
    weight: 1.5,
    async run(soak, random) {
      // A snapshot that lacks a node would take its rows away.
      if (soak.dead.size > 0) return undefined;
      const node = anyAlive(soak, random);
      await soak.plane.snapshot(node, alive(soak));
      return `to ${node.name}`;
    },
  },
];

/** A sandbox whose agent runs. */
function anySandbox({ model, dead }: Soak, random: Random): Sandbox | undefined {
  return random.pick([...model.sandboxes.values()].filter(({ node }) => !dead.has(node)));
}

async function askFor({ model }: Soak, node: LabNode, network: Network): Promise<void> {
  await node.api.put(`/v1/networks/${network.name}`, bodyOf(network));
  network.askedOf.add(node.number);
  model.networks.set(network.name, network);
}

export async function createSandbox({ model }: Soak, node: LabNode, sandbox: Sandbox): Promise<void> {
  await node.api.put(`/v1/sandboxes/${sandbox.name}`, sandboxBody(sandbox));
  model.sandboxes.set(sandbox.name, sandbox);
}

async function removeSandbox(soak: Soak, sandbox: Sandbox): Promise<void> {
  for (const endpoint of sandbox.endpoints.values()) await disconnect(soak, sandbox, endpoint);
  await soak.lab.node(sandbox.node).api.delete(`/v1/sandboxes/${sandbox.name}`);
  soak.model.sandboxes.delete(sandbox.name);
}

async function disconnect({ lab }: Soak, sandbox: Sandbox, { network }: Endpoint): Promise<void> {
  await lab.node(sandbox.node).api.delete(`/v1/endpoints/${sandbox.name}:${network}`);
  sandbox.endpoints.delete(network);
}

/** The node may not have heard of the network, or still have an old word of who had the address: it is told. */
export async function connect(
  soak: Soak,
  sandbox: Sandbox,
  network: Network,
  addresses: string[],
  extras: Extras,
): Promise<void> {
  const node = soak.lab.node(sandbox.node);
  let ifname = '';
  const done = async () => {
    try {
      ({ ifname } = await node.api.put<{ ifname: string }>(`/v1/endpoints/${sandbox.name}:${network.name}`, {
        addresses,
        ...extras,
      }));
      return true;
    } catch (error) {
      if (!(error instanceof WeftError) || !excusable(error)) throw error;
      if (error.code === 'WEFT_NOT_FOUND') await askFor(soak, node, network);
      else await soak.plane.deliverAll(node);
      return false;
    }
  };
  await until(`${addresses} are free for ${sandbox.name} on ${node.name}`, done, 10_000);
  sandbox.endpoints.set(network.name, { sandbox: sandbox.name, network: network.name, addresses, ifname, extras });
}

const excusable = ({ code, message }: WeftError): boolean =>
  (code === 'WEFT_NOT_FOUND' && message.includes('no network')) ||
  (code === 'WEFT_CONFLICT' && message.includes('belongs to peer'));
