import type { Command } from 'commander';
import { drainCommands } from './drain.js';
import { change, tableCommands } from './objects.js';
import { column, type Row } from './output.js';
import { at, bitRate, collect, given, integer, pairs, session, waiting, waitQuery, whole } from './shared.js';

export function endpointCommands(program: Command): void {
  withOptions(program.command('connect <sandbox> <network>').description('connect a sandbox to a network')).action(
    async (sandbox: string, network: string, options: Row, self: Command) => {
      const path = at('endpoints', `${sandbox}:${network}`) + waitQuery(options);
      const shown = await session(self).client.put<Row>(path, bodyOf(options));
      process.stdout.write(`${(shown.addresses as string[]).join(' ')}\n`);
    },
  );
  waiting(program.command('disconnect <sandbox> <network>').description('disconnect a sandbox from a network')).action(
    async (sandbox: string, network: string, options: Row, self: Command) => {
      await session(self).client.delete(at('endpoints', `${sandbox}:${network}`) + waitQuery(options));
      process.stdout.write(`${sandbox}:${network}\n`);
    },
  );
  const endpoint = program.command('endpoint').description('endpoints of this node (SANDBOX:NETWORK)');
  drainCommands(endpoint, 'endpoint', 'id');
  withOptions(endpoint.command('update <name>').description('change what is given, keep the rest')).action(
    async (name: string, options: Row, self: Command) => {
      await change(session(self).client, 'endpoints', name, bodyOf(options), waitQuery(options));
      process.stdout.write(`${name}\n`);
    },
  );
  tableCommands(endpoint, 'endpoints', [
    column('ID', 'id'),
    column('ADDRESSES'),
    column('MAC'),
    column('IFNAME'),
    column('SERVICE'),
    column('STATE'),
    column('HEALTH', 'health.state', true),
    column('WEIGHT', 'weight', true),
  ]);
}

function withOptions(command: Command): Command {
  return waiting(command)
    .option('--ip <ip>', 'address (repeatable, one a family)', collect)
    .option('--mac <mac>', 'MAC address')
    .option('--alias <name>', 'further name (repeatable)', collect)
    .option('--service <name>', 'service it is a backend of (repeatable)', collect)
    .option('--weight <n>', 'weight in balancing, 0 to 65535; 0 drains', whole)
    .option('--ifname <name>', 'interface name in the sandbox')
    .option('--gw-priority <n>', 'the highest gives the default route', integer)
    .option('--no-default-route', 'never gives the default route')
    .option('--route <dst[,via=ip][,metric=n][,type=t]>', 'static route (repeatable)', collect)
    .option('--sysctl <k=v>', 'net.ipv4.conf.IFNAME.log_martians=1, IFNAME as it stands (repeatable)', collect)
    .option('--rate-in <rate>', 'limit into the sandbox, for example 50mbit', bitRate)
    .option('--rate-out <rate>', 'limit out of the sandbox', bitRate);
}

function bodyOf(options: Row): Row {
  const { ip, mac, alias, service, weight, ifname, gwPriority, defaultRoute, rateIn, rateOut } = options;
  const routes = (options.route as string[] | undefined)?.map(routeOf);
  const sysctls = options.sysctl && pairs(options.sysctl as string[]);
  const route = { gwPriority, routes, sysctls, ...(defaultRoute === false && { defaultRoute }) };
  const limits = given({ toSandbox: rateIn, fromSandbox: rateOut });
  const bandwidth = Object.keys(limits).length > 0 ? limits : undefined;
  return given({
    addresses: ip,
    mac,
    aliases: alias,
    service: oneOrAll(service as string[] | undefined),
    weight,
    ifname,
    bandwidth,
    ...route,
  });
}

/** Of several services a list. */
const oneOrAll = (names: string[] = []): string | string[] | undefined => (names.length > 1 ? names : names[0]);

/** `10.9.0.0/16,via=10.31.0.9,metric=5`: a destination, then what else a route says. */
function routeOf(text: string): Row {
  const [dst, ...rest] = text.split(',');
  const { metric, ...how } = pairs(rest);
  return { dst, ...how, ...(metric !== undefined && { metric: whole(metric) }) };
}
