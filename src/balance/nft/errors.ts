import {
  backToCaller,
  ether,
  goto,
  is,
  map,
  meta,
  raw,
  type Statement,
  set,
  type Target,
} from '../../codec/nft/build.js';
import type { TableWriter } from '../../network/bridge-table.js';
import type { Arena } from '../balancer.js';

const IPPROTO_ICMP = 1;
/** Types of RFC 792 that quote the packet they are about: destination unreachable, time exceeded, parameter problem. */
const ICMP_ERRORS = [3, 11, 12];

/** Bytes of an ICMP error at which the quoted packet begins. */
const QUOTED = 8;
/** Version 4 and a header of 20 bytes: with options the ports are elsewhere, and such a packet is left to the bridge. */
const PLAIN_HEADER = 0x45;

/** A field of the quoted packet; it is a reply, from the VIP to the client. */
const quoted = (offset: number, bytes: number) => raw('transport', QUOTED + offset, bytes);
const proto = quoted(9, 1);
const vip = quoted(12, 4);
const client = quoted(16, 4);
const vipPort = quoted(20, 2);
const clientPort = quoted(22, 2);

/**
 * ICMP errors about a reply follow the flow to its backend, which alone can send less (RFC 1191): without them a download
 * over a path with a smaller MTU stands still.
 */
export function errorChains(w: TableWriter, arena: Arena, mark: Target<'mark'>, tracked: boolean): void {
  const frontend = arena.ingress ? [vip, proto, vipPort] : [vip];
  const plain = is(quoted(0, 1), PLAIN_HEADER);
  const toward = (which: string): Statement => set(ether.daddr, map([...frontend, mark], `${which}4`));
  // Connection tracking finds the flow of an error itself: its mark is there.
  const recall = set(meta.mark, map([client, clientPort, proto, vip, vipPort], 'flows4'));
  w.chain('err4', [
    ...(tracked ? [] : [[plain, recall]]),
    [plain, toward('live'), backToCaller],
    [plain, toward('drain'), backToCaller],
  ]);
  w.chain(
    'icmp4',
    ICMP_ERRORS.map((type) => [is(raw('transport', 0, 1), type), goto('err4')]),
  );
}

/** The way to them from the chain that tells protocols apart. */
export const toErrors: Statement[] = [is(meta.l4proto, IPPROTO_ICMP), goto('icmp4')];
