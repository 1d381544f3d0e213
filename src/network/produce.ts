import { balanceClient, balanceNetwork, balanceService } from '../balance/assign.js';
import { isLocalScope } from '../model/network.js';
import { nameOf, SINGULAR, type Stored, TABLES, type Table, type Wish } from '../model/registry.js';
import type { Wanted } from '../reconcile/plan.js';
import { NODE_PRODUCER, PATHS_PRODUCER } from './affected.js';
import { gatewayBridge, gatewayLeg, hasGateway } from './gateway.js';
import { guard } from './guard.js';
import { ingressLeg } from './ingress.js';
import { returnElement, returnMap } from './overlay/returns.js';
import { pathRoutes } from './paths.js';
import { hostPorts } from './ports.js';
import { driverOf } from './registry.js';
import { resolverRules } from './resolver-rules.js';
import { endpointRoutes, endpointSettings } from './routing.js';
import { nodeRules } from './rules/node.js';
import { hasOwnNamespace, sandboxObjects } from './sandbox.js';
import { taskObjects } from './task.js';
import { taskFlows } from './task-flows.js';
import { udpFlows } from './udp-flows.js';
import { isHere, Wants, type World } from './world.js';

/** Names of all producers of a wish; each but two is an object of the wish. */
export function producers(wish: Wish): string[] {
  return [
    NODE_PRODUCER,
    PATHS_PRODUCER,
    ...TABLES.flatMap((table) => [...wish[table].values()].map((o: Stored) => nameOf(o))),
  ];
}

/** The kernel objects that a producer (`network/app`) stands for; none when it is not in the wish. */
export function produce(world: World, producer: string): Wanted[] {
  if (producer === NODE_PRODUCER) {
    const wants = new Wants(producer);
    produceNode(world, wants);
    return wants.list;
  }
  if (producer === PATHS_PRODUCER) {
    const wants = new Wants(producer);
    pathRoutes(world, wants);
    return wants.list;
  }
  const slash = producer.indexOf('/');
  const table = TABLES.find((t) => SINGULAR[t] === producer.slice(0, slash)) as Table;
  const stored = world.wish[table].get(producer.slice(slash + 1)) as Stored | undefined;
  if (!stored) return [];
  const wants = new Wants(producer);
  PRODUCE[table](world, stored as never, wants);
  return wants.list;
}

const PRODUCE: { [T in Table]: (world: World, stored: Stored<T>, wants: Wants) => void } = {
  networks(world, network, wants) {
    if (!isHere(world, network)) return;
    driverOf(network).network(world, network, wants);
    if (network.spec.ingress) {
      returnMap(world, network, wants);
      ingressLeg(world, network, wants);
    }
    if (isLocalScope(network.spec.driver)) return;
    balanceNetwork(world, network, wants);
  },
  sandboxes(world, sandbox, wants) {
    if (!hasOwnNamespace(sandbox)) return;
    sandboxObjects(world, sandbox, wants);
    if (hasGateway(world, sandbox.id)) gatewayLeg(world, sandbox, wants);
    taskObjects(world, sandbox, wants);
    taskFlows(world, sandbox, wants);
    resolverRules(world, sandbox, wants);
  },
  endpoints(world, endpoint, wants) {
    const network = world.wish.networks.get(endpoint.spec.network);
    if (!network) return;
    driverOf(network).endpoint(world, network, endpoint, wants);
    endpointRoutes(world, network, endpoint, wants);
    endpointSettings(endpoint, wants);
    if (!isLocalScope(network.spec.driver)) balanceClient(world, network, endpoint, wants);
  },
  peers(world, peer, wants) {
    const network = world.wish.networks.get(peer.spec.network);
    if (network && isHere(world, network)) driverOf(network).peer?.(world, network, peer, wants);
  },
  nodes(world, node, wants) {
    for (const id of Object.keys(node.spec.addresses)) {
      const network = world.wish.networks.get(id);
      if (!network || !isHere(world, network)) continue;
      driverOf(network).node?.(world, network, node, wants);
      if (network.spec.ingress) returnElement(network, node, wants);
    }
  },
  services: balanceService,
};

/** What the node has in all its objects' name: the gateway bridge, the guard, the rules of the IP layer. */
function produceNode(world: World, wants: Wants): void {
  guard(world, wants);
  gatewayBridge(world, wants);
  hostPorts(world, wants);
  nodeRules(world, wants);
  udpFlows(world, wants);
}
