import type { InspectRow } from '../../api/agent.js';
import type { Expr } from '../../codec/nft/expr.js';
import { ruleWords } from '../../codec/nft/words.js';
import { CHAIN_PREFIX, type IptablesObject } from '../../objects/iptables.js';
import type { Ns } from '../../objects/kind.js';
import type { NftElement, NftObject } from '../../objects/nft.js';
import { type Compared, compare, type Look, mark, namespaces, type View } from './look.js';

/** Our chains of iptables and the jumps to them, and our nf_tables chains and sets, one row each, in every namespace. */
export const rules: View = async (look) => {
  const out: InspectRow[] = [];
  for (const ns of await namespaces(look)) out.push(...(await iptablesIn(look, ns)), ...(await nftIn(look, ns)));
  return out;
};

async function iptablesIn(look: Look, ns: Ns): Promise<InspectRow[]> {
  const seen = await compare<IptablesObject>(look, 'iptables', ns);
  return seen.map((compared) => {
    const { object: o } = compared;
    const table = `${o.family === 4 ? 'ip' : 'ip6'} ${o.table}`;
    const texts = o.what === 'chain' ? o.rules : [o.rule];
    // A jump stands in a built-in chain, which is the hook; a chain of ours is called by a jump.
    const at = o.what === 'chain' ? { chain: o.chain } : { chain: jumpTarget(o.rule), hook: o.chain };
    return { namespace: ns, what: o.what, table, ...at, count: texts.length, rules: texts, ...mark(compared) };
  });
}

const jumpTarget = (rule: string): string => /-[jg] (\S+)/.exec(rule)?.[1] ?? CHAIN_PREFIX;

async function nftIn(look: Look, ns: Ns): Promise<InspectRow[]> {
  const seen = await compare<NftObject>(look, 'nft', ns);
  const elements = elementsBySet(seen);
  return seen.flatMap((compared): InspectRow[] => {
    const { object: o } = compared;
    if (o.what === 'element' || o.what === 'table') return [];
    const row = { namespace: ns, what: o.what, table: `${o.family} ${o.table}` };
    if (o.what === 'chain') {
      const hook = o.base && { hook: `${o.base.hook} ${o.base.priority}` };
      const texts = o.rules.map((text) => ruleWords((JSON.parse(text) as { exprs: Expr[] }).exprs));
      return [{ ...row, chain: o.chain, ...hook, count: texts.length, rules: texts, ...mark(compared) }];
    }
    // A dynamic set is filled by packets: nobody counts or wishes its elements.
    if (o.shape.includes('"dynamic"')) return [{ ...row, chain: o.set, ...mark(compared) }];
    const mine = elements.get(`${o.family} ${o.set}`) ?? [];
    const there = mine.filter(({ drift }) => drift !== 'missing').length;
    return [{ ...row, chain: o.set, count: there, ...mark(compared, elementDrift(mine)) }];
  });
}

function elementsBySet(seen: readonly Compared<NftObject>[]): Map<string, Compared<NftElement>[]> {
  const out = new Map<string, Compared<NftElement>[]>();
  for (const compared of seen) {
    if (compared.object.what !== 'element') continue;
    const set = `${compared.object.family} ${compared.object.set}`;
    const list = out.get(set) ?? [];
    list.push(compared as Compared<NftElement>);
    out.set(set, list);
  }
  return out;
}

/** A set is as wished when its elements are. */
function elementDrift(elements: readonly Compared<NftElement>[]): { drift: 'ok' | 'differs'; reason?: string } {
  const counts = (['missing', 'differs', 'foreign', 'held'] as const)
    .map((drift) => ({ drift, n: elements.filter((e) => e.drift === drift).length }))
    .filter(({ n }) => n > 0);
  if (counts.length === 0) return { drift: 'ok' };
  return { drift: 'differs', reason: `elements: ${counts.map(({ drift, n }) => `${n} ${drift}`).join(', ')}` };
}
