import type { Stored } from '../model/registry.js';
import { SCHEDULERS, type Scheduler } from '../model/service.js';
import type { BalancerChoice } from '../network/world.js';

/** What a balancer can do. Counting connections is beyond nf_tables; hashing needs its module nft_hash. */
export function schedulersOf({ name, hash }: BalancerChoice): readonly Scheduler[] {
  if (name === 'ipvs') return SCHEDULERS;
  return hash ? ['rr', 'wrr', 'sh', 'mh'] : ['rr', 'wrr'];
}

/** The nearest that every balancer has: with weights, or without. */
const INSTEAD: Readonly<Record<Scheduler, Scheduler>> = {
  rr: 'rr',
  wrr: 'wrr',
  lc: 'rr',
  wlc: 'wrr',
  sh: 'wrr',
  mh: 'wrr',
};

/** The scheduler that a service has on this node: its own, or what stands in for it where it came from elsewhere. */
export function schedulerOf(choice: BalancerChoice, { spec }: Stored<'services'>): Scheduler {
  return schedulersOf(choice).includes(spec.scheduler) ? spec.scheduler : INSTEAD[spec.scheduler];
}

/** What is wrong with a service on this node because of its balancer. */
export function schedulerTrouble(choice: BalancerChoice, service: Stored<'services'>): string | undefined {
  const { scheduler } = service.spec;
  const used = schedulerOf(choice, service);
  if (used === scheduler) return undefined;
  return `balancer ${choice.name} of this node cannot do scheduler ${scheduler}; it balances by ${used} instead`;
}
