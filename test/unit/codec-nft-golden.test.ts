import { readdirSync, readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import test from 'ava';
import type { Message } from '../../src/codec/netlink.js';
import { NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END } from '../../src/codec/nfnl.js';
import { newChain, readChain } from '../../src/codec/nft/chain.js';
import {
  type Change,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
  nftType,
} from '../../src/codec/nft/change.js';
import { type Element, newElements, readElements } from '../../src/codec/nft/element.js';
import { normalChain, normalElement, normalRule, normalSet, normalTable } from '../../src/codec/nft/normal.js';
import { newRule, readRule } from '../../src/codec/nft/rule.js';
import { newSet, readSet } from '../../src/codec/nft/set.js';
import { newTable, readTable } from '../../src/codec/nft/table.js';
import { only, sent } from '../support/nft-message.js';

/*
 * What nft 1.0.6 sends for a ruleset (`batch`), and what kernel 6.18 answers to dumps of it (`tables`, …), one nlmsghdr message
 * each, recorded by wrapping sendmsg(2) and recvmsg(2) of `nft -f` and `nft list ruleset` in a namespace of its own.
 */
interface Golden {
  batch: string[];
  tables: string[];
  chains: string[];
  rules: string[];
  sets?: string[];
  elements?: string[];
}

const FOLDER = new URL('../../../test/golden/nft/', import.meta.url);
const GOLDEN = readdirSync(FOLDER).map((file): [string, Golden] => [
  file,
  JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8')),
]);

function message(hex: string): Message {
  return only(Buffer.from(hex, 'hex'));
}

function read(m: Message): unknown {
  switch (m.type) {
    case nftType(NFT_MSG_NEWTABLE):
      return normalTable(readTable(m));
    case nftType(NFT_MSG_NEWCHAIN):
      return normalChain(readChain(m));
    case nftType(NFT_MSG_NEWRULE):
      return normalRule(readRule(m));
    case nftType(NFT_MSG_NEWSET):
      return normalSet(readSet(m));
    case nftType(NFT_MSG_NEWSETELEM):
      return readElements(m);
    default:
      throw new Error(`message ${m.type}`);
  }
}

function reencoded(m: Message): Change | undefined {
  switch (m.type) {
    case nftType(NFT_MSG_NEWTABLE):
      return newTable(readTable(m));
    case nftType(NFT_MSG_NEWCHAIN):
      return newChain(readChain(m));
    case nftType(NFT_MSG_NEWRULE):
      return newRule(readRule(m));
    case nftType(NFT_MSG_NEWSET):
      return newSet(readSet(m));
    case nftType(NFT_MSG_NEWSETELEM):
      return newElements(readElements(m), readElements(m).elements)[0];
    default:
      return undefined;
  }
}

for (const [file, golden] of GOLDEN) {
  test(`${file}: what we encode from what nft sent says the same`, (t) => {
    let count = 0;
    for (const hex of golden.batch) {
      const m = message(hex);
      if (m.type === NFNL_MSG_BATCH_BEGIN || m.type === NFNL_MSG_BATCH_END) continue;
      const again = sent(reencoded(m));
      t.is(again.type, m.type);
      t.deepEqual(read(again), read(m));
      count++;
    }
    t.is(count, golden.batch.length - 2);
  });

  test(`${file}: the kernel's dumps read as what nft sent`, (t) => {
    const wanted = golden.batch.map(message).filter((m) => m.type >= 0x100);
    const { tables, chains, rules, sets = [] } = golden;
    for (const have of [...tables, ...chains, ...rules, ...sets].map(message)) {
      const twins = wanted.filter((want) => want.type === have.type).map(read);
      const same = twins.some((want) => isDeepStrictEqual(named(want), named(read(have))));
      t.true(same, `no twin of ${JSON.stringify(read(have), spelled)}`);
    }
  });

  test(`${file}: the kernel's elements are those that nft sent`, (t) => {
    const wanted = golden.batch.map(message).filter((m) => m.type === nftType(NFT_MSG_NEWSETELEM));
    t.deepEqual(bySet((golden.elements ?? []).map(message)), bySet(wanted));
  });
}

test('only expressions without a codec are kept raw', (t) => {
  const rules = GOLDEN.flatMap(([, golden]) => golden.rules.map((hex) => readRule(message(hex))));
  const raw = rules.flatMap((r) => r.exprs).filter((e) => e.expr === 'raw');
  t.deepEqual(
    raw.map((e) => e.name),
    ['log'],
  );
});

/** The kernel numbers anonymous sets; everything else of a set must agree. */
function named(o: unknown): unknown {
  const set = (o as { set?: string }).set;
  return set === undefined ? o : { ...(o as object), set: set.replace(/^(__(?:set|map))\d+$/, '$1%d') };
}

function bySet(messages: Message[]): Record<string, string[]> {
  const out: Record<string, string[]> = {};
  for (const m of messages) {
    const { family, table, set, elements } = readElements(m);
    const key = `${family} ${table} ${set.replace(/^(__(?:set|map))\d+$/, '$1%d')}`;
    if (set.startsWith('__')) continue;
    out[key] = [...(out[key] ?? []), ...elements.map(text)].sort();
  }
  return Object.fromEntries(Object.entries(out).filter(([, list]) => list.length > 0));
}

function text(e: Element): string {
  return JSON.stringify(Object.entries(normalElement(e)).sort());
}

function spelled(_: string, v: unknown): unknown {
  return typeof v === 'bigint' ? String(v) : v;
}
