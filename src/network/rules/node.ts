import type { Family } from '../../base/ip.js';
import type { Wants, World } from '../world.js';
import { RuleBook } from './book.js';
import { bridgeRules } from './bridge.js';
import { gatewayRules } from './gateway.js';
import { ingressRules } from './ingress.js';
import { portRules } from './ports.js';
import { untrackedRules } from './untracked.js';

/** Adds a feature's rules of one family. */
export type Feature = (world: World, of: Family, book: RuleBook) => void;

/** Where several write into one chain (`WEFT-FORWARD`), their rules stand in this order. */
const FEATURES: readonly Feature[] = [untrackedRules, ingressRules, portRules, gatewayRules, bridgeRules];

/** The node's own rules of the IP layer: published ports in, containers out, in all networks' name. */
export function nodeRules(world: World, wants: Wants): void {
  const book = new RuleBook();
  for (const of of [4, 6] as const) for (const feature of FEATURES) feature(world, of, book);
  book.write(wants);
}
