import type { Family } from '../../base/ip.js';
import { linkLocal } from '../../base/mac.js';
import {
  accept,
  bitsAre,
  ether,
  goto,
  is,
  isNot,
  map,
  meta,
  set,
  TCP_ACK,
  TCP_SYN,
  tcp,
  th,
  value,
} from '../../codec/nft/build.js';
import type { DataType } from '../../codec/nft/types.js';
import type { Stored } from '../../model/registry.js';
import { hex, TableWriter, words } from '../../network/bridge-table.js';
import { BRIDGE } from '../../network/overlay/names.js';
import type { Wants, World } from '../../network/world.js';
import { type Backend, IPPROTO, isActive, keepsDatagrams, publishedFrontends } from '../backends.js';
import type { Arena, Assignment, Balancer } from '../balancer.js';
import { frontendKey } from '../frontend.js';
import { schedulerOf } from '../schedulers.js';
import { sharesOf } from '../turns.js';

/** First firewall mark of IPVS services (design.md section 3). */
const FIRST_MARK = 0x100;
const BALANCE = -150;
/** The kernel's own are 900, 120 and 300: an idle connection shall outlive the 7200 s until keep-alive first speaks. */
const TIMEOUTS = { tcp: 7800, tcpFin: 120, udp: 300 } as const;

/**
 * TCP and SCTP share a virtual server, UDP has its own: connections stay with a backend that drains, at weight 0; for
 * datagrams it is no server any more, and a flow without its server goes to another with the next packet.
 */
const CLASSES = { stream: [IPPROTO.tcp, IPPROTO.sctp], datagram: [IPPROTO.udp] } as const;
type Class = keyof typeof CLASSES;

/**
 * IPVS chooses: frames to a VIP get a firewall mark in the bridge and go up to br0, where a virtual server by mark sends
 * them on by direct routing. The mark comes from a map of table `bridge weft`, not from a list of mangle rules: 2,000
 * services cost a packet as much as one.
 */
export const ipvs: Balancer = {
  arena(_world, arena, wants) {
    const w = new TableWriter(arena.ns, wants, `balancer of ${arena.ns}`);
    w.table();
    for (const of of arena.families) familyTable(w, arena, of);
    w.chain(
      'balance',
      [
        [isNot(ether.daddr, arena.bridge), accept],
        ...arena.families.map((of) => [is(meta.protocol, words[of].ethertype), goto(`l4-${of}`)]),
      ],
      { hook: 'prerouting', priority: BALANCE },
    );
    // What IPVS sends on still has the mark, which would steer the route of the outer packet.
    w.chain('unmark', [[isNot(meta.mark, 0), set(meta.mark, value('mark', 0))]], { hook: 'output', priority: BALANCE });
    if (arena.families.includes(6)) {
      // What IPVS sends on has the client's address as source: only from one of its own can br0 ask for a backend's MAC.
      wants.add(arena.ns, 'address', 'IPVS', { dev: BRIDGE, ip: linkLocal(arena.bridge), length: 64 });
    }
    wants.add(arena.ns, 'ipvs-timeouts', 'IPVS', TIMEOUTS);
    const vs = (name: string) => `net/ipv4/vs/${name}`;
    wants.sysctls(arena.ns, 'IPVS', {
      [vs('conntrack')]: 0,
      // A packet for a removed server finds another at once (UDP) or is reset (TCP), instead of vanishing.
      [vs('expire_nodest_conn')]: 1,
      [vs('expire_quiescent_template')]: 1,
      // A port that a client uses again is a new connection; mode 1 has no penalty since 5.9.
      [vs('conn_reuse_mode')]: 1,
    });
  },

  service(world, arena, assignment, wants) {
    const { service, family, frontends, backends } = assignment;
    const w = new TableWriter(arena.ns, wants, `service ${service.id}`);
    const anyActive = backends.some(isActive);
    for (const frontend of frontends) {
      for (const kind of Object.keys(CLASSES) as Class[]) {
        const protos = CLASSES[kind].filter((proto) => !frontend.port || frontend.port.proto === proto);
        const moves = kind === 'datagram' && !keepsDatagrams(service);
        const left = moves ? backends.filter(isActive) : backends;
        if (protos.length === 0 || left.length === 0) continue;
        const mark = world.number('mark', markName(assignment, frontend.label, kind, arena), FIRST_MARK);
        servers(world, arena, { ...assignment, backends: left }, mark, wants);
        for (const proto of protos) {
          const key = frontend.port
            ? frontendKey(family, frontend)
            : frontendKey(family, frontend, [['inet_proto', proto]]);
          w.element(`mark${family}`, key, hex('mark', mark));
          // IPVS answers a SYN it has no server for with ICMP alone, which a connecting socket may overlook.
          if (proto === IPPROTO.tcp && anyActive) w.element(`syn${family}`, key, hex('mark', mark));
        }
      }
    }
  },

  client() {},
  ingress() {},
};

