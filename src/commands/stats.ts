import type { Command } from 'commander';
import { column, printJson, printRows, type Row } from './output.js';
import { listing, session } from './shared.js';

const COUNTS = ['PACKETS', 'BYTES', 'CONNECTIONS', 'ACTIVE', 'INACTIVE'].map((heading) => column(heading));
const SERVICES = [column('SERVICE'), ...COUNTS];
const BACKENDS = [column('NETWORK'), column('BACKEND'), column('STATE'), column('LOCAL', 'local', true), ...COUNTS];

/** `weft stats [service]` */
export function statsCommand(program: Command): void {
  listing(
    program
      .command('stats')
      .description('what this node sent to services, or to the backends of one')
      .argument('[service]', 'one service, by backend'),
  ).action(async (service: string | undefined, _options: Row, self: Command) => {
    const { client, format } = session(self);
    const query = service === undefined ? '' : `?service=${encodeURIComponent(service)}`;
    const { items } = await client.get<{ items: Row[] }>(`/v1/stats${query}`);
    if (format === 'json') printJson(items);
    else if (service === undefined) printRows(items, SERVICES, format, 'service');
    else printRows((items[0] as Row).backends as Row[], BACKENDS, format, 'backend');
  });
}
