import type { Command } from 'commander';
import type { ApiClient } from '../api/client.js';
import { type Column, column, printJson, printRows, type Row } from './output.js';
import { at, listing, session, waiting, waitQuery } from './shared.js';

interface Listing {
  items: Row[];
}

/** What the API adds to the body of an object when it shows it. */
const SHOWN_OF_ALL = ['id', 'origin', 'revision', 'status', 'sandbox', 'network', 'node', 'ltime'];
const SHOWN = { services: new Set(SHOWN_OF_ALL), endpoints: new Set([...SHOWN_OF_ALL, 'drain', 'health']) };

/** Puts an object as it is, with `changes`. @returns it as it is now */
export async function change(
  client: ApiClient,
  table: 'services' | 'endpoints',
  name: string,
  changes: Row,
  query: string,
): Promise<Row> {
  const now = Object.entries(await client.get<Row>(at(table, name))).filter(([field]) => !SHOWN[table].has(field));
  return client.put<Row>(at(table, name) + query, { ...Object.fromEntries(now), ...changes });
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
