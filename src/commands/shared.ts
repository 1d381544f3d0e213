import { type Command, InvalidArgumentError, Option } from 'commander';
import { ApiClient } from '../api/client.js';
import type { Format } from './output.js';

/** What every command gets: a client of the agent's socket and the wish for an output format. */
export interface Session {
  client: ApiClient;
  format: Format;
}

/** The session of a command, from the options of it and of the program above it. */
export function session(command: Command): Session {
  const options = command.optsWithGlobals<{ socket: string; output?: Format; json?: boolean }>();
  return { client: new ApiClient(options.socket), format: options.json ? 'json' : (options.output ?? 'table') };
}

/** Adds `-o` and `-j` to a listing. */
export function listing(command: Command): Command {
  return command
    .addOption(
      new Option('-o, --output <format>', 'how to print').choices(['table', 'wide', 'json', 'name']).default('table'),
    )
    .option('-j, --json', 'the same as -o json');
}

/** `--wait` of commands that change the wish. */
export function waiting(command: Command): Command {
  return command
    .option('--wait', 'return when the kernel shows it')
    .option('--timeout <seconds>', 'how long --wait waits', positive, 10);
}

/** Query for `--wait`. */
export function waitQuery(options: { wait?: boolean; timeout?: number }): string {
  return options.wait ? `?wait=applied&timeoutMs=${(options.timeout ?? 10) * 1000}` : '';
}

export const collect = (value: string, before: string[] = []): string[] => [...before, value];

export function positive(text: string): number {
  const n = Number(text);
  if (!Number.isFinite(n) || n <= 0) throw new InvalidArgumentError('a number above 0 is needed');
  return n;
}

/** Seconds, fractions too; 0 is at once. */
export function seconds(text: string): number {
  return text === '0' ? 0 : positive(text);
}

export function whole(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('a whole number is needed');
  return Number(text);
}

const BIT_UNITS: Record<string, number> = { bit: 1, kbit: 1e3, mbit: 1e6, gbit: 1e9 };

/** Bits a second as tc(8) writes them: `50mbit`, `1.5gbit`. */
export function bitRate(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)([kmg]?bit)$/.exec(text.toLowerCase()) ?? [];
  const factor = BIT_UNITS[unit ?? ''];
  if (factor === undefined) throw new InvalidArgumentError('a rate is a number with bit, kbit, mbit or gbit: 50mbit');
  return Math.round(Number(number) * factor);
}

export function integer(text: string): number {
  if (!/^-?\d{1,15}$/.test(text)) throw new InvalidArgumentError('an integer is needed');
  return Number(text);
}

/** `k=v` pairs as an object. */
export function pairs(list: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(
    list.map((text) => {
      const at = text.indexOf('=');
      if (at < 1) throw new InvalidArgumentError(`"${text}" is not KEY=VALUE`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

/** Drops what was not given, so that the schema's defaults hold. */
export function given(body: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined));
}

export const at = (table: string, id: string): string => `/v1/${table}/${encodeURIComponent(id)}`;
