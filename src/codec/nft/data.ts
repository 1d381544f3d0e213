import { WeftError } from '../../base/errors.js';
import type { AttrReader, AttrWriter } from '../attr.js';
import { bytesHex, type Hex, hexBytes } from './hex.js';

/* struct nft_data as attributes (linux/netfilter/nf_tables.h, nft_data_attributes): a value or a verdict. */
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_VERDICT_CHAIN = 2;
/** Longest value: four registers of 16 bytes. */
export const NFT_DATA_VALUE_MAXLEN = 64;

/** NF_* of linux/netfilter.h and enum nft_verdicts, which share one number space. */
const VERDICTS = { drop: 0, accept: 1, continue: -1, break: -2, jump: -3, goto: -4, return: -5 } as const;
const VERDICT_NAMES: ReadonlyMap<number, keyof typeof VERDICTS> = new Map(
  (Object.entries(VERDICTS) as [keyof typeof VERDICTS, number][]).map(([name, n]) => [n, name]),
);

export type Verdict =
  | { verdict: 'accept' | 'drop' | 'continue' | 'break' | 'return' }
  | { verdict: 'jump' | 'goto'; chain: string }
  /** NF_QUEUE and whatever else other programs' rules hold: the number as it is, signed. */
  | { verdict: 'other'; code: number };

/** What a map gives back and `immediate` loads: a value, or (register 0) a verdict. */
export type NftData = Hex | Verdict;

/** Writes a nest of nft_data_attributes. @throws WEFT_INVALID_ARGUMENT */
export function writeData(a: AttrWriter, attr: number, data: NftData): void {
  if (typeof data === 'string') writeValue(a, attr, data);
  else a.nest(attr, (d) => d.nest(NFTA_DATA_VERDICT, (v) => writeVerdict(v, data)));
}

/** A value only. @throws WEFT_INVALID_ARGUMENT */
export function writeValue(a: AttrWriter, attr: number, hex: Hex): void {
  const bytes = hexBytes(hex, NFT_DATA_VALUE_MAXLEN);
  if (bytes.length === 0) throw new WeftError('WEFT_INVALID_ARGUMENT', 'nf_tables has no empty values');
  a.nest(attr, (d) => d.bytes(NFTA_DATA_VALUE, bytes));
}

function writeVerdict(a: AttrWriter, data: Verdict): void {
  const code = data.verdict === 'other' ? data.code : VERDICTS[data.verdict];
  a.be32(NFTA_VERDICT_CODE, code >>> 0);
  if ('chain' in data) a.string(NFTA_VERDICT_CHAIN, data.chain);
}

/** Reads the nest at the cursor. @throws WEFT_INTERNAL where it holds neither a value nor a verdict. */
export function readData(a: AttrReader): NftData {
  const d = a.nested(`${a.where} data`);
  while (d.next()) {
    if (d.type === NFTA_DATA_VALUE) return bytesHex(d.bytes());
    if (d.type === NFTA_DATA_VERDICT) return readVerdict(d.nested(`${a.where} verdict`));
  }
  throw new WeftError('WEFT_INTERNAL', `${a.where}: data without value`);
}

function readVerdict(a: AttrReader): Verdict {
  let code: number | undefined;
  let chain: string | undefined;
  while (a.next()) {
    if (a.type === NFTA_VERDICT_CODE) code = a.be32() | 0;
    else if (a.type === NFTA_VERDICT_CHAIN) chain = a.string();
  }
  if (code === undefined) throw new WeftError('WEFT_INTERNAL', `${a.where}: no verdict code`);
  const verdict = VERDICT_NAMES.get(code);
  if (verdict === undefined) return { verdict: 'other', code };
  if (verdict !== 'jump' && verdict !== 'goto') return { verdict };
  if (chain === undefined) throw new WeftError('WEFT_INTERNAL', `${a.where}: ${verdict} without chain`);
  return { verdict, chain };
}
