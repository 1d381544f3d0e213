import type { Family } from '../../base/ip.js';
import { USER_CHAIN } from '../../objects/iptables.js';
import { NODE_NS } from '../../objects/kind.js';
import type { Wants } from '../world.js';
import { type PortRules, portTree } from './port-tree.js';

interface RulesOf {
  family: Family;
  table: string;
}

/** Rules of the node's IP layer in the making: features write into shared chains, and each chain is one object. */
export class RuleBook {
  readonly #chains = new Map<string, RulesOf & { chain: string; rules: string[] }>();
  readonly #jumps = new Map<string, RulesOf & { chain: string; rule: string }>();

  /** Appends to a chain of ours; it exists from then on, also without rules. Rules are as iptables-save prints them. */
  add(family: Family, table: string, chain: string, rules: readonly string[]): void {
    const id = `${family} ${table} ${chain}`;
    const found = this.#chains.get(id);
    if (found) found.rules.push(...rules);
    else this.#chains.set(id, { family, table, chain, rules: [...rules] });
  }

  /** Appends rules about ports, found in few steps however many there are; all that a chain has of them at once. */
  addPorts(family: Family, table: string, chain: string, rules: readonly PortRules[]): void {
    for (const [name, texts] of portTree(chain, rules)) this.add(family, table, name, texts);
  }

  /** A jump from a built-in chain, once however often it is asked for. */
  jump(family: Family, table: string, from: string, rule: string): void {
    this.#jumps.set(`${family} ${table} ${from} ${rule}`, { family, table, chain: from, rule });
  }

  /** What passes, or does not, whatever the policy of FORWARD; the user's chain comes first. */
  forward(family: Family, rules: readonly string[]): void {
    this.add(family, 'filter', USER_CHAIN, []);
    if (!this.#chains.has(`${family} filter WEFT-FORWARD`))
      this.add(family, 'filter', 'WEFT-FORWARD', [`-j ${USER_CHAIN}`]);
    this.add(family, 'filter', 'WEFT-FORWARD', rules);
    this.jump(family, 'filter', 'FORWARD', '-j WEFT-FORWARD');
  }

  /** What may leave by interfaces that no rule of `forward` speaks of: after all of those, whoever wrote them. */
  leave(family: Family, rules: readonly string[]): void {
    this.forward(family, []);
    this.#leaving.set(family, [...(this.#leaving.get(family) ?? []), ...rules]);
  }
  readonly #leaving = new Map<Family, string[]>();

  /** Source addresses of what leaves. */
  outgoing(family: Family, rules: readonly string[]): void {
    this.add(family, 'nat', 'WEFT-POSTROUTING', rules);
    this.jump(family, 'nat', 'POSTROUTING', '-j WEFT-POSTROUTING');
  }

  /** Translations of what is addressed to the node, from elsewhere and from itself; `first` come before those of ports. */
  incoming(family: Family, chain: string, first: readonly string[], ports: readonly PortRules[]): void {
    this.add(family, 'nat', chain, first);
    this.addPorts(family, 'nat', chain, ports);
    for (const from of ['PREROUTING', 'OUTPUT'])
      this.jump(family, 'nat', from, `-m addrtype --dst-type LOCAL -j ${chain}`);
  }

  write(wants: Wants): void {
    for (const [family, rules] of this.#leaving) this.forward(family, rules);
    this.#leaving.clear();
    for (const chain of this.#chains.values()) {
      wants.add(NODE_NS, 'iptables', `node rules (${chain.chain})`, { what: 'chain', ...chain });
    }
    for (const jump of this.#jumps.values()) wants.add(NODE_NS, 'iptables', 'node rules', { what: 'jump', ...jump });
  }
}
