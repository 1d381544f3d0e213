import { type Family, family } from '../../base/ip.js';
import { goto } from '../../codec/nft/build.js';
import { keyHex } from '../../codec/nft/types.js';
import type { Scheduler } from '../../model/service.js';
import { hex, TableWriter, words } from '../../network/bridge-table.js';
import { LIBERAL, TCP_MEMORY, UDP_MEMORY } from '../../network/sysctls.js';
import type { Backend, Frontend } from '../backends.js';
import { isActive, keepsDatagrams, lastChange } from '../backends.js';
import type { Balancer } from '../balancer.js';
import { frontendKey } from '../frontend.js';
import { schedulerOf } from '../schedulers.js';
import { tableOf, turnsOf } from '../turns.js';
import { hashChoice, stickyRules, stickySets, turnChoice } from './choice.js';
import { baseChains, familyTable } from './table.js';

/**
 * Chooses in the bridge: a chain of table `bridge weft` rewrites the destination MAC before the bridge forwards. What
 * changes with services and backends are elements; a service's own chain holds one rule with the number of turns.
 */
export const nft: Balancer = {
  arena(world, arena, wants) {
    const tracked = world.balancer.bridgeConntrack;
    const w = new TableWriter(arena.ns, wants, `balancer of ${arena.ns}`);
    w.table();
    for (const of of arena.families) familyTable(w, arena, of, tracked);
    baseChains(w, arena, tracked);
    if (!tracked) return;
    // Flows that began before (or without) us must not be taken for known ones.
    wants.sysctls(
      arena.ns,
      'bridge connection tracking',
      { 'net/netfilter/nf_conntrack_tcp_loose': 0, ...LIBERAL, ...TCP_MEMORY, ...UDP_MEMORY },
      true,
    );
  },

  service(world, arena, { service, family: of, frontends, backends }, wants) {
    const tracked = world.balancer.bridgeConntrack;
    const w = new TableWriter(arena.ns, wants, `service ${service.id}`);
    const active = backends.filter(isActive);
    const { affinity } = service.spec;
    if (affinity > 0 && active.length > 0) stickySets(w, arena, of);
    const scheduler = schedulerOf(world.balancer, service);
    const hashed = HASHED.has(scheduler);
    const turns = active.length === 0 ? [] : turnsFor(scheduler, active, lastChange(world.wish, service));
    for (const frontend of frontends) {
      if (tracked && !arena.ingress) clientSide(w, of, frontend, backends);
      for (const backend of backends) {
        const key = frontendKey(of, frontend, [['mark', backend.id]]);
        const maps = isActive(backend) ? ['live'] : keepsDatagrams(service) ? ['drain', 'stay'] : ['drain'];
        for (const map of maps) w.element(`${map}${of}`, key, hex('ether_addr', backend.mac));
        if (affinity > 0 && isActive(backend)) w.element(`keeps${of}`, key);
      }
      if (active.length === 0) continue;
      const chain = `${arena.ingress ? `pub${of}` : 'svc'}-${service.id}-${frontend.label}`;
      for (const [turn, id] of turns.entries()) {
        w.element(`slot${of}`, frontendKey(of, frontend, [['mark', turn]]), hex('mark', id));
      }
      const choose = (hashed ? hashChoice : turnChoice)(arena, of, turns.length, tracked);
      w.chain(chain, affinity > 0 ? stickyRules(arena, of, choose, tracked, affinity) : [[choose, goto(`learn${of}`)]]);
      w.element(`svc${of}`, frontendKey(of, frontend), `goto ${chain}`);
    }
  },

  client(world, arena, mac, wants) {
    if (!world.balancer.bridgeConntrack || arena.ingress) return;
    new TableWriter(arena.ns, wants, `client ${mac}`).element('local', hex('ether_addr', mac));
  },

  ingress(world, arena, own, leg, wants) {
    if (!world.balancer.bridgeConntrack) return;
    const w = new TableWriter(arena.ns, wants, 'ingress address');
    w.element('local', hex('ether_addr', leg));
    const of = family(own);
    w.element(`replies${of}`, hex(words[of].address, own));
  },
};

/** Schedulers that choose by the client's address. Here both are consistent: `sh` is no other than `mh`. */
const HASHED: ReadonlySet<Scheduler> = new Set(['sh', 'mh']);

/** Ids of backends by slot: in the order of their turns, or as the hash of a client finds them. */
function turnsFor(scheduler: Scheduler, active: readonly Backend[], revision: number): number[] {
  const ids = active.map(({ id }) => id);
  const weights = active.map(({ weight }) => (scheduler === 'rr' ? 1 : weight));
  const names = active.map(({ ip }) => ip);
  const turns = HASHED.has(scheduler) ? tableOf(names, weights) : turnsOf(ids, weights, revision);
  return turns.map((i) => ids[i] as number);
}

/** Which replies belong to clients of this node, and which tasks here may choose themselves. */
function clientSide(w: TableWriter, of: Family, frontend: Frontend, backends: readonly Backend[]): void {
  const { address } = words[of];
  w.element(`replies${of}`, hex(address, frontend.ip));
  for (const { ip, mac, local } of backends) {
    if (local) w.element(`self${of}`, keyHex([address, address], [ip, frontend.ip]), hex('ether_addr', mac));
  }
}
