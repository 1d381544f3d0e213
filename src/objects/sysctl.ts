import { type Kind, STAGE } from './kind.js';

/** One value below /proc/sys of a namespace, for example `net/ipv4/ip_forward`. Never inherited, never reset. */
export interface Sysctl {
  path: string;
  value: string;
  /** Exists only with a module that may be absent (br_netfilter): absent counts as satisfied. */
  optional?: boolean;
}

const PER_INTERFACE = /^net\/ipv[46]\/(?:conf|neigh)\/(?!all\/|default\/)([^/]+)\//;

/** The interface of whose settings it is one. */
export const interfaceOf = (path: string): string | undefined => PER_INTERFACE.exec(path)?.[1];

export const sysctlKind: Kind<Sysctl> = {
  name: 'sysctl',
  stages: [STAGE.sysctl, STAGE.linkSysctl, STAGE.vsSysctl, STAGE.conntrack],
  stage(o) {
    // conf/eth0/... exists only with eth0; vs/... only once ip_vs has been asked for in that namespace, and
    // those of connection tracking once a rule has.
    if (interfaceOf(o.path) !== undefined) return STAGE.linkSysctl;
    if (o.path.startsWith('net/netfilter/nf_conntrack_')) return STAGE.conntrack;
    return o.path.startsWith('net/ipv4/vs/') ? STAGE.vsSysctl : STAGE.sysctl;
  },
  rank: () => 0,
  key: (o) => o.path,
  same: (want, have) => (want.value === have.value ? '' : `is ${have.value}, wanted ${want.value}`),
  // A sysctl has no "absent": what nobody wishes any more stays as it is.
  owns: () => false,
  adopts: () => true,
  standsOn: (o, devs) => devs.has(interfaceOf(o.path) ?? ''),
  describe: (o) => `${o.path}=${o.value}`,
};
