import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Command } from 'commander';
import { WeftError } from '../base/errors.js';
import { tableCommands } from './objects.js';
import { type Column, column, type Row } from './output.js';
import { parsePublish, parsePublished, publishedText } from './publish.js';
import { at, collect, given, session, waiting, waitQuery, whole } from './shared.js';

const PUBLISH = '[HOSTIP:][PUBLISHED[-END]:]TARGET[/proto][,allow=CIDR]';
const PORTS: Column = { heading: 'PORTS', text: (row) => (row.ports as Row[]).map(publishedText) };

export function sandboxCommands(program: Command): void {
  const sandbox = program.command('sandbox').description('network namespaces of containers');
  waiting(sandbox.command('create <name>').description('create a sandbox, or take over a namespace'))
    .option('--netns <path>', 'namespace to take over')
    .option('--pid <pid>', 'process whose namespace to take over', whole)
    .option('--host', 'use the namespace of the node')
    .option('--share <sandbox>', 'use the namespace, endpoints and resolver of another sandbox')
    .option('--hostname <name>', 'host name')
    .option('--dns <ip>', 'resolver for names weft does not know (repeatable)', collect)
    .option('--dns-from <where>', 'namespace from which those are asked: auto, node or sandbox')
    .option('--dns-split <domain=server,…>', 'resolvers for names in a domain (repeatable)', collect)
    .option('--dns-search <domain>', 'search domain (repeatable)', collect)
    .option('--publish <port>', `${PUBLISH} (repeatable)`, collect)
    .action(async (name: string, options: Row, self: Command) => {
      const { netns, pid, host, share, hostname, dns, dnsFrom, dnsSearch } = options;
      const dnsSplit = (options.dnsSplit as string[] | undefined)?.map(parseSplit);
      const ports = (options.publish as string[] | undefined)?.map(parsePublish);
      await session(self).client.put(
        at('sandboxes', name) + waitQuery(options),
        given({
          ...{ netns, pid, host, share, hostname, dns, dnsFrom, dnsSearch, ports },
          dnsSplit: dnsSplit && Object.fromEntries(dnsSplit),
        }),
      );
      process.stdout.write(`${name}\n`);
    });
  tableCommands(sandbox, 'sandboxes', [
    column('NAME', 'id'),
    column('NETNS'),
    column('PID'),
    column('HOSTNAME'),
    PORTS,
  ]);
  publishCommands(sandbox);
  sandbox
    .command('exec <name> <command...>')
    .description('run a command in a sandbox: sandbox exec NAME -- CMD…')
    .passThroughOptions()
    .action(async (name: string, argv: string[], _options, self: Command) => {
      const shown = await session(self).client.get<Row>(at('sandboxes', name));
      // commander stops reading at NAME and hands the `--` behind it over as it is
      process.exitCode = await execIn(shown, argv[0] === '--' ? argv.slice(1) : argv);
    });
}

/** `DOMAIN=SERVER[,SERVER]`. @throws WEFT_INVALID_ARGUMENT */
function parseSplit(text: string): [domain: string, servers: string[]] {
  const [, domain, servers] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (domain !== undefined && servers !== undefined) return [domain, servers.split(',')];
  throw new WeftError('WEFT_INVALID_ARGUMENT', `"${text}" is no rule`, 'use --dns-split DOMAIN=SERVER[,SERVER]');
}

function publishCommands(sandbox: Command): void {
  waiting(
    sandbox.command('publish <name> <port...>').description(`lead ports of the node to a sandbox: ${PUBLISH}`),
  ).action(async (name: string, texts: string[], options: Row, self: Command) => {
    for (const port of texts.map(parsePublish)) {
      const { published = 0, proto = 'tcp', ...body } = port;
      const path = `${at('sandboxes', name)}/ports/${String(proto)}/${String(published)}`;
      const made = await session(self).client.put<Row>(path + waitQuery(options), body);
      process.stdout.write(`${publishedText(made)}\n`);
    }
  });
  waiting(
    sandbox.command('unpublish <name> <port...>').description('take ports back: [HOSTIP:]PUBLISHED[/proto]'),
  ).action(async (name: string, texts: string[], options: Row, self: Command) => {
    for (const { hostIp, published, proto } of texts.map(parsePublished)) {
      const path = `${at('sandboxes', name)}/ports/${proto}/${published}`;
      const query = new URLSearchParams(waitQuery(options));
      if (hostIp !== undefined) query.set('hostIp', hostIp);
      await session(self).client.delete(query.size > 0 ? `${path}?${query}` : path);
      process.stdout.write(`${published}/${proto}\n`);
    }
  });
}

/** Whoever sends these to `weft` means the program that it runs. */
const FORWARDED = ['SIGTERM', 'SIGHUP'] as const;
/** The terminal sends these to both; it is for the program to decide. */
const IGNORED = ['SIGINT', 'SIGQUIT'] as const;

/**
 * Runs a program in the sandbox's network namespace, with its resolv.conf and hosts in place of the node's. Resolves
 * with the exit status, 128 + signal where a signal ended it.
 */
function execIn(sandbox: Row, argv: string[]): Promise<number> {
  const { path, files } = sandbox.location as { path: string; files: string };
  const script = [
    'for f in resolv.conf hosts; do [ -f "$0/$f" ] && mount --bind "$0/$f" "/etc/$f"; done',
    'exec "$@"',
  ].join('; ');
  const words = [`--net=${path}`, 'unshare', '--mount', 'sh', '-c', script, files, ...argv];
  const child = spawn('nsenter', words, { stdio: 'inherit' });
  for (const signal of FORWARDED) process.on(signal, () => child.kill(signal));
  for (const signal of IGNORED) process.on(signal, () => {});
  return new Promise((resolve, reject) => {
    child.once('error', (error) =>
      reject(new WeftError('WEFT_COMMAND', `cannot run nsenter: ${error.message}`, 'install util-linux')),
    );
    child.once('exit', (status, signal) => resolve(status ?? 128 + constants.signals[signal as NodeJS.Signals]));
  });
}
