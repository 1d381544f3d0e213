import { Shared } from '../../base/shared.js';
import type { NftChain, NftElement, NftFamily, NftSetObject } from '../../objects/nft.js';
import { type Chain, newChain } from './chain.js';
import type { Change } from './change.js';
import type { NftData } from './data.js';
import type { Element } from './element.js';
import { normalRule, normalSet } from './normal.js';
import { newRule, type Rule } from './rule.js';
import type { NftSet } from './set.js';

/*
 * Kernel objects ↔ messages of nf_tables. Rules and shapes of sets travel through objects/ as canonical JSON: equal text is an
 * equal rule, and objects/ need not know what an expression is. (Rules of ours hold no 64-bit numbers, which JSON lacks.)
 */

/** JSON with sorted keys and without what is undefined. By hand: a replacer takes five times as long, and rules are many. */
function canonicalJson(value: unknown): string {
  if (typeof value === 'bigint') return String(Number(value));
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  const fields = Object.entries(value)
    .filter(([, v]) => v !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, v]) => `${JSON.stringify(k)}:${canonicalJson(v)}`);
  return `{${fields.join(',')}}`;
}

/** Services with as many backends have the same rule, 700 bytes of text, in as many chains as there are services. */
const texts = new Shared();

/** A rule as objects/ keep it. */
export function ruleText(rule: Rule): string {
  const { exprs, comment } = normalRule(rule);
  return texts.text(canonicalJson({ exprs, comment }));
}

export function setObject(set: NftSet): NftSetObject {
  const { family, table, set: name, userdata, comment: _comment, ...shape } = normalSet(set);
  const object = { what: 'set', family: family as NftFamily, table, set: name, shape: canonicalJson(shape) } as const;
  return userdata === undefined ? object : { ...object, userdata };
}

export function setMessage(o: NftSetObject): NftSet {
  const shape = JSON.parse(o.shape) as Omit<NftSet, 'family' | 'table' | 'set'>;
  const userdata = o.userdata === undefined ? {} : { userdata: o.userdata };
  return { family: o.family, table: o.table, set: o.set, ...shape, ...userdata };
}

/** @param rules each as `ruleText` has it */
export function chainObject(chain: Chain, rules: readonly string[]): NftChain {
  const base = chain.base && { hook: chain.base.hook as 'prerouting', priority: chain.base.priority };
  return {
    what: 'chain',
    family: chain.family as NftFamily,
    table: chain.table,
    chain: chain.chain,
    ...(base && { base }),
    rules,
  };
}

export function chainMessage(o: NftChain): Change {
  const base = o.base && { type: 'filter', ...o.base, policy: 'accept' as const };
  return newChain({ family: o.family, table: o.table, chain: o.chain, ...(base && { base }) });
}

export function ruleMessages(o: NftChain): Change[] {
  return o.rules.map((text) => {
    const { exprs, comment } = JSON.parse(text) as Pick<Rule, 'exprs' | 'comment'>;
    return newRule({
      family: o.family,
      table: o.table,
      chain: o.chain,
      exprs,
      ...(comment !== undefined && { comment }),
    });
  });
}

export function elementObject(family: NftFamily, table: string, set: string, element: Element): NftElement {
  const value = element.data === undefined ? undefined : dataText(element.data);
  const { key = '*', counter } = element;
  return {
    what: 'element',
    family,
    table,
    set,
    key,
    ...(value !== undefined && { value }),
    ...(counter && { counter }),
  };
}

export function elementMessage(o: NftElement): Element {
  return { key: o.key, ...(o.value !== undefined && { data: textData(o.value) }) };
}

function dataText(data: NftData): string {
  if (typeof data === 'string') return data;
  return 'chain' in data ? `${data.verdict} ${data.chain}` : data.verdict;
}

function textData(text: string): NftData {
  const [verdict, chain] = text.split(' ');
  if ((verdict === 'goto' || verdict === 'jump') && chain !== undefined) return { verdict, chain };
  if (verdict === 'accept' || verdict === 'drop' || verdict === 'return') return { verdict };
  return text;
}
