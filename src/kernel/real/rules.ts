import { parseCidr } from '../../base/cidr.js';
import type { WeftError } from '../../base/errors.js';
import { NLM_F_CREATE, NLM_F_EXCL } from '../../codec/netlink.js';
import { AF_INET, AF_INET6, AF_UNSPEC } from '../../codec/rtnl/family.js';
import {
  FR_ACT_TO_TBL,
  RTM_DELRULE,
  RTM_GETRULE,
  RTM_NEWRULE,
  type Rule as RuleMessage,
  readRule,
  writeRule,
  writeRuleDump,
} from '../../codec/rtnl/rule.js';
import { WEFT_PROTOCOL } from '../../objects/address.js';
import type { Ns } from '../../objects/kind.js';
import type { Rule } from '../../objects/rule.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort } from '../port.js';
import { oneByOne, outcome, spaceFor } from './port.js';
import type { Spaces } from './spaces.js';

/** Routing policy rules that look up a table. */
export class RulePort implements KindPort<Rule> {
  constructor(readonly spaces: Spaces) {}

  async observe(ns: Ns): Promise<Rule[]> {
    const space = this.spaces.open(ns);
    if (!space) return [];
    const rows = await space.rtnl.dump(RTM_GETRULE, writeRuleDump, { family: AF_UNSPEC });
    return rows
      .map((row) => readRule(row.body))
      .filter((m) => m.action === FR_ACT_TO_TBL)
      .map(decoded);
  }

  async apply(ns: Ns, ops: readonly Op<Rule>[]): Promise<(WeftError | undefined)[]> {
    const space = spaceFor(this.spaces, ns);
    return oneByOne(ops, async (op) => {
      if (op.have && op.verb !== 'add') {
        const gone = await space.rtnl.request(RTM_DELRULE, 0, writeRule, encoded(op.have));
        if (op.verb === 'remove') return outcome(op, gone);
      }
      return outcome(
        op,
        await space.rtnl.request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, writeRule, encoded(op.want as Rule)),
      );
    });
  }
}

function decoded(m: RuleMessage): Rule {
  return {
    family: m.family === AF_INET6 ? 6 : 4,
    priority: m.priority ?? 0,
    table: m.table,
    ...(m.fwmark !== undefined && { fwmark: m.fwmark, mask: m.fwmask ?? 0xffffffff }),
    ...(m.iif !== undefined && { iif: m.iif }),
    ...(m.src !== undefined && { src: `${m.src}/${m.srcLength}` }),
    ...(m.ipProto !== undefined && { ipProto: m.ipProto }),
    ...(m.sourcePorts && { sourcePorts: m.sourcePorts }),
    ...(m.protocol !== undefined && { protocol: m.protocol }),
  };
}

function encoded(o: Rule): RuleMessage {
  const src = o.src === undefined ? undefined : parseCidr(o.src);
  return {
    family: o.family === 6 ? AF_INET6 : AF_INET,
    action: FR_ACT_TO_TBL,
    table: o.table,
    priority: o.priority,
    protocol: WEFT_PROTOCOL,
    ...(o.fwmark !== undefined && { fwmark: o.fwmark, fwmask: o.mask ?? 0xffffffff }),
    ...(o.iif !== undefined && { iif: o.iif }),
    ...(src && { src: src.first, srcLength: src.length }),
    ...(o.ipProto !== undefined && { ipProto: o.ipProto }),
    ...(o.sourcePorts && { sourcePorts: o.sourcePorts }),
  };
}
