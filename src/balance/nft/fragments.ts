import { anyOf, ether, goto, ip, jump, learn, map, raw, type Statement, set } from '../../codec/nft/build.js';
import type { TableWriter } from '../../network/bridge-table.js';

/** Fields of struct iphdr (RFC 791): identification; flags and offset; protocol. */
const IDENTIFICATION = { base: 'network', offset: 4, bytes: 2 } as const;
const PROTOCOL = { base: 'network', offset: 9, bytes: 1 } as const;
const identification = raw('network', IDENTIFICATION.offset, IDENTIFICATION.bytes);
const fragment = raw('network', 6, 2);
const protocol = raw('network', PROTOCOL.offset, PROTOCOL.bytes);
/** IP_OFFSET and IP_MF of the kernel's net/ip.h. */
const IP_OFFSET = 0x1fff;
const IP_MF = 0x2000;

/** Datagrams whose fragments may be on their way at a time, in a network. */
const FRAGMENTED_MAX = 65_536;
/** Milliseconds: fragments of one datagram follow each other. */
const FRAGMENTED_TIMEOUT = 10_000;

const datagram = [ip.saddr, ip.daddr, identification, protocol];

/**
 * Only the first fragment of a datagram has ports. It leaves a note where it went, and the others follow; one that
 * overtakes it goes to the bridge and is lost. (Connection tracking puts datagrams together and needs none of this.)
 */
export function fragmentChain(w: TableWriter): void {
  w.set('frags4', {
    key: ['ipv4_addr', 'ipv4_addr', IDENTIFICATION, PROTOCOL],
    data: 'ether_addr',
    flags: ['timeout', 'dynamic'],
    size: FRAGMENTED_MAX,
  });
  w.chain('frag4', [[set(ether.daddr, map(datagram, 'frags4'))]]);
  const note = { data: ether.daddr };
  w.chain('note4', [
    // An update keeps the value of an element that exists, and identifications come round.
    [learn('delete', datagram, 'frags4', note)],
    [learn('update', datagram, 'frags4', { ...note, timeout: FRAGMENTED_TIMEOUT })],
  ]);
}

/** A fragment that is not the first, before anything looks at ports. */
export const toFragments: Statement[] = [anyOf(fragment, IP_OFFSET), goto('frag4')];

/** The first of several: where it goes, which has been decided. */
export const noteFirst: Statement[] = [anyOf(fragment, IP_MF), jump('note4')];
