import { type Family, family, type Ip } from '../../base/ip.js';
import { familiesOfPort, type NodePort, type Span, servedPorts } from '../../model/published.js';
import type { PublishedPort } from '../../model/service.js';
import { portTarget } from '../../network/ports.js';
import { INGRESS_CHAIN, meshTranslations } from '../../network/rules/ingress.js';
import { PORTS_CHAIN, translations } from '../../network/rules/ports.js';
import type { IptablesObject, RuleChain } from '../../objects/iptables.js';
import type { Compared, Drift, Look } from './look.js';

/** How the rules of a port compare with the wish, and where they lead. */
export interface Check {
  via?: string;
  drift: Drift;
  reason?: string;
}

type Seen = readonly Compared<IptablesObject>[];

/** Tells whether the rule of a port of the mesh is in the kernel, and is reached. */
export function meshCheck(look: Look, seen: Seen, own: readonly Ip[]): (p: PublishedPort) => Check {
  const families = own.map(family);
  const broken = families.map((of) => brokenJump(seen, INGRESS_CHAIN, of)).find((jump) => jump);
  const have = rulesIn(seen, INGRESS_CHAIN);
  return (p) => {
    const node = look.world.self.name;
    if (own.length === 0) {
      const hint = `weft node add ${node} --vtep ${look.world.self.vtep} --address INGRESS=IP`;
      return { drift: 'missing', reason: `node ${node} has no address on the ingress network (${hint})` };
    }
    const rules = own.flatMap((ip) => meshTranslations(p, family(ip), ip));
    if (rules.length === 0)
      return { drift: 'missing', reason: `node ${node} has no address of that family on the ingress network` };
    if (rules.some((rule) => !have.has(rule)))
      return { drift: 'missing', reason: `no rule for it in ${INGRESS_CHAIN}` };
    if (broken) return { drift: 'missing', reason: `no jump from ${broken.object.chain} to ${INGRESS_CHAIN}` };
    return { drift: 'ok' };
  };
}

/** Tells where a port of mode host leads, and whether its rules are in the kernel, and are reached. */
export function hostCheck(look: Look, seen: Seen): (port: NodePort, span: Span) => Check {
  const { world } = look;
  const served = servedPorts(world.wish, world.chosenPort);
  const have = rulesIn(seen, PORTS_CHAIN);
  return (port) => {
    const one = served.find(
      ({ p, owner, sandbox }) => p === port.p && owner === port.owner && sandbox === port.sandbox,
    );
    if (!one) return { drift: 'missing', reason: 'the port is published for something else on this node' };
    const families = familiesOfPort(one.p).filter((of) => portTarget(world, one.sandbox, of));
    if (families.length === 0) {
      return { drift: 'missing', reason: `sandbox ${one.sandbox} has no address that the node reaches` };
    }
    const via = families.map((of) => portTarget(world, one.sandbox, of)?.ip).join(',');
    const lost = families.flatMap((of) => translations(one, of, portTarget(world, one.sandbox, of)));
    if (lost.some((rule) => !have.has(rule)))
      return { via, drift: 'missing', reason: `no rule for it in ${PORTS_CHAIN}` };
    const broken = families.map((of) => brokenJump(seen, PORTS_CHAIN, of)).find((jump) => jump);
    if (broken) return { via, drift: 'missing', reason: `no jump from ${broken.object.chain} to ${PORTS_CHAIN}` };
    return { via, drift: 'ok' };
  };
}

function brokenJump(seen: Seen, chain: string, of: Family): Compared<IptablesObject> | undefined {
  return seen.find(
    ({ object, drift }) =>
      object.what === 'jump' && object.family === of && object.rule.endsWith(chain) && drift !== 'ok',
  );
}

/** Rules that a packet in the chain may be compared with: its own, and those of the chains it leads to. */
function rulesIn(seen: Seen, first: string): Set<string> {
  const chains = new Map<string, RuleChain[]>();
  for (const { object, drift } of seen) {
    if (object.what !== 'chain' || drift === 'missing') continue;
    chains.set(object.chain, [...(chains.get(object.chain) ?? []), object]);
  }
  const out = new Set<string>();
  const reached = new Set([first]);
  for (const chain of reached) {
    for (const rule of (chains.get(chain) ?? []).flatMap(({ rules }) => rules)) {
      out.add(rule);
      const next = / -j (WEFT-\S+)$/.exec(rule)?.[1];
      if (next !== undefined) reached.add(next);
    }
  }
  return out;
}
