import type { Ip, Mac } from '../base/ip.js';
import { type Kind, STAGE } from './kind.js';

/**
 * In a VXLAN device this address stands for whatever has no row: broadcast, multicast, and what is unknown. It alone may
 * have several rows, one for each VTEP that shall get a copy.
 */
export const ALL_ZERO: Mac = '00:00:00:00:00:00';

/**
 * Where a MAC lives, in the forwarding databases at a bridge port: in the VXLAN device (MAC → VTEP) and in the bridge above
 * it (MAC → port). One object for both rows: they come and go together, and the kernel takes them in one message. Rows carry
 * no protocol number: permanent and static rows on devices of ours are ours, learned rows are ignored.
 */
export interface Fdb {
  dev: string;
  mac: Mac;
  /** VTEP of the row in the VXLAN device; where missing there is none. */
  dst?: Ip;
  /** Is there a static row in the bridge, which sends frames to `dev`? */
  bridge: boolean;
}

export const fdbKind: Kind<Fdb> = {
  name: 'fdb',
  stages: [STAGE.neighbour],
  stage: () => STAGE.neighbour,
  rank: () => 0,
  key: (o) => (o.mac === ALL_ZERO ? [o.dev, o.mac, o.dst] : [o.dev, o.mac]).join(' '),
  same(want, have) {
    if (want.dst !== have.dst) return `points to ${have.dst ?? 'nowhere'}, wanted ${want.dst ?? 'nowhere'}`;
    if (want.bridge === have.bridge) return '';
    return want.bridge ? 'is missing in the bridge' : 'is in the bridge too';
  },
  owns: (_have, where) => where.nsOwned,
  standsOn: (o, devs) => devs.has(o.dev),
  describe: (o) => `fdb ${o.mac} dev ${o.dev}${o.dst ? ` dst ${o.dst}` : ''}${o.bridge ? '' : ' (not in the bridge)'}`,
};
