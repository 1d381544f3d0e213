import type { Command } from 'commander';
import { column, printRows, type Row } from './output.js';
import { listing, session } from './shared.js';

/** Compares the wish with the kernel, and says each difference; exit status 1 while there is one. */
export function verifyCommand(program: Command): void {
  listing(program.command('verify').description('compare the wish with the kernel; exit status 1 when they differ'))
    .option('--repair', 'repair what differs, and say what could be repaired')
    .action(async (options: Row, self: Command) => {
      const { client, format } = session(self);
      const differences = async () => (await client.get<{ items: Row[] }>('/v1/verify')).items;
      let rows = await differences();
      if (options.repair && rows.length > 0) {
        await client.post('/v1/reconcile');
        rows = repaired(rows, await differences());
      }
      const columns = options.repair ? [column('REPAIRED'), ...COLUMNS] : COLUMNS;
      printRows(format === 'name' ? rows.map((row) => ({ id: name(row) })) : rows, columns, format);
      if (rows.some((row) => row.repaired !== true)) process.exitCode = 1;
    });
}

const COLUMNS = [
  column('DIFFERENCE'),
  column('NAMESPACE'),
  column('KIND'),
  column('KEY'),
  column('OBJECT'),
  column('SINCE'),
  column('WHY'),
  column('ERROR', 'error', true),
];

const name = ({ namespace, kind, key }: Row): string => `${String(namespace)} ${String(kind)} ${String(key)}`;

/** What differed before a repair and does not after it, and what is left; what came meanwhile is left too. */
function repaired(before: readonly Row[], after: readonly Row[]): Row[] {
  const left = new Set(after.map(name));
  const done = before.filter((row) => !left.has(name(row)));
  return [...done.map((row) => ({ repaired: true, ...row })), ...after.map((row) => ({ repaired: false, ...row }))];
}
