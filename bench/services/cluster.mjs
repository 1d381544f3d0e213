// Services of ten backends on the nodes of a cluster, as one of the nodes is told of them: a hundred backends are its own.

export const SANDBOXES = 100;
const BACKENDS = 10;
const FIRST_PORT = 10_000;
const NETWORKS = {
  app: { subnets: ['10.64.0.0/10'], vni: 4097 },
  ingress: { subnets: ['10.128.0.0/10'], vni: 4096, ingress: true },
};
const BASE = { app: (10 << 24) | (64 << 16), ingress: (10 << 24) | (128 << 16) };
/** Of the two networks' addresses: below it backends, from it VIPs, from the last the nodes. */
const [VIPS, NODES] = [0x200000, 0x300000];

const numbers = (count) => Array.from({ length: count }, (_, i) => i);
const bytesOf = (number) => [24, 16, 8, 0].map((shift) => (number >> shift) & 255);
const address = (network, offset) => bytesOf(BASE[network] + 256 + offset).join('.');
const serviceName = (n) => `s${n}`;
const number = (n, k) => n * BACKENDS + k;

const service = (n) => ({
  networks: ['app'],
  vips: { app: [address('app', VIPS + n)] },
  publish: [{ published: FIRST_PORT + n, target: 80 }],
});

/** The i-th sandbox is a backend of this service: of the first hundred, or of all there are in turn. */
const placeOf = (i, services) => ({ n: i % services, k: Math.floor(i / services) });
const isHere = (n, k, services) => k * services + n < SANDBOXES;

/** What the node is asked for itself. @param {{ node: string, vtep: string }} agent @param {number} services */
export function wish(agent, services) {
  const endpoints = numbers(SANDBOXES).flatMap((i) => {
    const { n, k } = placeOf(i, services);
    return Object.keys(NETWORKS).map((network) => [
      `b${i}:${network}`,
      { addresses: [address(network, number(n, k))], service: serviceName(n) },
    ]);
  });
  return {
    networks: NETWORKS,
    nodes: { [agent.node]: { vtep: agent.vtep, addresses: { ingress: [address('ingress', NODES)] } } },
    services: Object.fromEntries(numbers(services).map((n) => [serviceName(n), service(n)])),
    sandboxes: Object.fromEntries(numbers(SANDBOXES).map((i) => [`b${i}`, {}])),
    endpoints: Object.fromEntries(endpoints),
  };
}

/** Gossip about all other nodes and their backends. @param {number} services @param {number} nodes */
export function heard(services, nodes) {
  const row = (table, key, node, value) => `${JSON.stringify({ table, op: 'set', key, node, ltime: 1, value })}\n`;
  const others = numbers(nodes - 1).map((i) => ({ name: `other${i}`, vtep: `172.16.0.${i + 1}` }));
  const known = others.map(({ name, vtep }, i) =>
    row('nodes', name, name, { vtep, addresses: { ingress: [address('ingress', NODES + 1 + i)] } }),
  );
  const backends = numbers(services).flatMap((n) =>
    numbers(BACKENDS)
      .filter((k) => !isHere(n, k, services))
      .flatMap((k) => {
        const { name, vtep } = others[number(n, k) % others.length];
        return Object.keys(NETWORKS).map((network) => {
          const sandbox = `r${n}-${k}`;
          const value = { network, address: address(network, number(n, k)), vtep, service: serviceName(n), sandbox };
          return row('peers', `${name}/${sandbox}:${network}`, name, value);
        });
      }),
  );
  return [...known, ...backends].join('');
}
