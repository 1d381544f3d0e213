import { setImmediate } from 'node:timers/promises';
import { NETLINK_NETFILTER } from '../../codec/netlink.js';
import { getElements, readElements } from '../../codec/nft/element.js';
import type { Hex } from '../../codec/nft/hex.js';
import type { SetRef } from '../../codec/nft/set.js';
import type { Ns } from '../../objects/kind.js';
import { NetlinkSocket } from './netlink-socket.js';
import type { Spaces } from './spaces.js';

/** Messages between two breaths of the loop; each has some hundred elements. */
const BREATH = 50;

/**
 * How many elements of a map that packets fill are as `wanted`, by key and value as they stand in registers; 0 where there
 * is no such map. @throws WEFT_NETLINK
 */
export async function countLearned(
  spaces: Spaces,
  ns: Ns,
  set: SetRef,
  wanted: (key: Hex, value: Hex) => boolean,
): Promise<number> {
  const space = spaces.open(ns);
  if (!space) return 0;
  // On a socket of its own: a long dump would hold up the transactions of nf_tables.
  const socket = new NetlinkSocket(space.native, space.fd, NETLINK_NETFILTER);
  try {
    const messages = await socket.exchange((w, seq) => w.raw(getElements(seq, set)), true);
    let count = 0;
    for (const [i, message] of messages.entries()) {
      if (i % BREATH === BREATH - 1) await setImmediate();
      for (const { key, data } of readElements(message).elements) {
        if (key !== undefined && typeof data === 'string' && wanted(key, data)) count++;
      }
    }
    return count;
  } finally {
    socket.close();
  }
}
