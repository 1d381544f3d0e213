import type { Family } from '../../base/ip.js';
import {
  accept,
  anyOf,
  backToCaller,
  bitsAre,
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
  type Target,
  TCP_ACK,
  TCP_FIN,
  TCP_RST,
  TCP_SYN,
  tcp,
  th,
  value,
  vmap,
} from '../../codec/nft/build.js';
import { type TableWriter, words } from '../../network/bridge-table.js';
import type { Arena } from '../balancer.js';
import { frontendTerms, frontendTypes } from '../frontend.js';
import { errorChains, toErrors } from './errors.js';
import { fragmentChain, noteFirst, toFragments } from './fragments.js';

/** Priorities of bridge prerouting (design.md section 3). */
const TRACK = -300;
const BALANCE = -150;

/** Flows a network can remember without connection tracking; each takes about 200 bytes of kernel memory. */
const FLOWS_MAX = 262_144;
/** Milliseconds. A half-open connection is forgotten soon, which bounds what a SYN flood can fill. */
export const SYN_TIMEOUT = 60_000;
/** Above the 7200 s after which TCP keep-alive first speaks. */
const TCP_TIMEOUT = 7_800_000;
const CLOSING_TIMEOUT = 30_000;
const UDP_TIMEOUT = 300_000;

/** Backends of frontends whose flows are counted at a time; a day after the last flow a count is given up. */
const BEGUN_MAX = 262_144;
const BEGUN_TIMEOUT = 86_400_000;

const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const ofTcp = is(meta.l4proto, IPPROTO_TCP);
const isSyn = bitsAre(tcp.flags, TCP_SYN | TCP_ACK, TCP_SYN);

/** Where the chosen backend of a flow is noted: the packet's mark (from a dynamic map) or the connection's. */
export const memory = (tracked: boolean): Target<'mark'> => (tracked ? ct.mark : meta.mark);

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
  const toward = (which: string): Statement => set(ether.daddr, map([...terms, mark], `${which}${of}`));
  const known = tracked ? backToCaller : goto(`touch${of}`);
  const toNew = [toward('live'), learn('update', [...terms, mark], `begun${of}`)];
  if (tracked) trackedChains(w, arena, of, toNew);
  else flowChains(w, of, toward, toNew);
  errorChains(w, arena, of, mark, tracked);
  w.chain(`new${of}`, [[vmap(terms, `svc${of}`)]]);
  w.chain(`in${of}`, [
    ...(tracked ? [] : [toFragments(of), [set(meta.mark, map(flowKey(of), `flows${of}`))]]),
    [toward('live'), known],
    [isSyn, goto(`new${of}`)],
    [isNot(meta.l4proto, IPPROTO_UDP), toward('drain'), known],
    [is(meta.l4proto, IPPROTO_UDP), toward('stay'), known],
    // A task that chose itself is heard in one direction only: its later packets are invalid to connection tracking.
    ...(tracked && !arena.ingress
      ? [[anyOf(ct.state, CT_INVALID), set(ether.daddr, map([words[of].saddr, ...terms], `self${of}`)), backToCaller]]
      : []),
    // A TCP packet of no flow we know: the bridge's own stack resets it.
    [ofTcp, tracked ? backToCaller : goto(`late${of}`)],
    [goto(`new${of}`)],
  ]);
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
    const transports = [6, 17, 132].map((proto) => [is(meta.l4proto, proto), goto(`in${of}`)]);
    w.chain(`l4-${of}`, [...transports, toErrors(of)]);
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

function trackedChains(w: TableWriter, arena: Arena, of: Family, toNew: Statement[]): void {
  w.set(`replies${of}`, { key: [words[of].address] });
  if (!arena.ingress)
    w.set(`self${of}`, { key: [words[of].address, ...frontendTypes(arena, of)], data: 'ether_addr', counted: true });
  w.chain(`learn${of}`, [toNew]);
}

const flowKey = (of: Family) => [words[of].saddr, th.sport, meta.l4proto, words[of].daddr, th.dport];

/** Without connection tracking in the bridge: a dynamic map flow → backend, with timeouts of our own. */
function flowChains(w: TableWriter, of: Family, toward: (which: string) => Statement, toNew: Statement[]): void {
  const { address } = words[of];
  // Connections that a FIN was seen of are kept apart, so that what comes after it (the acknowledgement of the other
  // side's FIN) is not taken for a sign of life: it would keep each for two hours, and the memory full.
  for (const name of ['flows', 'closing']) {
    w.set(`${name}${of}`, {
      key: [address, 'inet_service', 'inet_proto', address, 'inet_service'],
      data: 'mark',
      flags: ['timeout', 'dynamic'],
      size: FLOWS_MAX,
    });
  }
  const learned = (set: string) => (op: 'update' | 'delete', timeout?: number) =>
    learn(op, flowKey(of), `${set}${of}`, { data: meta.mark, ...(timeout !== undefined && { timeout }) });
  const remember = learned('flows');
  const close = learned('closing');
  fragmentChain(w, of);
  w.chain(`close${of}`, [[remember('delete')], [close('delete')], [close('update', CLOSING_TIMEOUT)]]);
  const linger = goto(`linger${of}`);
  w.chain(`linger${of}`, [[close('update', CLOSING_TIMEOUT)]]);
  w.chain(`late${of}`, [
    [set(meta.mark, map(flowKey(of), `closing${of}`))],
    [toward('live'), linger],
    [toward('drain'), linger],
    // Of a backend that is gone: the connection is reset, and its client will send no more.
    [remember('delete')],
  ]);
  w.chain(`touch${of}`, [
    noteFirst(of),
    [isSyn, backToCaller],
    // After its RST a client says no more: the flow may stay where it is, which costs a connection 2 % less.
    [anyOf(tcp.flags, TCP_RST), remember('update', CLOSING_TIMEOUT), backToCaller],
    [anyOf(tcp.flags, TCP_FIN), goto(`close${of}`)],
    [ofTcp, remember('update', TCP_TIMEOUT), backToCaller],
    [remember('update', UDP_TIMEOUT)],
  ]);
  w.chain(`learn${of}`, [
    // An update keeps the value of an element that exists: a flow that lost its backend must forget it first.
    [remember('delete')],
    [ofTcp, remember('update', SYN_TIMEOUT)],
    [isNot(meta.l4proto, IPPROTO_TCP), remember('update', UDP_TIMEOUT)],
    toNew,
    noteFirst(of),
  ]);
}
