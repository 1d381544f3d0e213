import type { Command } from 'commander';
import { type Column, column, printRows, type Row } from './output.js';
import { listing, session } from './shared.js';

const DRIFT: Column[] = [column('DRIFT'), column('REASON', 'reason', true)];

/** Listings read from the kernel, not from memory; each row says how it compares with the wish. */
const VIEWS: Record<string, { view: string; text: string; name: string; columns: Column[] }> = {
  vtep: {
    view: 'vteps',
    text: 'VXLAN tunnel end points',
    name: 'device',
    columns: ['NAMESPACE', 'DEVICE', 'VNI', 'LOCAL', 'PORT', 'MTU', 'UP'].map((h) => column(h)),
  },
  fdb: {
    view: 'fdb',
    text: 'forwarding database rows',
    name: 'mac',
    columns: ['NAMESPACE', 'DEV', 'MAC', 'WHERE', 'DST'].map((h) => column(h)),
  },
  neigh: {
    view: 'neighbours',
    text: 'neighbour entries',
    name: 'ip',
    columns: ['NAMESPACE', 'DEV', 'IP', 'MAC'].map((h) => column(h)),
  },
};

export function kernelCommands(program: Command): void {
  for (const [name, { view, text, name: key, columns }] of Object.entries(VIEWS)) {
    const command = program.command(name).description(`${text}, read from the kernel`);
    listing(command.command('ls').alias('list').description(`list ${text}`))
      .option('-4', 'IPv4 only')
      .option('-6', 'IPv6 only')
      .action(async (options: Row, self: Command) => {
        const { client, format } = session(self);
        const { items } = await client.get<{ items: Row[] }>(`/v1/inspect/${view}`);
        printRows(
          items.filter((row) => ofFamily(row, options)),
          [...columns, ...DRIFT],
          format,
          key,
        );
      });
  }
}

function ofFamily(row: Row, options: Row): boolean {
  if (!options['4'] && !options['6']) return true;
  const address = String(row.ip ?? row.dst ?? row.local ?? row.vip ?? '');
  return address.includes(':') ? options['6'] === true : options['4'] === true;
}
