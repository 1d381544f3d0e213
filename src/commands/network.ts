import type { Command } from 'commander';
import { tableCommands } from './objects.js';
import { column, type Row } from './output.js';
import { at, collect, given, pairs, session, waiting, waitQuery, whole } from './shared.js';

export function networkCommands(program: Command): void {
  const network = program.command('network').description('overlay networks');
  waiting(network.command('create <name>').description('create a network'))
    .option('--driver <driver>', 'network driver', 'overlay')
    .option('--subnet <cidr>', 'subnet (repeatable)', collect)
    .option('--ip-range <cidr>', 'part of the subnet from which this node allocates (repeatable)', collect)
    .option('--gateway <ip>', 'gateway address (repeatable)', collect)
    .option('--vni <n>', 'VXLAN network identifier', whole)
    .option('--mtu <n>', 'MTU of endpoints', whole)
    .option('--internal', 'no way out')
    .option('--encrypted', 'encrypt between nodes (not supported yet)')
    .option('--ingress', 'the network that carries published ports')
    .option('--label <k=v>', 'label (repeatable)', collect)
    .option('--opt <k=v>', 'driver option (repeatable)', collect)
    .action(async (name: string, options: Row, self: Command) => {
      const body = given({
        driver: options.driver,
        subnets: options.subnet ?? [],
        ipRanges: options.ipRange,
        gateways: options.gateway,
        vni: options.vni,
        mtu: options.mtu,
        internal: options.internal,
        encrypted: options.encrypted,
        ingress: options.ingress,
        labels: options.label && pairs(options.label as string[]),
        options: options.opt && pairs(options.opt as string[]),
      });
      await session(self).client.put(at('networks', name) + waitQuery(options), body);
      process.stdout.write(`${name}\n`);
    });
  tableCommands(network, 'networks', [
    column('NAME', 'id'),
    column('DRIVER'),
    column('SUBNETS'),
    column('VNI'),
    column('GATEWAYS', 'gateways', true),
    column('ORIGIN', 'origin', true),
  ]);
  network
    .command('prune')
    .description('remove networks that nothing uses')
    .action(async (_options, self: Command) => {
      const { client } = session(self);
      const list = async (table: string) => (await client.get<{ items: Row[] }>(`/v1/${table}`)).items;
      const used = new Set<unknown>([
        ...(await list('endpoints')).map((e) => e.network),
        ...(await list('services')).flatMap((s) => s.networks as string[]),
      ]);
      for (const row of await list('networks')) {
        if (used.has(row.id) || row.origin !== 'api' || row.ingress === true) continue;
        await client.delete(at('networks', String(row.id)));
        process.stdout.write(`${String(row.id)}\n`);
      }
    });
}
