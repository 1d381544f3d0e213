import type { Command } from 'commander';
import { type Column, column, printJson, printRows, type Row } from './output.js';
import { at, listing, session, waiting, waitQuery } from './shared.js';

interface Listing {
  items: Row[];
}

const STATUS: Column[] = [column('PHASE', 'status.phase'), column('REASON', 'status.reason', true)];

/** Adds `ls`, `inspect` and `rm` of a table to its command. */
export function tableCommands(command: Command, table: string, columns: readonly Column[]): Command {
  listing(command.command('ls').alias('list').description(`list ${table}`)).action(async (_options, self: Command) => {
    const { client, format } = session(self);
    const { items } = await client.get<Listing>(`/v1/${table}`);
    printRows(items, [...columns, ...STATUS], format);
  });
  command
    .command('inspect <name>')
    .alias('show')
    .description('show one as JSON')
    .action(async (name: string, _options, self: Command) => {
      printJson(await session(self).client.get(at(table, name)));
    });
  waiting(command.command('rm <name...>').description('remove')).action(
    async (names: string[], options: { wait?: boolean; timeout?: number }, self: Command) => {
      const { client } = session(self);
      const failures: unknown[] = [];
      for (const name of names) {
        try {
          await client.delete(at(table, name) + waitQuery(options));
          process.stdout.write(`${name}\n`);
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw new AggregateError(failures);
    },
  );
  return command;
}
