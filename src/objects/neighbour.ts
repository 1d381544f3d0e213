import type { Ip, Mac } from '../base/ip.js';
import { WEFT_PROTOCOL } from './address.js';
import { type Kind, STAGE } from './kind.js';

/** A permanent neighbour entry: IP → MAC on a device. On a VXLAN with `proxy` the kernel answers ARP and ND from it. */
export interface Neighbour {
  dev: string;
  ip: Ip;
  mac: Mac;
  /** NUD_PERMANENT; observed entries of other states are never ours and are left out by the observer. */
  protocol?: number;
}

export const neighbourKind: Kind<Neighbour> = {
  name: 'neighbour',
  stages: [STAGE.neighbour],
  stage: () => STAGE.neighbour,
  rank: () => 0,
  key: (o) => [o.dev, o.ip].join(' '),
  same: (want, have) => (want.mac === have.mac ? '' : `is at ${have.mac}, wanted ${want.mac}`),
  owns: (have, where) => where.nsOwned || have.protocol === WEFT_PROTOCOL,
  standsOn: (o, devs) => devs.has(o.dev),
  describe: (o) => `neighbour ${o.ip} at ${o.mac} dev ${o.dev}`,
};
