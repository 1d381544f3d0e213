import fc from 'fast-check';
import { WeftError } from '../../src/base/errors.js';
import { type Stored, TABLES, type Table, type Wish } from '../../src/model/registry.js';
import { SCHEDULERS } from '../../src/model/service.js';
import { Cursors } from '../../src/state/allocate.js';
import { prepare } from '../../src/state/prepare.js';
import { NO_SURROUNDINGS } from '../../src/state/surroundings.js';
import { MutableWish } from '../../src/state/wish.js';
import { probeNetns, SELF } from '../support/store.js';

/** What an orchestrator might state: bodies by table and id. */
export type Bodies = Partial<Record<Table, Record<string, unknown>>>;

const NETWORKS = ['a', 'b', 'in'] as const;
const SANDBOXES = ['s1', 's2', 's3'] as const;
const SUBNET: Record<string, string> = {
  a: '10.20.0',
  b: '10.21.0',
  in: '10.255.0',
  br: '10.22.0',
  mv: '10.23.0',
};
/** Networks of one node, one a driver, with what each may state. */
const LOCAL: Record<string, fc.Arbitrary<Record<string, unknown>>> = {
  br: fc.record({
    driver: fc.constant('bridge'),
    subnets: fc.constant(['10.22.0.0/24', 'fd22::/64']),
    internal: fc.boolean(),
    options: fc.constantFrom({}, { icc: 'false', name: 'mybr' }, { egress: '192.168.71.1', masquerade: 'true' }),
  }),
  mv: fc.record({
    driver: fc.constant('macvlan'),
    subnets: fc.constant(['10.23.0.0/24']),
    // Of FOREIGN: a kernel may have no dummy to stand on.
    options: fc.constantFrom({ parent: 'docker0' }, { parent: 'docker0', mode: 'private' }),
  }),
  host: fc.constant({ driver: 'host' }),
  none: fc.constant({ driver: 'none' }),
};
const ALL = [...NETWORKS, ...Object.keys(LOCAL)];
const SUBNET6: Record<string, string> = { a: 'fd20::', b: 'fd21::', in: 'fd25::', br: 'fd22::' };
const VTEPS = ['192.168.72.1', '192.168.73.1'] as const;

/** Hosts of a subnet: few, so that things meet. */
const host = fc.integer({ min: 2, max: 12 });
const address = (network: string, n: number): string => `${SUBNET[network]}.${n}`;
const addressesOf = (network: string, n: number, dual: boolean): string[] => {
  const six = SUBNET6[network];
  return network in SUBNET ? [address(network, n), ...(dual && six ? [`${six}${n}`] : [])] : [];
};
/** Some of the ids, each with its body. */
const some = <T>(ids: readonly string[], body: (id: string) => fc.Arbitrary<T>): fc.Arbitrary<Record<string, T>> =>
  fc.subarray([...ids]).chain((chosen) => fc.record(Object.fromEntries(chosen.map((id) => [id, body(id)]))));

const weights = fc.record({
  weight: fc.constantFrom(0, 1, 3),
  state: fc.constantFrom('active', 'draining', 'unhealthy'),
  service: fc.constantFrom('web', 'api'),
});

const bandwidth = fc.constantFrom({}, { toSandbox: 50e6 }, { fromSandbox: 2e6 }, { toSandbox: 4e6, fromSandbox: 4e6 });

/** Ports of sandboxes; one of them is a service's too. */
const PORTS = [
  { published: 7000, publishedEnd: 7002, target: 80, proto: 'udp' },
  { published: 7000, target: 80, hostIp: '192.0.2.1', allow: ['198.51.100.0/24'] },
  { published: 8080, target: 80 },
];

/**
 * Generators of bodies, one a table. They may contradict one another (an address twice, an endpoint without its
 * network): what the checks refuse is left out of the wish.
 */
