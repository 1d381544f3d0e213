import { type Command, InvalidArgumentError } from 'commander';
import { drainCommands } from './drain.js';
import { healthOf } from './health.js';
import { change, tableCommands } from './objects.js';
import { type Column, column, type Row } from './output.js';
import { parsePublish, publishedText } from './publish.js';
import { at, collect, given, pairs, positive, session, waiting, waitQuery, whole } from './shared.js';

const PUBLISHED: Column = { heading: 'PORTS', text: (row) => (row.publish as Row[]).map(publishedText) };

export function serviceCommands(program: Command): void {
  const service = program.command('service').description('services: a name, a VIP, published ports');
  drainCommands(service, 'service', 'name');
  withOptions(service.command('create <name>').description('create a service')).action(
    async (name: string, options: Row, self: Command) => {
      await session(self).client.put(at('services', name) + waitQuery(options), bodyOf(options));
      process.stdout.write(`${name}\n`);
    },
  );
  withOptions(service.command('update <name>').description('change what is given, keep the rest')).action(
    async (name: string, options: Row, self: Command) => {
      const { client } = session(self);
      const before = await client.get<Row>(at('services', name));
      const changes = bodyOf(options, before);
      // What is there and undefined goes.
      if (options.health === 'none') changes.health = undefined;
      await change(client, 'services', name, changes, waitQuery(options));
      process.stdout.write(`${name}\n`);
    },
  );
  tableCommands(service, 'services', [
    column('NAME', 'id'),
    column('MODE'),
    column('SCHEDULER', 'scheduler', true),
    column('VIPS'),
    PUBLISHED,
    column('ORIGIN', 'origin', true),
  ]);
}

function withOptions(command: Command): Command {
  return waiting(command)
    .option('--network <name>', 'network it is on (repeatable)', collect)
    .option('--mode <mode>', 'vip or dnsrr')
    .option('--vip <[net=]ip>', 'virtual IP (repeatable)', collect)
    .option('--alias <name>', 'further name (repeatable)', collect)
    .option(
      '--publish <port>',
      '[HOSTIP:][PUBLISHED[-END]:]TARGET[/proto][,mode=…][,policy=…][,allow=CIDR] (repeatable)',
      collect,
    )
    .option(
      '--port <port>',
      'PORT:TARGET[/proto][,name=NAME]: a port of the VIP that leads to another of the task (repeatable)',
      collect,
    )
    .option('--scheduler <name>', 'rr, wrr, lc, wlc, sh or mh')
    .option('--affinity <seconds>', 'a client stays with its backend', whole)
    .option('--prefer-local', 'backends of other nodes only while none of this node is active')
    .option('--no-prefer-local', 'all backends alike')
    .option('--client-ip <mode>', 'preserve or snat')
    .option('--drain <seconds>', 'how long connections may take to end', whole)
    .option('--udp-drain <mode>', 'UDP flows of a backend that drains: move or keep')
    .option('--health <probe>', 'probe backends: tcp:PORT, http:PORT/PATH, or none')
    .option('--health-interval <seconds>', 'between two probes, 10 when not given', positive)
    .option('--health-timeout <seconds>', 'after which a probe has failed, 5 when not given', positive)
    .option('--healthy <n>', 'probes in a row that have to pass, 2 when not given', whole)
    .option('--unhealthy <n>', 'probes in a row that have to fail, 3 when not given', whole)
    .option('--label <k=v>', 'label (repeatable)', collect);
}

/** @param before the service as it is, where it is changed */
function bodyOf(options: Row, before?: Row): Row {
  const { mode, scheduler, affinity, preferLocal, clientIp, drain, udpDrain } = options;
  const networks = options.network as string[] | undefined;
  return given({
    networks,
    mode,
    vips: options.vip && vipsOf(options.vip as string[], networks),
    aliases: options.alias,
    ports: (options.port as string[] | undefined)?.map(parsePort),
    publish: (options.publish as string[] | undefined)?.map(parsePublish),
    scheduler,
    affinity,
    preferLocal,
    clientIp,
    drain,
    udpDrain,
    health: healthOf(options, before?.health as Row | undefined),
    labels: options.label && pairs(options.label as string[]),
  });
}

/** `80:8080/udp,name=http` */
function parsePort(text: string): Row {
  const [, port, target, proto, name] = /^(\d+):(\d+)(?:\/(\w+))?(?:,name=(\S+))?$/.exec(text) ?? [];
  if (port === undefined) throw new InvalidArgumentError(`--port ${text}: give PORT:TARGET[/proto][,name=NAME]`);
  return given({ port: Number(port), target: Number(target), proto, name });
}

/** `NET=IP`, or `IP` alone where the service is on one network. */
function vipsOf(list: readonly string[], networks: readonly string[] | undefined): Record<string, string[]> {
  const out: Record<string, string[]> = {};
  for (const text of list) {
    const split = text.indexOf('=');
    const network = split > 0 ? text.slice(0, split) : networks?.length === 1 ? networks[0] : undefined;
    if (network === undefined) throw new InvalidArgumentError(`--vip ${text}: say which network: NET=IP`);
    out[network] = [...(out[network] ?? []), text.slice(split + 1)];
  }
  return out;
}
