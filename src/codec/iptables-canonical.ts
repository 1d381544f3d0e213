import { WeftError } from '../base/errors.js';
import type { Family } from '../base/ip.js';
import { type Extension, GENERAL, GENERAL_ALIASES, IMPLICIT, MATCHES, TARGETS } from './iptables-options.js';
import { quoteWord, splitWords, type Word } from './iptables-words.js';

/** A match or target of a rule while it is read. */
interface Part {
  /** `-m NAME`, `-j NAME` or `-g NAME`. */
  head: string;
  known: Extension | undefined;
  /** By the name printed; unknown options each under a key of their own, so that they stay in order. */
  printed: Map<string, string[]>;
}

interface Parsed {
  general: Map<string, string>;
  /** In order of loading, target included: an option that two of them have belongs to the later. */
  loaded: Part[];
  matches: Part[];
  target: Part | undefined;
}

/**
 * A rule specification (what follows `-A CHAIN` in iptables-save's output) as iptables-save 1.8.9 prints it, so that equal
 * text is an equal rule; the legacy and the nft program print the same. Reads hand-written rules too: any order of the
 * general options, other spellings, implicit matches, masks, defaults. The order of matches is part of a rule and stays.
 * Extensions it does not know are kept as written, arguments included. Names of services, users and ICMP types are not
 * looked up: write numbers.
 * @param of the family whose program prints it: REJECT's default depends on it
 * @throws WEFT_INVALID_ARGUMENT for text that iptables-restore would not take for one rule
 */
export function canonical(rule: string, of: Family): string {
  const words = splitWords(rule);
  const { general, matches, target } = parse(words);
  // Matches are printed before the target, and there the option would be theirs.
  const claimed = [...(target?.printed.values() ?? [])]
    .map((printed) => printed.find((word) => word.startsWith('-')) ?? '')
    .find((option) => !target?.known?.options.has(option) && matches.some((m) => m.known?.options.has(option)));
  if (claimed !== undefined) throw unreadable(words, `${claimed} before the match that it belongs to`);
  const out = [...GENERAL.keys(), '-f'].flatMap((name) => general.get(name) ?? []);
  for (const part of target ? [...matches, target] : matches) {
    part.known?.complete?.(part.printed, of);
    out.push(part.head, ...inOrder(part));
  }
  return out.join(' ');
}

function inOrder({ known, printed }: Part): string[] {
  const rank = ([name]: [string, string[]]) => {
    const at = known?.order.indexOf(name) ?? -1;
    return at < 0 ? Number.MAX_SAFE_INTEGER : at;
  };
  return [...printed].sort((a, b) => Math.sign(rank(a) - rank(b))).flatMap(([, words]) => words);
}

function parse(words: readonly Word[]): Parsed {
  const rule: Parsed = { general: new Map(), loaded: [], matches: [], target: undefined };
  const protocol: { name?: string } = {};
  for (let i = 0; i < words.length; ) {
    const not = isSyntax(words[i], '!');
    const at = not ? i + 1 : i;
    const word = words[at];
    if (!word || word.isQuoted || !word.text.startsWith('-')) throw unreadable(words, word?.text ?? 'a `!` at the end');
    const name = GENERAL_ALIASES.get(word.text) ?? word.text;
    const value = words[at + 1];
    if (name === '-f' || name === '--fragment') {
      rule.general.set('-f', negated(not, ['-f']).join(' '));
      i = at + 1;
    } else if (GENERAL.has(name) || name === '-m' || name === '-j' || name === '-g') {
      if (!value) throw unreadable(words, `${name} without argument`);
      const text = unspaced(words, value);
      if (GENERAL.has(name)) setGeneral(rule, protocol, name, text, not);
      else if (not || (rule.target && name !== '-m')) throw unreadable(words, `${name} ${text}`);
      else load(rule, name, text);
      i = at + 2;
    } else i = addOption(rule, protocol.name, words, at, not);
  }
  return rule;
}

function setGeneral(rule: Parsed, protocol: { name?: string }, name: string, text: string, not: boolean): void {
  // What covers everything is not printed, but its negation is, and must not read as its contrary.
  const printed = GENERAL.get(name)?.(text) ?? (not ? text : undefined);
  if (printed === undefined) return;
  rule.general.set(name, negated(not, [name, printed]).join(' '));
  if (name === '-p' && !not) protocol.name = printed;
}

function load(rule: Parsed, kind: string, name: string): Part {
  const known = (kind === '-m' ? MATCHES : TARGETS).get(name);
  const part: Part = { head: `${kind} ${name}`, known, printed: new Map() };
  rule.loaded.push(part);
  if (kind === '-m') rule.matches.push(part);
  else rule.target = part;
  return part;
}

/** @returns the position after the option's arguments */
function addOption(
  rule: Parsed,
  protocol: string | undefined,
  words: readonly Word[],
  at: number,
  not: boolean,
): number {
  const name = (words[at] as Word).text;
  const part = ownerOf(rule, protocol, name);
  if (!part) throw unreadable(words, `${name}, which belongs to no match`);
  const form = part.known?.options.get(name);
  const end = form ? at + 1 + form.args : endOfUnknown(words, at + 1);
  if (end > words.length) throw unreadable(words, `${name} without its arguments`);
  const args = words.slice(at + 1, end);
  const texts = form && !form.isText ? args.map((word) => unspaced(words, word)) : args.map((word) => word.text);
  const printed = form?.print(...texts) ?? (form && !not ? undefined : [name, ...args.map(asWritten)]);
  if (printed) {
    const key = form ? (printed[0] as string) : `${part.printed.size} ${name}`;
    part.printed.set(key, negated(not, printed));
  }
  return end;
}

/** The latest part that has the option, else the protocol's own match, else whoever came last and is not known here. */
function ownerOf(rule: Parsed, protocol: string | undefined, option: string): Part | undefined {
  const owner = rule.loaded.findLast((part) => part.known?.options.has(option));
  if (owner) return owner;
  const implicit = protocol === undefined ? undefined : IMPLICIT.get(protocol);
  if (implicit && MATCHES.get(implicit)?.options.has(option)) return load(rule, '-m', implicit);
  return rule.loaded.at(-1);
}

function endOfUnknown(words: readonly Word[], from: number): number {
  let end = from;
  while (end < words.length && !isSyntax(words[end], '!') && !isOption(words[end])) end++;
  return end;
}

function isSyntax(word: Word | undefined, text: string): boolean {
  return word !== undefined && !word.isQuoted && word.text === text;
}

function isOption(word: Word | undefined): boolean {
  return word !== undefined && !word.isQuoted && word.text.startsWith('-');
}

/** A value that is printed without quotes: one that needs them would come back as another rule. */
function unspaced(words: readonly Word[], { text }: Word): string {
  if (/^[^\s"]+$/.test(text)) return text;
  throw unreadable(words, `the value ${quoteWord(text)}`);
}

function asWritten({ text, isQuoted }: Word): string {
  return isQuoted ? quoteWord(text) : text;
}

function negated(not: boolean, words: string[]): string[] {
  return not ? ['!', ...words] : words;
}

function unreadable(words: readonly Word[], what: string): WeftError {
  const rule = words.map(asWritten).join(' ');
  return new WeftError('WEFT_INVALID_ARGUMENT', `cannot read ${what} in the iptables rule "${rule}"`);
}
