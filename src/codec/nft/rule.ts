import { WeftError } from '../../base/errors.js';
import { type Message, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE } from '../netlink.js';
import { nfBody } from '../nfnl.js';
import { type ChainRef, chainText } from './chain.js';
import {
  type Change,
  dumpRequest,
  NFT_MSG_DELRULE,
  NFT_MSG_GETRULE,
  NFT_MSG_NEWRULE,
  type TableRef,
} from './change.js';
import { type Expr, readExprs, writeExprs } from './expr.js';
import { readUserdata, UDATA_COMMENT, type Userdata, userdataBytes } from './userdata.js';

/* nft_rule_attributes */
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_HANDLE = 3;
const NFTA_RULE_EXPRESSIONS = 4;
const NFTA_RULE_POSITION = 6;
const NFTA_RULE_USERDATA = 7;

export interface Rule extends ChainRef, Userdata {
  exprs: Expr[];
  /** Given by the kernel, unique in the table. */
  handle?: bigint;
}

/** Where a new rule goes; the numbers are handles of rules in the same chain. */
export type Place =
  | { at: 'end' | 'start' }
  | { at: 'after' | 'before'; handle: bigint }
  /** Takes the place of that rule, which is deleted. */
  | { at: 'replace'; handle: bigint };

/** Adds a rule. @throws WEFT_INVALID_ARGUMENT when written */
export function newRule(r: Rule, place: Place = { at: 'end' }): Change {
  return {
    operation: NFT_MSG_NEWRULE,
    flags: placeFlags(place),
    family: r.family,
    label: `${place.at === 'replace' ? 'replace' : 'add'} rule ${chainText(r)}${r.comment === undefined ? '' : ` "${r.comment}"`}`,
    write: (a) => {
      a.string(NFTA_RULE_TABLE, r.table).string(NFTA_RULE_CHAIN, r.chain);
      if ('handle' in place) a.be64(place.at === 'replace' ? NFTA_RULE_HANDLE : NFTA_RULE_POSITION, place.handle);
      writeExprs(a, NFTA_RULE_EXPRESSIONS, r.exprs);
      a.bytes(NFTA_RULE_USERDATA, userdataBytes(r, UDATA_COMMENT));
    },
  };
}

function placeFlags({ at }: Place): number {
  switch (at) {
    case 'replace':
      return NLM_F_REPLACE;
    case 'end':
    case 'after':
      return NLM_F_CREATE | NLM_F_APPEND;
    default:
      return NLM_F_CREATE;
  }
}

/** Deletes one rule; its anonymous sets go with it. */
export function delRule(c: ChainRef, handle: bigint): Change {
  return {
    operation: NFT_MSG_DELRULE,
    flags: 0,
    family: c.family,
    label: `delete rule ${chainText(c)} handle ${handle}`,
    write: (a) => a.string(NFTA_RULE_TABLE, c.table).string(NFTA_RULE_CHAIN, c.chain).be64(NFTA_RULE_HANDLE, handle),
  };
}

/** Deletes all rules of a chain. */
export function flushChain(c: ChainRef): Change {
  return {
    operation: NFT_MSG_DELRULE,
    flags: 0,
    family: c.family,
    label: `flush chain ${chainText(c)}`,
    write: (a) => a.string(NFTA_RULE_TABLE, c.table).string(NFTA_RULE_CHAIN, c.chain),
  };
}

/** Dump of rules in order, of a whole family, one table or one chain; a table or chain that is absent gives an empty dump. */
export function getRules(seq: number, of: { family: TableRef['family']; table?: string; chain?: string }): Buffer {
  return dumpRequest(NFT_MSG_GETRULE, seq, of.family, (a) =>
    a.string(NFTA_RULE_TABLE, of.table).string(NFTA_RULE_CHAIN, of.chain),
  );
}

/** Body of an NFT_MSG_NEWRULE. @throws WEFT_INTERNAL */
export function readRule(message: Message): Rule {
  const { family, attrs } = nfBody(message, 'nf_tables rule');
  let table: string | undefined;
  let chain: string | undefined;
  const rest: Omit<Rule, keyof ChainRef> = { exprs: [] };
  while (attrs.next()) {
    switch (attrs.type) {
      case NFTA_RULE_TABLE:
        table = attrs.string();
        break;
      case NFTA_RULE_CHAIN:
        chain = attrs.string();
        break;
      case NFTA_RULE_HANDLE:
        rest.handle = attrs.be64();
        break;
      case NFTA_RULE_EXPRESSIONS:
        rest.exprs = readExprs(attrs);
        break;
      case NFTA_RULE_USERDATA:
        Object.assign(rest, readUserdata(attrs.bytes(), UDATA_COMMENT));
        break;
    }
  }
  if (table === undefined || chain === undefined) throw new WeftError('WEFT_INTERNAL', 'nf_tables rule: no chain');
  return { family, table, chain, ...rest };
}
