import type { Command } from 'commander';
import { WeftError } from '../base/errors.js';
import { column, printJson, printRows, type Row } from './output.js';
import { listing, session } from './shared.js';

interface Answer {
  name: string;
  type: string;
  status: string;
  records: Row[];
}

export function dnsCommands(program: Command): void {
  const dns = program.command('dns').description('names in sandboxes');
  listing(dns.command('ls').alias('list').description('list names by network, and whether the resolver has them'))
    .option('--network <name>', 'only of this network')
    .action(async (options: Row, self: Command) => {
      const { client, format } = session(self);
      const { items } = await client.get<{ items: Row[] }>('/v1/inspect/dns');
      const rows = items.filter((row) => options.network === undefined || row.network === options.network);
      const columns = ['NAME', 'NETWORK', 'TYPE', 'ADDRESSES', 'DRIFT'].map((heading) => column(heading));
      printRows(rows, [...columns, column('REASON', 'reason', true)], format, 'name');
    });
  listing(dns.command('query <name> [type]').description('ask the resolver of a sandbox, from inside it'))
    .requiredOption('--sandbox <name>', 'sandbox to ask in')
    .action(async (name: string, type: string | undefined, options: Row, self: Command) => {
      const { client, format } = session(self);
      const query = new URLSearchParams({ sandbox: String(options.sandbox), name, type: type ?? 'A' });
      const answer = await client.get<Answer>(`/v1/inspect/dns?${query}`);
      if (format === 'json') {
        printJson(answer);
        return;
      }
      refuseFailure(answer);
      const columns = ['NAME', 'TTL', 'TYPE', 'VALUE'].map((heading) => column(heading));
      printRows(answer.records, columns, format, 'value');
    });
}

/** A name without records of this type is an answer; one that does not exist, or that nobody could resolve, is none. */
function refuseFailure({ status, name, type }: Answer): void {
  if (status === 'NOERROR') return;
  if (status === 'NXDOMAIN') throw new WeftError('WEFT_NOT_FOUND', `${name} ${type}: NXDOMAIN, there is no such name`);
  throw new WeftError('WEFT_UNAVAILABLE', `${name} ${type}: ${status}`, 'weft dns ls lists the names that weft knows');
}
