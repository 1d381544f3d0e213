import { setImmediate } from 'node:timers/promises';
import { WeftError } from '../../base/errors.js';
import { ack, NETLINK_NETFILTER, NLMSG_DONE, NLMSG_ERROR, parseMessages } from '../../codec/netlink.js';
import type { ChainRef } from '../../codec/nft/chain.js';
import { type Element, getElements, readElements } from '../../codec/nft/element.js';
import { getRules, readRule } from '../../codec/nft/rule.js';
import type { SetRef } from '../../codec/nft/set.js';
import type { Ns } from '../../objects/kind.js';
import { NetlinkSocket } from './netlink-socket.js';
import type { Spaces } from './spaces.js';

const TIMEOUT_MS = 20_000;
/** asm-generic/errno-base.h */
const ENOENT = 2;

/** Packets that the `counter` statements of a chain have seen, 0 where there is no such chain. @throws WEFT_NETLINK */
export async function packetsCounted(spaces: Spaces, ns: Ns, chain: ChainRef): Promise<number> {
  const socket = spaces.open(ns)?.socket(NETLINK_NETFILTER);
  const rules = (await socket?.exchange((w, seq) => w.raw(getRules(seq, chain)), true)) ?? [];
  const exprs = rules.map(readRule).flatMap((rule) => rule.exprs);
  return exprs.reduce((sum, expr) => sum + (expr.expr === 'counter' ? Number(expr.packets) : 0), 0);
}

/**
 * Hands over the elements of a set one by one; of a set that is not there, none. On a socket of its own, for a long dump
 * would hold up transactions, and with breaths in between: a network may remember 262,144 flows.
 * @throws WEFT_NETLINK
 */
export async function eachElement(spaces: Spaces, ns: Ns, set: SetRef, visit: (e: Element) => void): Promise<void> {
  const space = spaces.open(ns);
  if (!space) return;
  const socket = new NetlinkSocket(space.native, space.fd, NETLINK_NETFILTER);
  try {
    const answer = await socket.transact(getElements(socket.nextSeq(), set), TIMEOUT_MS);
    let messages = 0;
    for (const m of parseMessages(answer)) {
      if (m.type === NLMSG_ERROR || m.type === NLMSG_DONE) {
        const { errno, text } = ack(m);
        if (errno === 0 || errno === ENOENT) continue;
        throw new WeftError('WEFT_NETLINK', `cannot list set ${set.set} in ${ns}: errno ${errno} ${text ?? ''}`);
      }
      for (const element of readElements(m).elements) visit(element);
      // A message has some hundred elements.
      if (++messages % 16 === 0) await setImmediate();
    }
  } finally {
    socket.close();
  }
}
