import type { Ns } from '../objects/kind.js';
import type { Wants } from './world.js';

/** What makes a namespace a router, by family. The kernel port sees to routes that come from router advertisements. */
export const FORWARDING = {
  4: { 'net/ipv4/ip_forward': 1 },
  6: { 'net/ipv6/conf/all/forwarding': 1 },
} as const;

/**
 * An interface that gets an IPv6 address: container engines switch IPv6 off where they know of no network with it, and
 * routers are not learned from whoever says to be one.
 */
export function speakIpv6(ns: Ns, ifname: string, why: string, wants: Wants): void {
  const of = (name: string) => `net/ipv6/conf/${ifname}/${name}`;
  wants.sysctls(ns, why, { [of('disable_ipv6')]: 0, [of('accept_ra')]: 0 });
}

/**
 * An interface of the node by which containers reach it, without an address of IPv6: it has a link-local one all the same,
 * and a container that says to be a router must not become the node's.
 */
export function ignoreRouters(ns: Ns, ifname: string, why: string, wants: Wants): void {
  wants.sysctls(ns, why, { [`net/ipv6/conf/${ifname}/accept_ra`]: 0 }, true);
}

const ct = (name: string): string => `net/netfilter/nf_conntrack_${name}`;

/**
 * How long connection tracking remembers a TCP connection without packets, in a namespace where a balanced one needs it:
 * longer than the 7200 s until keep-alive first speaks, and an hour where one side has closed and the other goes on.
 */
export const TCP_MEMORY = { [ct('tcp_timeout_established')]: 432_000, [ct('tcp_timeout_close_wait')]: 3600 };
/** UDP in balancers: as IPVS has it. */
export const UDP_MEMORY = { [ct('udp_timeout')]: 300, [ct('udp_timeout_stream')]: 300 };
/** What is out of the window is translated like the rest: otherwise it would leave with an address nobody asked. */
export const LIBERAL = { [ct('tcp_be_liberal')]: 1 };
