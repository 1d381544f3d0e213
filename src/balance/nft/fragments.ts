import type { Family } from '../../base/ip.js';
import {
  anyOf,
  ether,
  goto,
  ip,
  ip6,
  is,
  jump,
  learn,
  map,
  raw,
  type Statement,
  set,
  type Term,
} from '../../codec/nft/build.js';
import type { KeyField } from '../../codec/nft/types.js';
import type { TableWriter } from '../../network/bridge-table.js';

/** Datagrams whose fragments may be on their way at a time, in a network. */
const FRAGMENTED_MAX = 65_536;
/** Milliseconds: fragments of one datagram follow each other. */
const FRAGMENTED_TIMEOUT = 10_000;

/** How fragments of a family look. */
interface Fragments {
  /** Header fields that are equal in all fragments of a datagram, besides the addresses. */
  datagram: readonly Term[];
  /** Not the first of them; the first of several. */
  later: readonly Statement[];
  first: readonly Statement[];
}

/** struct iphdr (RFC 791): identification, protocol; flags and offset, with IP_OFFSET and IP_MF of the kernel's net/ip.h. */
const flags4 = raw('network', 6, 2);
/** struct frag_hdr right behind struct ipv6hdr (RFC 8200), where every sender puts it; offset and IP6_MF. */
const NEXTHDR_FRAGMENT = 44;
const flags6 = raw('network', 42, 2);
const fragmented6 = is(ip6.nexthdr, NEXTHDR_FRAGMENT);

const FRAGMENTS: Readonly<Record<Family, Fragments>> = {
  4: {
    datagram: [ip.saddr, ip.daddr, raw('network', 4, 2), raw('network', 9, 1)],
    later: [anyOf(flags4, 0x1fff)],
    first: [anyOf(flags4, 0x2000)],
  },
  6: {
    datagram: [ip6.saddr, ip6.daddr, raw('network', 44, 4)],
    later: [fragmented6, anyOf(flags6, 0xfff8)],
    first: [fragmented6, anyOf(flags6, 0x0001)],
  },
};

/**
 * Only the first fragment of a datagram has ports. It leaves a note where it went, and the others follow; one that
 * overtakes it goes to the bridge and is lost. (Connection tracking puts datagrams together and needs none of this.)
 */
export function fragmentChain(w: TableWriter, of: Family): void {
  const { datagram } = FRAGMENTS[of];
  w.set(`frags${of}`, {
    key: datagram.map((term): KeyField => term.type),
    data: 'ether_addr',
    flags: ['timeout', 'dynamic'],
    size: FRAGMENTED_MAX,
  });
  w.chain(`frag${of}`, [[set(ether.daddr, map(datagram, `frags${of}`))]]);
  const note = { data: ether.daddr };
  w.chain(`note${of}`, [
    // An update keeps the value of an element that exists, and identifications come round.
    [learn('delete', datagram, `frags${of}`, note)],
    [learn('update', datagram, `frags${of}`, { ...note, timeout: FRAGMENTED_TIMEOUT })],
  ]);
}

/** A fragment that is not the first, before anything looks at ports. */
export const toFragments = (of: Family): Statement[] => [...FRAGMENTS[of].later, goto(`frag${of}`)];

/** The first of several: where it goes, which has been decided. */
export const noteFirst = (of: Family): Statement[] => [...FRAGMENTS[of].first, jump(`note${of}`)];
