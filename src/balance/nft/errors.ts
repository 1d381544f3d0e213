import type { Family } from '../../base/ip.js';
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

/** Bytes of an ICMP error, in both families, at which the quoted packet begins. */
const QUOTED = 8;

/** Errors of a family: the protocol, types that quote a packet, and where the quoted header has its fields. */
interface Errors {
  protocol: number;
  types: readonly number[];
  /** Value of `first` where the ports follow a header of `length` bytes; other packets are left to the bridge. */
  plain?: number;
  proto: number;
  source: number;
  destination: number;
  address: number;
  length: number;
}

const ERRORS: Readonly<Record<Family, Errors>> = {
  // RFC 792: destination unreachable, time exceeded, parameter problem. Version 4 and 20 bytes: no options.
  4: { protocol: 1, types: [3, 11, 12], plain: 0x45, proto: 9, source: 12, destination: 16, address: 4, length: 20 },
  // RFC 4443: destination unreachable, packet too big, time exceeded, parameter problem. An extension header would stand
  // as `proto`, which is no frontend's.
  6: { protocol: 58, types: [1, 2, 3, 4], proto: 6, source: 8, destination: 24, address: 16, length: 40 },
};

/** A field of the quoted packet; it is a reply, from the VIP to the client. */
const quoted = (offset: number, bytes: number) => raw('transport', QUOTED + offset, bytes);

/**
 * ICMP errors about a reply follow the flow to its backend, which alone can send less (RFC 1191, RFC 8201): without them
 * a download over a path with a smaller MTU stands still.
 */
export function errorChains(w: TableWriter, arena: Arena, of: Family, mark: Target<'mark'>, tracked: boolean): void {
  const { types, plain: first, ...at } = ERRORS[of];
  const proto = quoted(at.proto, 1);
  const vip = quoted(at.source, at.address);
  const vipPort = quoted(at.length, 2);
  const frontend = arena.ingress ? [vip, proto, vipPort] : [vip];
  const plain = first === undefined ? [] : [is(quoted(0, 1), first)];
  const toward = (which: string): Statement => set(ether.daddr, map([...frontend, mark], `${which}${of}`));
  // Connection tracking finds the flow of an error itself: its mark is there.
  const flow = [quoted(at.destination, at.address), quoted(at.length + 2, 2), proto, vip, vipPort];
  w.chain(`err${of}`, [
    ...(tracked ? [] : ['flows', 'talks'].map((name) => [...plain, set(meta.mark, map(flow, `${name}${of}`))])),
    [...plain, toward('live'), backToCaller],
    [...plain, toward('drain'), backToCaller],
  ]);
  w.chain(
    `icmp${of}`,
    types.map((type) => [is(raw('transport', 0, 1), type), goto(`err${of}`)]),
  );
}

/** The way to them from the chain that tells protocols apart. */
export const toErrors = (of: Family): Statement[] => [is(meta.l4proto, ERRORS[of].protocol), goto(`icmp${of}`)];
