// Writing a balancer's rules for many services into the kernel: by weft, and by nft from a file.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { nft, run } from '../lab/run.mjs';
import { BACKENDS, backend, NETWORK, serviceName, serviceSpec } from './rows.mjs';

const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));
const load = (file) => import(path.join(DIST, `${file}.js`));

const COUNT = 10_000;
const SELF = { name: 'here', vtep: '172.31.255.1', dataPathPort: 4789, addresses: { 4: '172.31.255.1' } };

/**
 * @param {string} directory for its pins
 * @returns sides that write the table of 10,000 services with 10 backends each into an empty namespace, in milliseconds:
 *   weft from the wish on (what should be there, plan, encode, send), nft from the text of the same table on
 */
export async function tableSides(directory) {
  const [{ loadNative }, { Spaces }, { RealKernel }, { Desired, Dirt }, { Pass }, { KINDS }, { produce }, { BODIES }] =
    await Promise.all(
      [
        'kernel/real/native',
        'kernel/real/spaces',
        'kernel/real/kernel',
        'reconcile/desired',
        'reconcile/pass',
        'objects/registry',
        'network/produce',
        'model/registry',
      ].map(load),
    );
  const spaces = new Spaces(loadNative(), path.join(directory, 'table'));
  const kernel = new RealKernel(spaces);
  const ns = `net-${NETWORK.name}`;
  const producers = [`network/${NETWORK.name}`, ...numbers(COUNT).map((n) => `service/${serviceName(n)}`)];
  let text;

  const inNamespace = async (write) => {
    spaces.create(ns);
    try {
      const began = performance.now();
      await write();
      const took = performance.now() - began;
      const table = run(spaces.seenAt(ns), ['nft', 'list', 'table', 'bridge', 'weft']);
      const written = table.match(/^\tchain svc-/gm)?.length;
      if (written !== COUNT) throw new Error(`${written} services were written, not ${COUNT}`);
      text ??= table;
      return took;
    } finally {
      spaces.remove(ns);
    }
  };

  const byWeft = async () => {
    const world = worldOf(wishOf(BODIES));
    const desired = new Desired(KINDS);
    const dirt = new Dirt();
    for (const producer of producers) {
      desired.set(
        producer,
        produce(world, producer).filter((wanted) => wanted.ns === ns && wanted.kind === 'nft'),
        dirt,
      );
    }
    kernel.begin();
    const { failed } = await new Pass(kernel, desired, () => undefined, dirt).run();
    kernel.passed();
    if (failed.length > 0) throw failed[0].error;
  };

  return {
    sides: {
      'weft.table': { scale: 'ms', measure: () => inNamespace(byWeft) },
      'nft.table': {
        scale: 'ms',
        async measure() {
          if (text === undefined) await inNamespace(byWeft);
          return inNamespace(() => nft(spaces.seenAt(ns), text));
        },
      },
    },
    stop: () => spaces.unmountIfEmpty(),
  };
}

const numbers = (count) => Array.from({ length: count }, (_, i) => i);

/** What the agent would hold, without what is on the way to it. */
function wishOf(bodies) {
  const stored = (table, id, spec) => [id, { table, id, origin: 'api', revision: 1, spec }];
  const body = (table, value) => bodies[table].parse(value);
  const network = { ...body('networks', { subnets: [NETWORK.subnet] }), vni: NETWORK.vni };
  const peers = numbers(COUNT).flatMap((n) =>
    numbers(BACKENDS).map((k) => {
      const { ip, mac, vtep } = backend(n, k);
      const value = { network: NETWORK.name, address: ip, mac, vtep, service: serviceName(n) };
      return stored('peers', `${vtep}/${ip}`, body('peers', value));
    }),
  );
  return {
    revision: 1,
    networks: new Map([stored('networks', NETWORK.name, network)]),
    sandboxes: new Map(),
    endpoints: new Map(),
    services: new Map(numbers(COUNT).map((n) => stored('services', serviceName(n), body('services', serviceSpec(n))))),
    nodes: new Map(),
    peers: new Map(peers),
  };
}

const worldOf = (wish) => ({
  wish,
  self: SELF,
  underlayMtu: 1500,
  smallPaths: new Map(),
  balancer: { name: 'nft', bridgeConntrack: false },
  nftInet: true,
  gateway: { 4: { subnet: '172.30.0.0/16', address: '172.30.0.1' } },
  number: (_space, _name, first) => first,
  resolverPorts: () => undefined,
  chosenPort: () => undefined,
});
