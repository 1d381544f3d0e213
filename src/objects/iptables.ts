import type { Family } from '../base/ip.js';
import { type Kind, STAGE } from './kind.js';

/** A user-defined chain of ours with all its rules, replaced as a whole. */
export interface RuleChain {
  what: 'chain';
  family: Family;
  table: string;
  chain: string;
  /** As iptables-save prints them, without `-A CHAIN`. */
  rules: readonly string[];
}

/** A rule of ours in a built-in chain, which jumps to a chain of ours. It stands first when made. */
export interface RuleJump {
  what: 'jump';
  family: Family;
  table: string;
  /** The built-in chain. */
  chain: string;
  /** The whole rule: `-m addrtype --dst-type LOCAL -j WEFT-INGRESS`. */
  rule: string;
}

export type IptablesObject = RuleChain | RuleJump;

/** Chains whose names begin so are ours; so are jumps to them. */
export const CHAIN_PREFIX = 'WEFT-';
/** Chains of a task's sandbox: they translate for its services and must stand before the balancers choose it. */
export const TASK_PREFIX = 'WEFT-TASK-';
/** Ours to call, the user's to fill: never changed once it exists. */
export const USER_CHAIN = 'WEFT-USER';

const target = (o: IptablesObject): string => (o.what === 'chain' ? o.chain : (/-[jg] (\S+)/.exec(o.rule)?.[1] ?? ''));

export const iptablesKind: Kind<IptablesObject> = {
  name: 'iptables',
  stages: [STAGE.taskChain, STAGE.ingressChain],
  stage: (o) => (target(o).startsWith(TASK_PREFIX) ? STAGE.taskChain : STAGE.ingressChain),
  rank: (o) => (o.what === 'chain' ? 0 : 1),
  key: (o) =>
    o.what === 'chain' ? `${o.family} ${o.table} ${o.chain}` : `${o.family} ${o.table} ${o.chain} ${o.rule}`,
  same(want, have) {
    if (want.what !== 'chain' || have.what !== 'chain' || want.chain === USER_CHAIN) return '';
    const at = want.rules.findIndex((rule, i) => rule !== have.rules[i]);
    if (at >= 0) return `rule ${at + 1} is "${have.rules[at] ?? 'missing'}"`;
    const extra = have.rules.length - want.rules.length;
    return extra > 0 ? `${extra} rules too many` : '';
  },
  owns(o) {
    if (o.what === 'chain' && o.chain === USER_CHAIN) return o.rules.length === 0;
    return target(o).startsWith(CHAIN_PREFIX) && target(o) !== USER_CHAIN;
  },
  describe: (o) =>
    o.what === 'chain' ? `chain ${o.chain} in ${o.table}` : `jump from ${o.chain} in ${o.table}: ${o.rule}`,
};
