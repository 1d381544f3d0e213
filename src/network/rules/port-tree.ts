import type { PublishedPort } from '../../model/service.js';

/** Rules about the ports from `from` to `to` of one protocol, in the order in which the kernel shall ask them. */
export interface PortRules {
  proto: PublishedPort['proto'];
  from: number;
  to: number;
  rules: readonly string[];
}

/** Rules that a packet may be compared with one by one: the kernel asks 60 a microsecond. */
const LIST_MAX = 32;
/** A range of ports is divided by its next four bits. */
const FAN_OUT = 16;
const ALL_PORTS = 65536;

/**
 * Chains that find the rules of a port among thousands in few steps: the first is called `chain`, and where its list would
 * be long it leads to others by ranges of ports, which are the same whatever is published: `CHAIN-tcp-8192x4096` has what
 * is about the 4096 ports from 8192. Rules about a range of ports are in each chain that has ports of it; of one port they
 * keep their order.
 */
export function portTree(chain: string, ports: readonly PortRules[]): Map<string, readonly string[]> {
  const all = ports.filter(({ rules }) => rules.length > 0);
  const chains = new Map<string, readonly string[]>();
  const protos = [...new Set(all.map(({ proto }) => proto))];
  const lists = protos.map((proto) => all.filter((one) => one.proto === proto));
  const root = count(all) <= LIST_MAX ? texts(all) : lists.flatMap((list) => branch(chain, list, chains));
  return new Map([[chain, root], ...chains]);
}

/** Part of the ports of a protocol, and the rules about them. */
interface Part {
  first: number;
  size: number;
  rules: readonly PortRules[];
}

/** The rules of one protocol, or jumps to where they are. */
function branch(chain: string, rules: readonly PortRules[], chains: Map<string, readonly string[]>): string[] {
  return within({ first: 0, size: ALL_PORTS, rules }, chain, chains);
}

function within(part: Part, chain: string, chains: Map<string, readonly string[]>): string[] {
  if (isList(part)) return texts(part.rules);
  return divided(part).flatMap((child) => {
    if (count(child.rules) === 1) return texts(child.rules);
    const { proto } = child.rules[0] as PortRules;
    const { first, size } = child;
    const name = `${chain}-${proto}-${first}x${size}`;
    chains.set(name, within(child, chain, chains));
    const ports = size === 1 ? first : `${first}:${first + size - 1}`;
    return [`-p ${proto} -m ${proto} --dport ${ports} -j ${name}`];
  });
}

/** Is it short, or does dividing it not help, since all of it is about the same ports? */
function isList({ first, size, rules }: Part): boolean {
  if (count(rules) <= LIST_MAX || size === 1) return true;
  const clipped = rules.map(({ from, to }) => `${Math.max(from, first)} ${Math.min(to, first + size - 1)}`);
  return new Set(clipped).size === 1;
}

/** The parts that have rules; of one that alone has any, its parts. */
function divided({ first, size, rules }: Part): Part[] {
  const step = size / FAN_OUT;
  const parts = Array.from({ length: FAN_OUT }, (_, i) => {
    const start = first + i * step;
    return { first: start, size: step, rules: rules.filter(({ from, to }) => from < start + step && to >= start) };
  }).filter((part) => part.rules.length > 0);
  const [only] = parts;
  return only && parts.length === 1 && !isList(only) ? divided(only) : parts;
}

const count = (rules: readonly PortRules[]): number => rules.reduce((sum, one) => sum + one.rules.length, 0);
const texts = (rules: readonly PortRules[]): string[] => rules.flatMap((one) => one.rules);
