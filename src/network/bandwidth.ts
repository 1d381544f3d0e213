import { nameOf, type Stored } from '../model/registry.js';
import type { Ns } from '../objects/kind.js';
import { ALIAS_PREFIX } from '../objects/link.js';
import type { Shaper } from '../objects/qdisc.js';
import { limiterName } from './names.js';
import type { Wants } from './world.js';

/** Where the endpoint's host end is: both directions are limited there, for in the sandbox root could lift a limit. */
interface HostEnd {
  ns: Ns;
  dev: string;
  mtu: number;
}

/** Ethernet header with a VLAN tag: an MTU counts neither. */
const HEADER = 18;
/**
 * Seconds of its rate that may leave at once. Tokens that a late timer finds beyond it are lost: with 3 ms a TCP flow at
 * 50 Mbit/s lost a tenth, with 10 ms none, and where timers are no finer than 10 ms 30 ms are needed.
 */
const BURST_S = 0.03;
/** Seconds of its rate that may wait: a flow fills them, and everything behind it is that late. */
const QUEUE_S = 0.1;
/** However low the rate, so many packets may leave at once, or wait: a TCP flow with less stalls. */
const BURST_PACKETS = 2;
const QUEUE_PACKETS = 10;
const U32_MAX = 0xffffffff;

/** A token bucket of that many bits a second. */
function shaper(dev: string, bits: number, mtu: number): Shaper {
  const rate = Math.floor(bits / 8);
  const packet = mtu + HEADER;
  const burst = Math.min(U32_MAX, Math.max(BURST_PACKETS * packet, Math.round(rate * BURST_S)));
  const queue = Math.max(QUEUE_PACKETS * packet, Math.round(rate * QUEUE_S));
  return { what: 'shaper', dev, rate, burst, limit: Math.min(U32_MAX, burst + queue) };
}

/**
 * The limits of an endpoint's bandwidth. Into the sandbox: a token bucket at the host end. Out of it: what comes in at the
 * host end goes through a device of its own (ifb) with a token bucket, for incoming packets cannot wait where they come in.
 * Rates count Ethernet frames: at an MTU of 1450 a TCP flow gets 95 % of it, by IPv6 94 %.
 */
export function bandwidthLimits(endpoint: Stored<'endpoints'>, { ns, dev, mtu }: HostEnd, wants: Wants): void {
  const { toSandbox, fromSandbox } = endpoint.spec.bandwidth;
  const why = `bandwidth of ${endpoint.id}`;
  if (toSandbox !== undefined) wants.add(ns, 'qdisc', why, shaper(dev, toSandbox, mtu));
  if (fromSandbox === undefined) return;
  const name = limiterName(dev);
  const alias = `${ALIAS_PREFIX}${nameOf(endpoint)}`;
  wants.add(ns, 'link', why, { type: 'ifb', name, up: true, mtu, alias });
  wants.add(ns, 'qdisc', why, shaper(name, fromSandbox, mtu));
  wants.add(ns, 'qdisc', why, { what: 'redirect', dev, to: name });
}
