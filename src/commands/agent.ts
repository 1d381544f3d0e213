import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { WeftError } from '../base/errors.js';
import { column, printJson, printRows, type Row } from './output.js';
import { given, listing, session, waiting, waitQuery } from './shared.js';

/** Commands about the agent as a whole. */
export function agentCommands(program: Command): void {
  listing(program.command('status').description('the agent, its node, and what is not well')).action(
    async (_options, self: Command) => {
      const { client, format } = session(self);
      const status = await client.get<Row>('/v1/status');
      if (format === 'json') printJson(status);
      else printStatus(status);
    },
  );
  listing(program.command('plan').description('what a full pass would change in the kernel now')).action(
    async (_options, self: Command) => {
      const { client, format } = session(self);
      const plan = await client.get<{ operations: Row[] }>('/v1/plan');
      if (format === 'json') printJson(plan);
      else
        printRows(
          plan.operations,
          [column('VERB'), column('NAMESPACE'), column('KIND'), column('KEY'), column('BECAUSE')],
          format,
          'key',
        );
    },
  );
  waiting(program.command('apply').description('state objects from a YAML or JSON file'))
    .requiredOption('-f, --file <file>', 'file, - for standard input')
    .option('--prune', 'the file is the whole wish: what it leaves out goes')
    .option('--dry-run', 'only say what would change')
    .action(async (options: Row, self: Command) => {
      const query = new URLSearchParams(waitQuery(options).slice(1));
      query.set('prune', options.prune ? 'true' : 'false');
      if (options.dryRun) query.set('dryRun', 'true');
      const answer = await session(self).client.put<{ changes: Row[] }>(
        `/v1/wish?${query}`,
        readWish(String(options.file)),
      );
      for (const { verb, object } of answer.changes) process.stdout.write(`${String(verb)} ${String(object)}\n`);
    });
  program
    .command('export')
    .description('the wish of this node, for apply')
    .option('-j, --json', 'as JSON')
    .action(async (_options, self: Command) => {
      const { client, format } = session(self);
      const wish = await client.get('/v1/export');
      if (format === 'json') printJson(wish);
      else process.stdout.write(stringify(wish));
    });
  program
    .command('events')
    .description('what happened lately')
    .option('--follow', 'go on')
    .option('--since <revision>', 'only after this event')
    .option('-j, --json', 'one JSON object a line')
    .action(async (options: Row, self: Command) => {
      const { client, format } = session(self);
      const query = new URLSearchParams(
        given({ follow: String(options.follow === true), since: options.since }) as Record<string, string>,
      );
      for await (const line of client.lines(`/v1/events?${query}`)) {
        process.stdout.write(format === 'json' ? `${line}\n` : eventLine(JSON.parse(line) as Row));
      }
    });
  program
    .command('down')
    .description('remove everything that weft owns on this node')
    .action(async (_options, self: Command) => {
      const { removed } = await session(self).client.post<Row>('/v1/down');
      process.stdout.write(`removed ${String(removed)} objects\n`);
    });
}

function eventLine(event: Row): string {
  return `${String(event.time)} ${String(event.type)} ${String(event.object || '-')}: ${String(event.message)}\n`;
}

function readWish(file: string): unknown {
  const text = readFileSync(file === '-' ? 0 : file, 'utf8');
  const documents = parseAllDocuments(text);
  if (documents.length > 1)
    throw new WeftError('WEFT_INVALID_ARGUMENT', `${file} has several documents`, 'put all tables in one');
  try {
    return parse(text) ?? {};
  } catch (error) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `${file}: ${(error as Error).message}`);
  }
}

function pathsText({ probe, full, small, silent }: Row): string {
  const found = (small as Row[]).map(({ vtep, mtu, route }) => `${vtep} carries ${mtu} of ${route} bytes`);
  const mute = (silent as string[]).length ? [`${(silent as string[]).join(', ')} silent`] : [];
  return [`probe ${probe}`, `${full} as wide as their route`, ...found, ...mute].join('; ');
}

function printStatus(status: Row): void {
  const { troubles, warnings, held, counts, counters, guard, paths, ...plain } = status;
  for (const [key, value] of Object.entries(plain)) process.stdout.write(`${key.padEnd(16)}${String(value)}\n`);
  for (const [title, group] of Object.entries({ wish: counts, passes: counters })) {
    const text = Object.entries(group as Row)
      .map(([k, v]) => `${k} ${String(v)}`)
      .join(', ');
    process.stdout.write(`${title.padEnd(16)}${text}\n`);
  }
  process.stdout.write(`${'guard'.padEnd(16)}${guardText(guard as Row)}\n`);
  process.stdout.write(`${'paths'.padEnd(16)}${pathsText(paths as Row)}\n`);
  for (const h of held as Row[]) process.stdout.write(`held            ${String(h.text)} in ${String(h.ns)}\n`);
  for (const w of warnings as Row[])
    process.stdout.write(`warning         ${String(w.object)}: ${String(w.message)}\n`);
  for (const t of troubles as Row[]) {
    process.stdout.write(
      `trouble         ${String(t.object || '-')}: ${String(t.code)}: ${String(t.message)}${t.hint ? ` (${String(t.hint)})` : ''}\n`,
    );
  }
}

function guardText({ on, dropped, reason, hint }: Row): string {
  return on ? `on, ${String(dropped)} packets dropped` : `off: ${String(reason)} (${String(hint)})`;
}