/** The marks of an assignment, allocated where it has none yet. */
export function marksOf(world: World, arena: Arena, assignment: Assignment): number[] {
  const kinds = Object.keys(CLASSES) as Class[];
  return assignment.frontends.flatMap(({ label, port }) =>
    kinds
      .filter((kind) => !port || CLASSES[kind].some((proto) => proto === port.proto))
      .map((kind) => world.number('mark', markName(assignment, label, kind, arena), FIRST_MARK)),
  );
}

/** Marks of the virtual servers of a service that has backends on a network of this node, and what comes through each. */
export function marksThrough(
  world: World,
  service: Stored<'services'>,
  { id, spec }: Stored<'networks'>,
): Map<number, Class> {
  const published = () => ['0.0.0.0', '::'].flatMap((any) => publishedFrontends(any, service.spec.publish));
  const labels: [string, Class][] = spec.ingress
    ? published().map(({ label, port }) => [label, port?.proto === IPPROTO.udp ? 'datagram' : 'stream'])
    : [
        ['stream', 'stream'],
        ['datagram', 'datagram'],
      ];
  return new Map(
    labels.map(([label, kind]) => [world.number('mark', `${service.id}/${id}/${label}`, FIRST_MARK), kind]),
  );
}

function markName({ service, network }: Assignment, label: string, kind: Class, arena: Arena): string {
  return `${service.id}/${network}/${arena.ingress ? label : kind}`;
}

function servers(world: World, arena: Arena, assignment: Assignment, fwmark: number, wants: Wants): void {
  const { service, family, backends } = assignment;
  const why = `service ${service.id}`;
  const scheduler = schedulerOf(world.balancer, service);
  const fallback = scheduler === 'sh' || scheduler === 'mh';
  wants.add(arena.ns, 'virtual-server', why, {
    family,
    fwmark,
    scheduler,
    fallback,
    persistence: service.spec.affinity,
  });
  const weights = scheduler === 'sh' ? sharesInTable(backends) : backends.map(({ weight }) => weight);
  for (const [i, { ip }] of backends.entries()) {
    wants.add(arena.ns, 'real-server', why, { family, fwmark, ip, weight: weights[i] as number });
  }
}

/** `sh` deals its 256 buckets out by weight, one server after the other: with large weights the first would have all. */
function sharesInTable(backends: readonly Backend[]): number[] {
  const shares = sharesOf(backends.filter(isActive).map(({ weight }) => weight));
  return backends.map((backend) => (isActive(backend) ? (shares.shift() as number) : 0));
}

/** Frontend (VIP and protocol, or address, protocol and port) → mark; SYNs have a map of their own. */
function familyTable(w: TableWriter, arena: Arena, of: Family): void {
  const { address, daddr } = words[of];
  const types: DataType[] = arena.ingress ? [address, 'inet_proto', 'inet_service'] : [address, 'inet_proto'];
  const terms = arena.ingress ? [daddr, meta.l4proto, th.dport] : [daddr, meta.l4proto];
  for (const name of ['mark', 'syn']) w.set(`${name}${of}`, { key: types, data: 'mark' });
  w.chain(`syn-${of}`, [[set(meta.mark, map(terms, `syn${of}`))]]);
  w.chain(`in${of}`, [
    [bitsAre(tcp.flags, TCP_SYN | TCP_ACK, TCP_SYN), goto(`syn-${of}`)],
    [set(meta.mark, map(terms, `mark${of}`))],
  ]);
  w.chain(
    `l4-${of}`,
    [6, 17, 132].map((proto) => [is(meta.l4proto, proto), goto(`in${of}`)]),
  );
}
