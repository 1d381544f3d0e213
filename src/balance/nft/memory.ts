import type { Family } from '../../base/ip.js';
import {
  anyOf,
  backToCaller,
  counter,
  drop,
  goto,
  isNot,
  learn,
  map,
  meta,
  type Statement,
  set,
  TCP_FIN,
  TCP_RST,
  tcp,
  th,
} from '../../codec/nft/build.js';
import { type TableWriter, words } from '../../network/bridge-table.js';
import { fragmentChain, noteFirst, toFragments } from './fragments.js';
import { isSyn, notTcp, notUdp, ofTcp, ofUdp } from './match.js';

/** Flows that each memory of a network holds, in a family; one that is there takes about 200 bytes of kernel memory. */
const FLOWS_MAX = 262_144;

/**
 * The memories: connections; those that a FIN was seen of; and what has no connections, or none that are looked at (UDP,
 * SCTP). Each has a size of its own, so that datagrams of strangers, which nothing tells from those of a flow, take no
 * room from connections.
 */
const MEMORIES = ['flows', 'closing', 'talks'] as const;
type Memory = (typeof MEMORIES)[number];
/** Those that hold flows of the moment; in `closing` is what may come late. */
export const OPEN_MEMORIES = ['flows', 'talks'] as const satisfies readonly Memory[];
/** The chain in which a counter says how often there was no room. */
export const FULL_CHAIN = 'learn';

/** Milliseconds since the client's last packet. Above the 7200 s after which TCP keep-alive first speaks. */
const OPEN_TIMEOUT = 7_800_000;
/**
 * Since the first SYN, which is sent again after 1, 3, 7 and 15 s: what comes of them is heard. What a flood of SYNs
 * fills is free again soon.
 */
const HALF_OPEN_TIMEOUT = 20_000;
/** After a FIN or RST. A connection that has more time left than this is open. */
export const CLOSING_TIMEOUT = 30_000;
const TALK_TIMEOUT = 300_000;

/** Sends the frame to the backend that the mark names, where it is in that map: `live`, `drain` or `stay`. */
export type Toward = (which: string) => Statement;

const flowKey = (of: Family) => [words[of].saddr, th.sport, meta.l4proto, words[of].daddr, th.dport];

/** Looks up which backend a flow has: its mark. */
const recall = (of: Family, memory: Memory): Statement => set(meta.mark, map(flowKey(of), `${memory}${of}`));
const remember = (of: Family, memory: Memory, timeout: number): Statement =>
  learn('update', flowKey(of), `${memory}${of}`, { data: meta.mark, timeout });
const forget = (of: Family, memory: Memory): Statement =>
  learn('delete', flowKey(of), `${memory}${of}`, { data: meta.mark });
/** An update keeps the value of an element that exists: a flow that lost its backend must forget it first. */
const forgetLost = (of: Family, memory: Memory): Statement[] => [isNot(meta.mark, 0), forget(of, memory)];

/** Where the bridge has no connection tracking: dynamic maps flow → backend, with timeouts of our own. */
export function flowChains(w: TableWriter, of: Family, toward: Toward, toNew: Statement[]): void {
  const { address } = words[of];
  for (const memory of MEMORIES) {
    w.set(`${memory}${of}`, {
      key: [address, 'inet_service', 'inet_proto', address, 'inet_service'],
      data: 'mark',
      flags: ['timeout', 'dynamic'],
      size: FLOWS_MAX,
    });
  }
  fragmentChain(w, of);
  connectionChains(w, of, toward);
  talkChains(w, of, toward);
  w.chain(`learn${of}`, [
    [ofTcp, remember(of, 'flows', HALF_OPEN_TIMEOUT), goto(`begin${of}`)],
    [notTcp, remember(of, 'talks', TALK_TIMEOUT), goto(`begin${of}`)],
    // No room. A client sends its SYN again; without memory its connection would be reset with the second packet.
    [counter],
    [ofTcp, drop],
    // Each datagram goes to the next in turn, which is all that a question of one datagram needs.
    [goto(`begin${of}`)],
  ]);
  w.chain(`begin${of}`, [toNew, noteFirst(of)]);
}

/** TCP. */
function connectionChains(w: TableWriter, of: Family, toward: Toward): void {
  w.chain(`in${of}`, [
    toFragments(of),
    [recall(of, 'flows'), toward('live'), goto(`touch${of}`)],
    [isSyn, ...forgetLost(of, 'flows')],
    [isSyn, goto(`new${of}`)],
    [toward('drain'), goto(`touch${of}`)],
    [goto(`late${of}`)],
  ]);
  w.chain(`touch${of}`, [
    noteFirst(of),
    [isSyn, backToCaller],
    // After its RST a client says no more: the flow may stay where it is, which costs a connection 2 % less.
    [anyOf(tcp.flags, TCP_RST), remember(of, 'flows', CLOSING_TIMEOUT), backToCaller],
    [anyOf(tcp.flags, TCP_FIN), goto(`close${of}`)],
    [remember(of, 'flows', OPEN_TIMEOUT)],
  ]);
  // Connections that a FIN was seen of are kept apart, so that what comes after it (the acknowledgement of the other
  // side's FIN) is not taken for a sign of life: it would keep each for two hours, and the memory full.
  w.chain(`close${of}`, [[forget(of, 'flows')], [forget(of, 'closing')], [remember(of, 'closing', CLOSING_TIMEOUT)]]);
  w.chain(`late${of}`, [
    [recall(of, 'closing')],
    [toward('live'), goto(`linger${of}`)],
    [toward('drain'), goto(`linger${of}`)],
    // Of a backend that is gone: the bridge's own stack resets the connection, and its client will send no more.
    [forget(of, 'flows')],
  ]);
  w.chain(`linger${of}`, [[remember(of, 'closing', CLOSING_TIMEOUT)]]);
}

/** UDP and SCTP. */
function talkChains(w: TableWriter, of: Family, toward: Toward): void {
  w.chain(`talk${of}`, [
    toFragments(of),
    [recall(of, 'talks'), toward('live'), goto(`heard${of}`)],
    [ofUdp, toward('stay'), goto(`heard${of}`)],
    [notUdp, toward('drain'), goto(`heard${of}`)],
    forgetLost(of, 'talks'),
    [goto(`new${of}`)],
  ]);
  w.chain(`heard${of}`, [noteFirst(of), [remember(of, 'talks', TALK_TIMEOUT)]]);
}
