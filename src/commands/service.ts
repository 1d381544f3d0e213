import { type Command, InvalidArgumentError } from 'commander';
import { tableCommands } from './objects.js';
import { type Column, column, type Row } from './output.js';
import { at, collect, given, pairs, session, waiting, waitQuery, whole } from './shared.js';

const PUBLISHED: Column = { heading: 'PORTS', text: (row) => (row.publish as Row[]).map(publishedText) };

export function serviceCommands(program: Command): void {
  const service = program.command('service').description('services: a name, a VIP, published ports');
  withOptions(service.command('create <name>').description('create a service')).action(
    async (name: string, options: Row, self: Command) => {
      await session(self).client.put(at('services', name) + waitQuery(options), bodyOf(options));
      process.stdout.write(`${name}\n`);
    },
  );
  withOptions(service.command('update <name>').description('change what is given, keep the rest')).action(
    async (name: string, options: Row, self: Command) => {
      const { client } = session(self);
      const {
        id: _id,
        origin: _origin,
        revision: _revision,
        status: _status,
        ...now
      } = await client.get<Row>(at('services', name));
      await client.put(at('services', name) + waitQuery(options), { ...now, ...bodyOf(options) });
      process.stdout.write(`${name}\n`);
    },
  );
  tableCommands(service, 'services', [
    column('NAME', 'id'),
    column('MODE'),
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
    .option('--publish <port>', '[HOSTIP:]PUBLISHED[-END]:TARGET[/proto][,mode=…][,allow=CIDR] (repeatable)', collect)
    .option('--scheduler <name>', 'rr, wrr, lc, wlc, sh or mh')
    .option('--affinity <seconds>', 'a client stays with its backend', whole)
    .option('--client-ip <mode>', 'preserve or snat')
    .option('--drain <seconds>', 'how long connections may take to end', whole)
    .option('--label <k=v>', 'label (repeatable)', collect);
}

function bodyOf(options: Row): Row {
  const { mode, scheduler, affinity, clientIp, drain } = options;
  const networks = options.network as string[] | undefined;
  return given({
    networks,
    mode,
    vips: options.vip && vipsOf(options.vip as string[], networks),
    aliases: options.alias,
    publish: (options.publish as string[] | undefined)?.map(parsePublish),
    scheduler,
    affinity,
    clientIp,
    drain,
    labels: options.label && pairs(options.label as string[]),
  });
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

/** `[HOSTIP:]PUBLISHED[-END]:TARGET[/proto][,mode=ingress|host][,allow=CIDR]` as the API takes it. */
export function parsePublish(text: string): Row {
  const [head = '', ...extras] = text.split(',');
  const match =
    /^(?:(?<hostIp>\[[^\]]+\]|[^:[\]]+):)?(?<published>\d+)(?:-(?<end>\d+))?:(?<target>\d+)(?:\/(?<proto>\w+))?$/.exec(
      head,
    );
  if (!match?.groups) throw new InvalidArgumentError(`"${text}" is not [HOSTIP:]PUBLISHED[-END]:TARGET[/proto]`);
  const { hostIp, published, end, target, proto } = match.groups;
  const out: Row = given({
    hostIp: hostIp?.replace(/^\[|\]$/g, ''),
    published: Number(published),
    publishedEnd: end === undefined ? undefined : Number(end),
    target: Number(target),
    proto,
  });
  for (const extra of extras) {
    const [key, value] = extra.split('=');
    if (key === 'mode' && value) out.mode = value;
    else if (key === 'allow' && value) out.allow = [...((out.allow as string[]) ?? []), value];
    else throw new InvalidArgumentError(`"${extra}" is neither mode=… nor allow=CIDR`);
  }
  return out;
}

export function publishedText(p: Row): string {
  const host = p.hostIp === undefined ? '' : `${String(p.hostIp)}:`;
  const end = p.publishedEnd === undefined ? '' : `-${String(p.publishedEnd)}`;
  return `${host}${String(p.published)}${end}:${String(p.target)}/${String(p.proto)}`;
}
