import { WeftError } from '../base/errors.js';

/** One argument of a rule. Quotes decide whether `!` and `-x` are syntax or text. */
export interface Word {
  text: string;
  isQuoted: boolean;
}

/** What iptables-save prints without quotes (xtables_save_string of libxtables). */
const PLAIN = /^[A-Za-z0-9_-]+$/;

/** The program reads one line into arguments of less than 1024 bytes each (struct xt_param_buf of xshared.h). */
const ARGUMENT_MAX = 1023;

/**
 * Splits a rule as iptables-restore does: at spaces and tabs, only double quotes quote, and only within them does a
 * backslash escape. Single quotes, `$` and backquotes are letters.
 * @throws WEFT_INVALID_ARGUMENT where a quote stays open or a control character occurs
 */
export function splitWords(line: string): Word[] {
  refuseControl(line);
  const out: Word[] = [];
  let text = '';
  let isQuoted = false;
  let isOpen = false;
  for (let i = 0; i < line.length; i++) {
    const c = line[i] as string;
    if (c === '"') {
      isOpen = !isOpen;
      isQuoted = true;
    } else if (isOpen && c === '\\' && i + 1 < line.length) {
      text += line[++i];
    } else if (!isOpen && (c === ' ' || c === '\t')) {
      if (text !== '' || isQuoted) out.push({ text, isQuoted });
      text = '';
      isQuoted = false;
    } else text += c;
  }
  if (isOpen) throw new WeftError('WEFT_INVALID_ARGUMENT', `a quote stays open in the iptables rule: ${line}`);
  if (text !== '' || isQuoted) out.push({ text, isQuoted });
  return out;
}

/**
 * A text (comment, log prefix) as iptables-save prints it and iptables-restore reads it back.
 * @throws WEFT_INVALID_ARGUMENT for control characters, some of which would end the line
 */
export function quoteWord(text: string): string {
  refuseControl(text);
  return PLAIN.test(text) ? text : `"${text.replace(/[\\"']/g, '\\$&')}"`;
}

function refuseControl(text: string): void {
  // A tab is harmless between arguments and iptables-save prints it back within quotes.
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if ((c < 0x20 && c !== 9) || c === 0x7f) {
      throw new WeftError(
        'WEFT_INVALID_ARGUMENT',
        `control character ${c} in the iptables text ${JSON.stringify(text)}`,
      );
    }
  }
}

/** @throws WEFT_INVALID_ARGUMENT where iptables-restore would say "Parameter too long" */
export function refuseLong(words: readonly Word[]): void {
  const long = words.find(({ text }) => Buffer.byteLength(text) > ARGUMENT_MAX);
  if (long) throw new WeftError('WEFT_INVALID_ARGUMENT', `an iptables argument of ${long.text.length} characters`);
}
