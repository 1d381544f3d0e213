import { WeftError } from '../base/errors.js';
import { refuseLong, splitWords } from './iptables-words.js';

/*
 * The text that iptables-save prints and iptables-restore reads (iptables-restore(8)). One text serves iptables and
 * ip6tables, legacy and nft.
 */

/** One rule as iptables-save prints it, without its `-A CHAIN `; `canonical` makes any rule so. May be empty. */
export type RuleText = string;

/** A user-defined chain with all its rules, in order. */
export interface ChainText {
  /** `filter`, `nat`, `mangle` or `raw`. */
  table: string;
  name: string;
  rules: readonly RuleText[];
}

export interface SavedChain {
  name: string;
  /** ACCEPT or DROP of a built-in chain, null of a user-defined one. */
  policy: string | null;
  rules: RuleText[];
}

/** Chains by name, tables by name. A table or chain that is not there has nothing in it. */
export type SavedTables = ReadonlyMap<string, ReadonlyMap<string, SavedChain>>;

/** One step of a transaction. */
export type RestoreChange =
  /** The chain is created or emptied, and filled. */
  | ({ change: 'replace-chain' } & ChainText)
  /** The first rule equal to `rule` goes; the kernel refuses the table's transaction where there is none. */
  | { change: 'delete-rule'; table: string; chain: string; rule: RuleText }
  /** `position` counts from 1 and applies after the deletions. */
  | { change: 'insert-rule'; table: string; chain: string; position: number; rule: RuleText }
  /** Emptied and deleted. Refused by the kernel while a rule outside the transaction still jumps to it. */
  | { change: 'delete-chain'; table: string; name: string };

const BUILT_IN = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']);

/** XT_EXTENSION_MAXNAMELEN 29 of linux/netfilter/x_tables.h, terminator included; a leading `-` or `!` would be syntax. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,27}$/;

/**
 * Reads iptables-save's output, with or without counters (`-c`).
 * @throws WEFT_COMMAND where it is not such output or ends within a table: what is missing would look like a rule deleted.
 *   Also where iptables-nft-save says that it cannot show a table, because another program uses it in its own way.
 */
export function parseSave(text: string): SavedTables {
  const tables = new Map<string, Map<string, SavedChain>>();
  let current: Map<string, SavedChain> | undefined;
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) refuseHidden(line);
    else if (line.startsWith('*') && !current) {
      current = tables.get(line.slice(1)) ?? new Map();
      tables.set(line.slice(1), current);
    } else if (line === 'COMMIT' && current) current = undefined;
    else if (!current || !readChain(line, current)) {
      throw new WeftError('WEFT_COMMAND', `iptables-save printed a line that is not understood: ${line}`);
    }
  }
  if (current) throw new WeftError('WEFT_COMMAND', 'the output of iptables-save ends within a table');
  return tables;
}

function refuseHidden(comment: string): void {
  const table = /^# Table `(.*)' is incompatible/.exec(comment)?.[1];
  if (table === undefined) return;
  throw new WeftError(
    'WEFT_COMMAND',
    `iptables cannot show table "${table}": it holds rules that another program made with nftables`,
    'look at it with: nft list ruleset',
  );
}

/** `:NAME POLICY [PACKETS:BYTES]` or `[PACKETS:BYTES] -A NAME RULE`. */
function readChain(line: string, chains: Map<string, SavedChain>): boolean {
  const declared = /^:(\S+) (\S+)(?: \[\d+:\d+\])?$/.exec(line);
  if (declared) {
    const name = declared[1] as string;
    chains.set(name, { name, policy: declared[2] === '-' ? null : (declared[2] as string), rules: [] });
    return true;
  }
  const rule = /^(?:\[\d+:\d+\] )?-A (\S+) ?(.*)$/.exec(line);
  const chain = rule && chains.get(rule[1] as string);
  chain?.rules.push(rule?.[2] as string);
  return chain != null;
}

/**
 * Input for `iptables-restore --noflush -w`. Each table is one transaction of the kernel's; tables earlier in the text stay
 * changed when a later one is refused. Within a table the order is: chains declared (which empties those that exist),
 * rules deleted, rules inserted, chains filled, chains deleted; so a rule deleted and inserted is moved, and chains may
 * jump to one another.
 * @throws WEFT_INVALID_ARGUMENT for names and rules that would not arrive as they are, and contradicting changes
 */
export function renderRestore(changes: readonly RestoreChange[]): string {
  const tables = new Map<string, RestoreChange[]>();
  for (const change of changes) {
    refuseName('table', change.table);
    const list = tables.get(change.table) ?? [];
    list.push(change);
    tables.set(change.table, list);
  }
  return [...tables].map(([table, list]) => renderTable(table, list)).join('');
}

function renderTable(table: string, changes: readonly RestoreChange[]): string {
  const declared: string[] = [];
  const deleted: string[] = [];
  const inserted: string[] = [];
  const filled: string[] = [];
  const emptied: string[] = [];
  const dropped: string[] = [];
  const owned = new Set<string>();
  for (const c of changes) {
    switch (c.change) {
      case 'replace-chain':
        own(owned, c.name);
        declared.push(`:${c.name} - [0:0]`);
        filled.push(...c.rules.map((rule) => command(['-A', c.name], rule)));
        break;
      case 'delete-rule':
        deleted.push(command(['-D', refuseName('chain', c.chain)], c.rule));
        break;
      case 'insert-rule':
        inserted.push(command(['-I', refuseName('chain', c.chain), position(c.position)], c.rule));
        break;
      case 'delete-chain':
        own(owned, c.name);
        emptied.push(`-F ${c.name}`);
        dropped.push(`-X ${c.name}`);
        break;
    }
  }
  const lines = [`*${table}`, ...declared, ...deleted, ...inserted, ...filled, ...emptied, ...dropped, 'COMMIT'];
  return `${lines.join('\n')}\n`;
}

/** A chain that is replaced or deleted whole: never a built-in one, whose rules are not all ours, and only once. */
function own(owned: Set<string>, name: string): void {
  refuseName('chain', name);
  if (BUILT_IN.has(name)) {
    throw new WeftError(
      'WEFT_INVALID_ARGUMENT',
      `the built-in iptables chain ${name} can be neither replaced nor deleted`,
    );
  }
  if (owned.has(name))
    throw new WeftError('WEFT_INVALID_ARGUMENT', `two changes of the iptables chain ${name} at once`);
  owned.add(name);
}

/** A rule must be one line, and no option of it may be read as another command or table. */
function command(head: readonly string[], rule: RuleText): string {
  const words = splitWords(rule);
  refuseLong(words);
  const first = words[0];
  const isCommand = words.some(({ text, isQuoted }) => !isQuoted && COMMANDS.has(text));
  if (isCommand || (first && !first.isQuoted && !/^[-!]/.test(first.text))) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `"${rule}" is not an iptables rule`, 'write it without -A CHAIN');
  }
  return rule === '' ? head.join(' ') : `${head.join(' ')} ${rule}`;
}

const COMMANDS = new Set('-A -C -D -I -R -L -S -F -Z -N -X -P -E -t --table'.split(' '));

function position(n: number): string {
  if (Number.isInteger(n) && n >= 1) return String(n);
  throw new WeftError('WEFT_INVALID_ARGUMENT', `${n} is not a position in an iptables chain`, 'the first is 1');
}

function refuseName(what: string, name: string): string {
  if (NAME.test(name)) return name;
  throw new WeftError('WEFT_INVALID_ARGUMENT', `${JSON.stringify(name)} is not the name of an iptables ${what}`);
}
