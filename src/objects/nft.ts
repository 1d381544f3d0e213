import { type Kind, STAGE } from './kind.js';

export type NftFamily = 'bridge' | 'inet';

interface InTable {
  family: NftFamily;
  table: string;
}

export interface NftTable extends InTable {
  what: 'table';
}

/** A named set, or a map. */
export interface NftSetObject extends InTable {
  what: 'set';
  set: string;
  /** Canonical JSON of its shape (codec/nft/objects.ts): key, data, flags, size, timeout. */
  shape: string;
  /** What lets `nft list` print keys by type; no part of the comparison. */
  userdata?: string;
}

export interface NftChainName extends InTable {
  what: 'chain';
  chain: string;
}

/** A chain with all its rules, replaced as a whole. */
export interface NftChain extends NftChainName {
  base?: { hook: 'prerouting' | 'input' | 'forward' | 'output'; priority: number };
  /** Canonical JSON of each rule, in order. */
  rules: readonly string[];
}

/** One element of a set or map: what changes with services and backends. */
export interface NftElement extends InTable {
  what: 'element';
  set: string;
  /** Hex of the key as it stands in registers. */
  key: string;
  /** Maps: hex of the value, or `goto CHAIN`. */
  value?: string;
  /** Observed ones of counted sets: what found them since they were made. No part of the comparison. */
  counter?: { packets: number; bytes: number };
}

/**
 * Objects of nf_tables. All changes of one pass in one namespace and family are one transaction, removals included: a
 * backend that is replaced is never absent in between.
 */
export type NftObject = NftTable | NftSetObject | NftChain | NftElement;

const RANK = { table: 0, set: 1, chain: 2, element: 3 } as const;

export const nftKind: Kind<NftObject> = {
  name: 'nft',
  stages: [STAGE.guard, STAGE.nft],
  atomic: true,
  // The IP layer's tables guard and refer to nothing; the bridge's attract traffic to what must be there before.
  stage: (o) => (o.family === 'inet' ? STAGE.guard : STAGE.nft),
  rank: (o) => RANK[o.what],
  key(o) {
    const at = [o.what, o.family, o.table];
    if (o.what === 'chain') at.push(o.chain);
    else if (o.what === 'set') at.push(o.set);
    else if (o.what === 'element') at.push(o.set, o.key);
    return at.join(' ');
  },
  same(want, have) {
    if (want.what === 'set' && have.what === 'set') return want.shape === have.shape ? '' : 'its shape differs';
    if (want.what === 'chain' && have.what === 'chain') return chainDifference(want, have);
    if (want.what === 'element' && have.what === 'element') {
      return want.value === have.value ? '' : `maps to ${have.value}, wanted ${want.value}`;
    }
    return '';
  },
  // Only tables named weft are ever observed.
  owns: () => true,
  describe(o) {
    if (o.what === 'element') return `element ${o.key} of ${o.set}`;
    return `${o.what} ${o.what === 'table' ? o.table : o.what === 'set' ? o.set : o.chain}`;
  },
};

/** What a key of this kind stands for, where that can be asked for alone: an element without its value, a chain's name. */
export function nftByKey(text: string): NftElement | NftChainName | undefined {
  const [what, family, table, name, key] = text.split(' ') as [string, NftFamily, string, string, string];
  if (what === 'chain') return { what, family, table, chain: name };
  return what === 'element' ? { what, family, table, set: name, key } : undefined;
}

function chainDifference(want: NftChain, have: NftChain): string {
  if (JSON.stringify(want.base) !== JSON.stringify(have.base)) return 'its hook or priority differs';
  const at = want.rules.findIndex((rule, i) => rule !== have.rules[i]);
  if (at >= 0) return `rule ${at + 1} differs`;
  const extra = have.rules.length - want.rules.length;
  return extra > 0 ? `${extra} rules too many` : '';
}
