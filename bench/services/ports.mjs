// What a connection waits whose port is one of many that a node publishes.
import { plugHost } from '../lab/underlay.mjs';
import { Agent, APPLIED } from '../lab/weft.mjs';

const FIRST = 10_000;
const TARGET = 80;
const NETWORK = { subnets: ['10.20.0.0/16'], vni: 4097 };
const INGRESS = { subnets: ['10.0.0.0/16'], vni: 4096, ingress: true };
/** Services of the first and the last port; rules stand in the order of names. */
const [ALPHA, OTHERS, OMEGA] = ['alpha', 'others', 'zulu'];

/**
 * A node that publishes `count` TCP ports and as many UDP ports: the first TCP port is of a service with a task, the last
 * of another, and all between of a third that has none.
 * @param {string} name @param {number} host last byte of its address @param {number} count
 */
export async function portsSides(name, host, count, { directory, cpus, ApiClient }, traffic) {
  const agent = new Agent(name, plugHost(name, host), directory, cpus);
  await agent.ready(ApiClient);
  const last = FIRST + count - 1;
  const between = Array.from({ length: count - 2 }, (_, i) => FIRST + 1 + i);
  const tcp = (published) => ({ published, target: TARGET });
  const service = (n, publish) => ({ networks: ['app'], vips: { app: [`10.20.1.${n}`] }, publish });
  const all = [FIRST, ...between, last];
  const task = (id, n, network) => [
    `${id}:${network}`,
    { addresses: [`${network === 'app' ? '10.20' : '10.0'}.0.${n}`], service: id },
  ];
  await agent.api.put(`/v1/wish${APPLIED}&prune=false`, {
    networks: { app: NETWORK, ingress: INGRESS },
    nodes: { [name]: { vtep: agent.vtep, addresses: { ingress: ['10.0.2.1'] } } },
    services: {
      [ALPHA]: service(1, [tcp(FIRST)]),
      [OTHERS]: service(2, [...between.map(tcp), ...all.map((published) => ({ ...tcp(published), proto: 'udp' }))]),
      [OMEGA]: service(3, [tcp(last)]),
    },
    sandboxes: { [ALPHA]: {}, [OMEGA]: {} },
    endpoints: Object.fromEntries(
      [ALPHA, OMEGA].flatMap((id, i) => ['app', 'ingress'].map((network) => task(id, 11 + i, network))),
    ),
  });
  for (const id of [ALPHA, OMEGA]) await traffic.serve(agent.box(id));
  // A server of the node itself: its packets meet the rules about what is addressed to the node.
  await traffic.serve(name);
  const side = (measure) => ({ scale: 'us', measure });
  return {
    sides: {
      [`${count} first`]: side(() => traffic.connect('outside', agent.vtep, FIRST)),
      [`${count} last`]: side(() => traffic.connect('outside', agent.vtep, last)),
      [`${count} node`]: side(() => traffic.established('outside', agent.vtep)),
    },
    stop: () => agent.stop(),
  };
}
