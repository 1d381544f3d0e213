import type { Family } from '../../base/ip.js';
import {
  accept,
  anyOf,
  backToCaller,
  CT_INVALID,
  ct,
  ether,
  goto,
  inSet,
  is,
  isNot,
  jump,
  learn,
  map,
  meta,
  notrack,
  type Statement,
  set,
  value,
  vmap,
} from '../../codec/nft/build.js';
import { type TableWriter, words } from '../../network/bridge-table.js';
import { IPPROTO } from '../backends.js';
import type { Arena } from '../balancer.js';
import { frontendTerms, frontendTypes } from '../frontend.js';
import { errorChains, toErrors } from './errors.js';
import { isSyn, memory, notUdp, ofTcp, ofUdp } from './match.js';
import { flowChains, type Toward } from './memory.js';

/** Priorities of bridge prerouting (design.md section 3). */
const TRACK = -300;
const BALANCE = -150;

/** Backends of frontends whose flows are counted at a time; a day after the last flow a count is given up. */
const BEGUN_MAX = 262_144;
const BEGUN_TIMEOUT = 86_400_000;

/** Maps and chains of one family. Names end in the family's number. */
export function familyTable(w: TableWriter, arena: Arena, of: Family, tracked: boolean): void {
  const types = frontendTypes(arena, of);
  const terms = frontendTerms(arena, of);
  const mark = memory(tracked);
  // Frontend → chain of the service.
  w.set(`svc${of}`, { key: types, data: 'verdict' });
  // Frontend and turn → backend.
  w.set(`slot${of}`, { key: [...types, 'mark'], data: 'mark' });
  // Frontend and backend → MAC: who may keep a flow. Draining ones take no new one.
  // What finds its backend here is counted here: an element stays while its service changes around it.
  w.set(`live${of}`, { key: [...types, 'mark'], data: 'ether_addr', counted: true });
  w.set(`drain${of}`, { key: [...types, 'mark'], data: 'ether_addr', counted: true });
  // Those of them that keep their datagrams too; others lose them to the next backend in turn.
  w.set(`stay${of}`, { key: [...types, 'mark'], data: 'ether_addr', counted: true });
  // Frontend and backend, counting the flows that were given to it. Filled by packets: an element outlives any change.
  w.set(`begun${of}`, {
    key: [...types, 'mark'],
    flags: ['timeout', 'dynamic'],
    size: BEGUN_MAX,
    timeout: BEGUN_TIMEOUT,
    counted: true,
  });
  const toward: Toward = (which) => set(ether.daddr, map([...terms, mark], `${which}${of}`));
  const toNew = [toward('live'), learn('update', [...terms, mark], `begun${of}`)];
  if (tracked) trackedChains(w, arena, of, toward, toNew);
  else flowChains(w, of, toward, toNew);
  errorChains(w, arena, of, mark, tracked);
  w.chain(`new${of}`, [[vmap(terms, `svc${of}`)]]);
}

/** Base chains. Those that they jump to come back when they are done. */
export function baseChains(w: TableWriter, arena: Arena, tracked: boolean): void {
  const each = (statements: (of: Family) => Statement[]) => arena.families.map(statements);
  w.chain(
    'balance',
    [
      [isNot(ether.daddr, arena.bridge), accept],
      ...each((of) => [is(meta.protocol, words[of].ethertype), jump(`l4-${of}`)]),
      // The mark did its work; left on the packet it would steer the route of the outer one. Here, for each chain that is
      // called by the bridge costs every frame of the network 60 ns.
      ...(tracked ? [] : [[isNot(meta.mark, 0), set(meta.mark, value('mark', 0))]]),
    ],
    { hook: 'prerouting', priority: BALANCE },
  );
  for (const of of arena.families) {
    const connectionless = tracked ? `in${of}` : `talk${of}`;
    w.chain(`l4-${of}`, [
      [is(meta.l4proto, IPPROTO.tcp), goto(`in${of}`)],
      ...[IPPROTO.udp, IPPROTO.sctp].map((proto) => [is(meta.l4proto, proto), goto(connectionless)]),
      toErrors(of),
    ]);
  }
  if (!tracked) return;
  w.set('local', { key: ['ether_addr'] });
  w.chain(
    'track',
    [
      [is(ether.daddr, arena.bridge), accept],
      ...each((of) => [inSet([ether.daddr], 'local'), inSet([words[of].saddr], `replies${of}`), accept]),
      // All other traffic of the overlay pays nothing for connection tracking.
      [notrack],
    ],
    { hook: 'prerouting', priority: TRACK },
  );
}

function trackedChains(w: TableWriter, arena: Arena, of: Family, toward: Toward, toNew: Statement[]): void {
  w.set(`replies${of}`, { key: [words[of].address] });
  if (!arena.ingress)
    w.set(`self${of}`, { key: [words[of].address, ...frontendTypes(arena, of)], data: 'ether_addr', counted: true });
  const self = [words[of].saddr, ...frontendTerms(arena, of)];
  w.chain(`learn${of}`, [toNew]);
  w.chain(`in${of}`, [
    [toward('live'), backToCaller],
    [isSyn, goto(`new${of}`)],
    [notUdp, toward('drain'), backToCaller],
    [ofUdp, toward('stay'), backToCaller],
    // A task that chose itself is heard in one direction only: its later packets are invalid to connection tracking.
    ...(arena.ingress ? [] : [[anyOf(ct.state, CT_INVALID), set(ether.daddr, map(self, `self${of}`)), backToCaller]]),
    // A TCP packet of no flow we know: the bridge's own stack resets it.
    [ofTcp, backToCaller],
    [goto(`new${of}`)],
  ]);
}
