import { family, type Ip } from '../base/ip.js';
import { differences, type Kind, STAGE } from './kind.js';

/** rtnetlink protocol number of weft's addresses, routes, rules and neighbours (design.md section 3). */
export const WEFT_PROTOCOL = 87;

export interface Address {
  dev: string;
  ip: Ip;
  /** Prefix length. */
  length: number;
  /** Observed: IFA_PROTO (kernel 5.18+), 0 where unset. */
  protocol?: number;
}

export const addressKind: Kind<Address> = {
  name: 'address',
  stages: [STAGE.address],
  stage: () => STAGE.address,
  rank: () => 0,
  key: (o) => `${o.dev} ${o.ip}`,
  same: (want, have) => differences(want, have, ['length']),
  owns(have, where) {
    if (have.protocol === WEFT_PROTOCOL) return true;
    // Link-local IPv6 and loopback addresses are the kernel's own.
    const kernels = have.dev === 'lo' || (family(have.ip) === 6 && have.ip.startsWith('fe80:'));
    return where.nsOwned && !kernels;
  },
  standsOn: (o, devs) => devs.has(o.dev),
  describe: (o) => `${o.ip}/${o.length} on ${o.dev}`,
};
