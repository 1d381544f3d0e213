// Writing a balancer's objects for many services into the kernel: by weft, and by the tool that restores them from text.
import path from 'node:path';
import { load } from '../lab/dist.mjs';
import { ip, run } from '../lab/run.mjs';
import { BACKENDS, backend, NETWORK, serviceName, serviceSpec } from './rows.mjs';

const SELF = { name: 'here', vtep: '172.31.255.1', dataPathPort: 4789, addresses: { 4: '172.31.255.1' } };
const NS = `net-${NETWORK.name}`;

/**
 * @typedef {object} Form how a balancer's services look to its own tool
 * @property {'nft' | 'ipvs'} balancer
 * @property {readonly string[]} kinds of kernel objects
 * @property {number} count of services
 * @property {(ns: string) => string} save all of them as text
 * @property {(text: string) => number} services how many there are in it
 * @property {(ns: string, text: string) => void} restore
 */

/**
 * What `nft list` (1.0.6) says, as `nft -f` takes it: keys that are compared with numbers and bits of the packet it declares
 * by their types, and then refuses; rules that read quoted headers it does not take back, and those that remember a flow
 * abort it. Of 40,000 statements for 10,000 services it is let off some twenty.
 */
const RELOADABLE = [
  [/(map slot4 \{\s+)type .*/, '$1typeof ip daddr . numgen inc mod 2 : meta mark'],
  [/(map frags4 \{\s+)typeof .*/, '$1typeof ip saddr . ip daddr . ip id . ip protocol : ether saddr'],
  [/^.*@th,.*\n/gm, ''],
  [/^.*(?:update|delete) @(?:flows|closing|talks)4 .*\n/gm, ''],
];

/** @type {Form} a chain `svc-…` for each service */
const TABLE = {
  balancer: 'nft',
  kinds: ['nft'],
  count: 10_000,
  save: (ns) =>
    RELOADABLE.reduce(
      (text, [what, words]) => text.replace(what, words),
      run(ns, ['nft', 'list', 'table', 'bridge', 'weft']),
    ),
  services: (text) => text.match(/^\tchain svc-/gm)?.length ?? 0,
  restore: (ns, text) => run(ns, ['nft', '-f', '-'], text),
};

/** @type {Form} a virtual server for streams, and one for datagrams; weft writes the table that leads to them as well */
const SERVERS = {
  balancer: 'ipvs',
  kinds: ['virtual-server', 'real-server', 'nft'],
  count: 2000,
  save: (ns) => run(ns, ['ipvsadm', '--save', '-n']),
  services: (text) => (text.match(/^-A -f /gm)?.length ?? 0) / 2,
  restore: (ns, text) => run(ns, ['ipvsadm', '--restore'], text),
};

/** @param {string} directory for its pins @returns sides `weft.table` and `nft.table`: 10,000 services */
export async function tableSides(directory) {
  const { byWeft, byTool, stop } = await writers(TABLE, directory);
  return { sides: { 'weft.table': byWeft, 'nft.table': byTool }, stop };
}

/** @param {string} directory for its pins @returns sides `weft.servers` and `ipvsadm.servers`: 2,000 services */
export async function serverSides(directory) {
  const { byWeft, byTool, stop } = await writers(SERVERS, directory);
  return { sides: { 'weft.servers': { ...byWeft, most: 5 }, 'ipvsadm.servers': { ...byTool, most: 5 } }, stop };
}

/**
 * @param {Form} form @param {string} directory
 * @returns sides that write services with 10 backends each into an empty namespace, in milliseconds: weft from the wish on
 *   (what should be there, plan, encode, send), the tool from the text of the same on
 */
async function writers({ balancer, kinds, count, save, services, restore }, directory) {
  const [{ loadNative }, { Spaces }, { RealKernel }, { Desired, Dirt }, { Pass }, { KINDS }, { produce }, { BODIES }] =
    await load([
      'kernel/real/native',
      'kernel/real/spaces',
      'kernel/real/kernel',
      'reconcile/desired',
      'reconcile/pass',
      'objects/registry',
      'network/produce',
      'model/registry',
    ]);
  const spaces = new Spaces(loadNative(), path.join(directory, balancer));
  const kernel = new RealKernel(spaces);
  const producers = [`network/${NETWORK.name}`, ...numbers(count).map((n) => `service/${serviceName(n)}`)];
  let text;

  const inNamespace = async (write) => {
    spaces.create(NS);
    try {
      // IPVS takes addresses only where there is a routing table.
      ip(spaces.seenAt(NS), 'link set lo up');
      const began = performance.now();
      await write(spaces.seenAt(NS));
      const took = performance.now() - began;
      const saved = save(spaces.seenAt(NS));
      const written = services(saved);
      if (written !== count) throw new Error(`${written} services were written, not ${count}`);
      text ??= saved;
      return took;
    } finally {
      spaces.remove(NS);
    }
  };

  const byWeft = async () => {
    const world = worldOf(wishOf(BODIES, count), balancer);
    const desired = new Desired(KINDS);
    const dirt = new Dirt();
    for (const producer of producers) {
      desired.set(
        producer,
        produce(world, producer).filter((wanted) => wanted.ns === NS && kinds.includes(wanted.kind)),
        dirt,
      );
    }
    kernel.begin();
    const { failed } = await new Pass(kernel, desired, () => undefined, dirt).run();
    kernel.passed();
    if (failed.length > 0) throw failed[0].error;
  };

  return {
    byWeft: { scale: 'ms', measure: () => inNamespace(byWeft) },
    byTool: {
      scale: 'ms',
      async measure() {
        if (text === undefined) await inNamespace(byWeft);
        return inNamespace((ns) => restore(ns, text));
      },
    },
    stop: () => spaces.unmountIfEmpty(),
  };
}

const numbers = (count) => Array.from({ length: count }, (_, i) => i);

/** What the agent would hold, without what is on the way to it. */
function wishOf(bodies, count) {
  const stored = (table, id, spec) => [id, { table, id, origin: 'api', revision: 1, spec }];
  const body = (table, value) => bodies[table].parse(value);
  const network = { ...body('networks', { subnets: [NETWORK.subnet] }), vni: NETWORK.vni };
  const peers = numbers(count).flatMap((n) =>
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
    services: new Map(numbers(count).map((n) => stored('services', serviceName(n), body('services', serviceSpec(n))))),
    nodes: new Map(),
    peers: new Map(peers),
  };
}

function worldOf(wish, name) {
  const given = new Map();
  return {
    wish,
    self: SELF,
    underlayMtu: 1500,
    smallPaths: new Map(),
    balancer: { name, bridgeConntrack: false, hash: true },
    nftInet: true,
    gateway: { 4: { subnet: '172.30.0.0/16', address: '172.30.0.1' } },
    number(space, name, first) {
      const id = `${space} ${name}`;
      if (!given.has(id)) given.set(id, first + given.size);
      return given.get(id);
    },
    resolverPorts: () => undefined,
    chosenPort: () => undefined,
  };
}
