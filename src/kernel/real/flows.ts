import { setImmediate } from 'node:timers/promises';
import { WeftError } from '../../base/errors.js';
import { type Flow, type FlowFilter, flowMatches, getFlows, readFlow } from '../../codec/conntrack.js';
import { ack, errnoName, NETLINK_NETFILTER, NLMSG_DONE, NLMSG_ERROR, parseMessages } from '../../codec/netlink.js';
import type { Ns } from '../../objects/kind.js';
import { NetlinkSocket } from './netlink-socket.js';
import type { Space, Spaces } from './spaces.js';

const TIMEOUT_MS = 20_000;
/** Messages between two breaths of the loop: a node may have 262,144 flows. */
const BREATH = 5000;
/** What nfnetlink_rcv_msg() answers where nf_conntrack_netlink is neither built in nor to be had as a module. */
const NOT_THERE = 'EINVAL';

/** Where to look, what the kernel may leave out, what to keep, and how many at most. */
export type FlowQuery = [ns: Ns, filter: FlowFilter, wanted: (flow: Flow) => boolean, limit: number];

/**
 * Flows of a namespace that `wanted` picks, at most `limit` of them.
 * @returns them, and how many more there are
 * @throws WEFT_NETLINK
 */
export async function flowsOf(
  spaces: Spaces,
  ...[ns, filter, wanted, limit]: FlowQuery
): Promise<{ flows: Flow[]; more: number }> {
  const out = { flows: [] as Flow[], more: 0 };
  const space = spaces.open(ns);
  if (!space) return out;
  let read = 0;
  for (const m of parseMessages(await dump(space, filter))) {
    if (++read % BREATH === 0) await setImmediate();
    if (m.type === NLMSG_ERROR || m.type === NLMSG_DONE) {
      const errno = errnoName(ack(m).errno);
      if (ack(m).errno === 0 || errno === NOT_THERE) continue;
      throw new WeftError('WEFT_NETLINK', `cannot list connections in ${ns}: ${errno}`, undefined, { errno });
    }
    const flow = readFlow(m);
    if (!flowMatches(flow, filter) || !wanted(flow)) continue;
    if (out.flows.length < limit) out.flows.push(flow);
    else out.more++;
  }
  return out;
}

/** On a socket of its own: a long dump would hold up the transactions of nf_tables. */
async function dump(space: Space, filter: FlowFilter): Promise<Buffer> {
  const socket = new NetlinkSocket(space.native, space.fd, NETLINK_NETFILTER);
  try {
    return await socket.transact(getFlows(socket.nextSeq(), filter), TIMEOUT_MS);
  } finally {
    socket.close();
  }
}
