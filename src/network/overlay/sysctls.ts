import type { Ns } from '../../objects/kind.js';
import type { Wants } from '../world.js';

/** An overlay namespace bridges and never routes; its devices keep silent (no router solicitations, no MLD). */
export function quiet(ns: Ns, why: string, wants: Wants): void {
  wants.sysctls(ns, why, {
    'net/ipv4/ip_forward': 0,
    'net/ipv4/conf/all/send_redirects': 0,
    'net/ipv4/conf/default/send_redirects': 0,
    // Refusals (no backend) must come at once, all of them: the default allows one ICMP a second and target.
    'net/ipv4/icmp_ratelimit': 0,
    // And without bit 3 (destination unreachable) they do not count against the burst all targets share (50).
    'net/ipv4/icmp_ratemask': 6160,
  });
  // A kernel without IPv6 has none of these.
  const six = {
    'net/ipv6/icmp/ratemask': '0,3-127',
    'net/ipv6/conf/all/forwarding': 0,
    // Devices inherit what is the node's default, and one without IPv6 takes no rows to answer solicitations from.
    'net/ipv6/conf/default/disable_ipv6': 0,
    'net/ipv6/conf/default/addr_gen_mode': 1,
    'net/ipv6/conf/default/accept_ra': 0,
    'net/ipv6/conf/default/router_solicitations': 0,
  };
  wants.sysctls(ns, why, six, true);
  // Worth 3 us a packet (11 %), and rules of the IP layer must never see bridged frames.
  const nf = (name: string) => `net/bridge/bridge-nf-call-${name}`;
  wants.sysctls(ns, why, { [nf('iptables')]: 0, [nf('ip6tables')]: 0, [nf('arptables')]: 0 }, true);
}