const BODIES: { readonly [T in Table]: fc.Arbitrary<Record<string, unknown>> } = {
  networks: some(
    ALL,
    (id) =>
      LOCAL[id] ??
      fc.record({
        subnets: fc.constantFrom([`${SUBNET[id]}.0/24`], [`${SUBNET[id]}.0/24`, `${SUBNET6[id]}/64`]),
        options: id === 'in' ? fc.constant({}) : fc.constantFrom({}, { broadcast: 'true' }),
        vni: fc.constantFrom(4096 + NETWORKS.indexOf(id as 'a'), 5000 + NETWORKS.indexOf(id as 'a')),
        ipRanges: fc.constant([`${SUBNET[id]}.128/25`]),
        ingress: fc.constant(id === 'in'),
        internal: fc.boolean(),
      }),
  ),
  sandboxes: some(SANDBOXES, (id) => {
    const own = fc.record({ ports: fc.subarray(PORTS) });
    return id === 's3'
      ? fc.oneof(
          own,
          own.map((rest) => ({ ...rest, share: 's1' })),
          fc.constant({ host: true }),
        )
      : own;
  }),
  endpoints: some(
    SANDBOXES.flatMap((sandbox) => ALL.map((network) => `${sandbox}:${network}`)),
    (id) =>
      fc.tuple(host, fc.boolean(), fc.option(weights, { nil: {} }), bandwidth).map(([n, dual, rest, bandwidth]) => ({
        addresses: addressesOf(id.split(':')[1] as string, n, dual),
        // Where there is an end on the node.
        bandwidth: /:(mv|host|none)$/.test(id) ? {} : bandwidth,
        routes: n === 7 ? [{ dst: '10.98.0.0/16', type: 'blackhole' }] : [],
        gwPriority: n % 3,
        defaultRoute: n !== 5,
        ...rest,
      })),
  ),
  peers: some(
    NETWORKS.flatMap((network) => [1, 2, 3].map((n) => `n2/x${n}:${network}`)),
    (id) =>
      fc
        .tuple(host, fc.boolean(), fc.constantFrom(...VTEPS), fc.option(weights, { nil: {} }))
        .map(([n, dual, vtep, rest]) => {
          const network = id.split(':')[1] as string;
          const [ip, addressV6] = addressesOf(network, n, dual);
          return { network, address: ip, ...(addressV6 !== undefined && { addressV6 }), vtep, ...rest };
        }),
  ),
  nodes: some(['n1', 'n2', 'n3'], (id) =>
    fc.record({
      vtep: fc.constant(`192.168.7${id[1]}.1`),
      alive: fc.boolean(),
      addresses: fc.constantFrom({}, { in: [`10.255.0.10${id[1]}`] }),
    }),
  ),
  services: some(['web', 'api'], (id) =>
    fc.record({
      networks: fc.subarray(['a', 'b'], { minLength: 1 }),
      mode: fc.constantFrom('vip', 'dnsrr'),
      scheduler: fc.constantFrom(...SCHEDULERS),
      affinity: fc.constantFrom(0, 60),
      preferLocal: fc.boolean(),
      ports: fc.subarray([{ port: 53, target: 5353, proto: 'udp' }]),
      publish: fc.subarray([
        { published: id === 'web' ? 8080 : 9090, target: 80 },
        { published: 9999, target: 80, mode: 'host' },
      ]),
    }),
  ),
};

export const bodies: fc.Arbitrary<Bodies> = fc.record(BODIES);

/** Objects that others refer to come first. */
const ORDER = ['networks', 'sandboxes', 'nodes', 'services', 'endpoints', 'peers'] as const satisfies Table[];
if (ORDER.length !== TABLES.length) throw new Error('ORDER must name every table');

/** A network that is known by gossip alone is here while an endpoint is. */
const isHeard = (table: Table, id: string): boolean => table === 'peers' || (table === 'networks' && id === 'b');

/** The wish that these bodies make. What the checks refuse, and what they do not support yet, is left out. */
export function wishOf(stated: Bodies): Wish {
  const wish = new MutableWish();
  const cursors = new Cursors(new Map());
  for (const table of ORDER) {
    for (const [id, body] of Object.entries(stated[table] ?? {})) {
      try {
        const spec = prepare(
          {
            wish: wish.read(),
            self: SELF,
            cursors,
            probe: probeNetns,
            surroundings: NO_SURROUNDINGS,
            balancing: { name: 'ipvs', schedulers: SCHEDULERS },
            chosen: () => undefined,
          },
          table,
          id,
          body,
        );
        const stored = { table, id, origin: isHeard(table, id) ? 'gossip' : 'api', revision: 1, spec } as Stored;
        wish.apply(1, [{ table, id, stored }]);
      } catch (error) {
        if (!(error instanceof WeftError) || error.code === 'WEFT_INTERNAL') throw error;
      }
    }
  }
  return wish.read();
}
