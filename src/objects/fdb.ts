import type { Ip, Mac } from '../base/ip.js';
import { type Kind, STAGE } from './kind.js';

/**
 * A row of a forwarding database: in the VXLAN device itself (`self`: MAC → VTEP) or in the bridge above it
 * (`master`: MAC → port). Rows carry no protocol number: permanent and static rows on devices of ours are ours,
 * learned rows are ignored.
 */
export interface Fdb {
  dev: string;
  mac: Mac;
  where: 'self' | 'master';
  /** VTEP, for `self` rows of a VXLAN device. */
  dst?: Ip;
}

export const fdbKind: Kind<Fdb> = {
  name: 'fdb',
  stages: [STAGE.neighbour],
  stage: () => STAGE.neighbour,
  rank: (o) => (o.where === 'self' ? 0 : 1),
  key: (o) => `${o.dev} ${o.mac} ${o.where}`,
  same: (want, have) => (want.dst === have.dst ? '' : `points to ${have.dst ?? 'nowhere'}, wanted ${want.dst}`),
  owns: (_have, where) => where.nsOwned,
  describe: (o) => `fdb ${o.mac} dev ${o.dev} ${o.where}${o.dst ? ` dst ${o.dst}` : ''}`,
};
