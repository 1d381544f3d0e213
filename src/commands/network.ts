import type { Command } from 'commander';
import { tableCommands } from './objects.js';
import { column, type Row } from './output.js';
import { at, collect, given, pairs, session, waiting, waitQuery, whole } from './shared.js';

/** Drivers, each with what `--opt` sets. */
const DRIVER_HELP = `
Drivers and their --opt:
  overlay   over many nodes, in VXLAN: --subnet and --vni are needed     masquerade egress broadcast
  bridge    on this node, which is its router                            masquerade egress icc name
  macvlan   on the network of an interface, with a MAC of its own        parent mode=bridge|private|vepa|passthru
  ipvlan    on the network of an interface, with the MAC of that         parent mode=l2|l3|l3s
  host      the namespace of the node
  none      nothing but a loopback`;

export function networkCommands(program: Command): void {
  const network = program.command('network').description('networks of sandboxes');
  createCommand(network);
  tableCommands(network, 'networks', [
    column('NAME', 'id'),
    column('DRIVER'),
    column('SCOPE'),
    column('SUBNETS'),
    { heading: 'VNI', text: (row) => (row.vni === undefined ? undefined : [row.vni, ...(row.vnis as number[])]) },
    column('ENDPOINTS', 'counts.endpoints'),
    column('SERVICES', 'counts.services', true),
    column('PEERS', 'counts.peers', true),
    column('GATEWAYS', 'gateways', true),
    column('INTERNAL', 'internal', true),
    column('ORIGIN', 'origin', true),
    column('WARNINGS', 'status.warnings', true),
  ]);
  network
    .command('prune')
    .description('remove networks that nothing of this node uses, and name them')
    .option('--dry-run', 'only name them')
    .action(async (options: { dryRun?: boolean }, self: Command) => {
      const { client } = session(self);
      const { items } = await client.get<{ items: Row[] }>('/v1/networks');
      for (const { id, origin, ingress, counts } of items) {
        const { endpoints, services } = counts as { endpoints: number; services: number };
        if (endpoints + services > 0 || origin !== 'api' || ingress === true) continue;
        if (!options.dryRun) await client.delete(at('networks', String(id)));
        process.stdout.write(`${String(id)}\n`);
      }
    });
}

function createCommand(network: Command): void {
  waiting(network.command('create <name>').description('create a network'))
    .option('--driver <driver>', 'overlay, bridge, macvlan, ipvlan, host or none', 'overlay')
    .option('--subnet <cidr>', 'subnet, IPv4 or IPv6 (repeatable); local drivers choose one when not given', collect)
    .option('--ip-range <cidr>', 'part of a subnet from which this node allocates (repeatable)', collect)
    .option('--gateway <ip>', 'gateway address (repeatable, in the order of subnets)', collect)
    .option('--reserve <ip|cidr>', 'address or range that is never allocated (repeatable)', collect)
    .option('--aux-address <name=ip>', 'the same, as Docker writes it (repeatable)', collect)
    .option('--vni <n>', 'VXLAN network identifier (repeatable: one for each subnet of a family)', numbers)
    .option('--mtu <n>', 'MTU of endpoints', whole)
    .option('--internal', 'no way out')
    .option('--encrypted', 'encrypt between nodes (not supported yet)')
    .option('--ingress', 'the network that carries published ports')
    .option('--label <k=v>', 'label (repeatable)', collect)
    .option('--opt <k=v>', 'option of the driver (repeatable)', collect)
    .addHelpText('after', DRIVER_HELP)
    .action(async (name: string, options: Row, self: Command) => {
      const [vni, ...vnis] = (options.vni ?? []) as number[];
      const auxiliary = Object.values(pairs(options.auxAddress as string[] | undefined));
      const body = given({
        driver: options.driver,
        subnets: options.subnet ?? [],
        ipRanges: options.ipRange,
        gateways: options.gateway,
        reserved: [...((options.reserve as string[] | undefined) ?? []), ...auxiliary],
        vni,
        vnis,
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
}

const numbers = (text: string, before: number[] = []): number[] => [...before, whole(text)];
