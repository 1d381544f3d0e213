import type { Cidr, Family } from '../base/ip.js';
import { WEFT_PROTOCOL } from './address.js';
import { differences, type Kind, STAGE } from './kind.js';

/** A routing policy rule (`ip rule`). */
export interface Rule {
  family: Family;
  priority: number;
  table: number;
  fwmark?: number;
  mask?: number;
  iif?: string;
  src?: Cidr;
  /** IPPROTO_* (linux/in.h). */
  ipProto?: number;
  /** First and last, of that protocol. */
  sourcePorts?: { start: number; end: number };
  protocol?: number;
}

export const ruleKind: Kind<Rule> = {
  name: 'rule',
  stages: [STAGE.rule],
  stage: () => STAGE.rule,
  rank: () => 0,
  // Nothing in a rule can be changed in place, so all of it is identity.
  key: (o) =>
    `${o.family} ${o.priority} ${o.fwmark ?? 0}/${o.mask ?? 0} ${o.iif ?? '*'} ${o.src ?? '*'} ${transport(o)} ${o.table}`,
  same: (want, have) => differences(want, have, ['table']),
  owns: (have) => have.protocol === WEFT_PROTOCOL,
  describe: (o) => {
    const mark = o.fwmark ? `fwmark ${o.fwmark}/${o.mask} ` : '';
    const ports = o.ipProto === undefined ? '' : `from ports ${transport(o)} `;
    return `rule ${o.priority} ${mark}${ports}table ${o.table}`;
  },
};

const transport = ({ ipProto, sourcePorts: ports }: Rule): string =>
  `${ipProto ?? '*'}:${ports ? `${ports.start}-${ports.end}` : '*'}`;
