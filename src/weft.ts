#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { agentCommands } from './commands/agent.js';
import { clusterCommands } from './commands/cluster.js';
import { dnsCommands } from './commands/dns.js';
import { endpointCommands } from './commands/endpoint.js';
import { kernelCommands } from './commands/kernel.js';
import { networkCommands } from './commands/network.js';
import { sandboxCommands } from './commands/sandbox.js';
import { serviceCommands } from './commands/service.js';
import { statsCommand } from './commands/stats.js';
import { conventions, failed } from './commands/usage.js';
import { verifyCommand } from './commands/verify.js';

/** Of the package this file belongs to, whether it runs from dist/ or, in tests, from build/src/. */
function version(from = new URL('.', import.meta.url)): string {
  const file = new URL('package.json', from);
  if (existsSync(file)) return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  const parent = new URL('..', from);
  return parent.href === from.href ? 'unknown' : version(parent);
}

function program(): Command {
  const weft = new Command('weft')
    .description('command line of weftd, the data plane of a container overlay network and routing mesh')
    .addOption(new Option('--socket <path>', 'socket of the agent').env('WEFT_SOCKET').default('/run/weft/weft.sock'))
    .enablePositionalOptions()
    .showSuggestionAfterError();
  for (const add of [
    agentCommands,
    networkCommands,
    sandboxCommands,
    endpointCommands,
    clusterCommands,
    serviceCommands,
    kernelCommands,
    dnsCommands,
    verifyCommand,
    statsCommand,
  ])
    add(weft);
  weft
    .command('version')
    .description('version of this program')
    .action(() => {
      process.stdout.write(`weft ${version()}\n`);
    });
  conventions(weft);
  return weft;
}

// A reader that has enough (`| head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const weft = program();
weft.parseAsync(process.argv).catch((thrown) => {
  process.exitCode = failed(weft, thrown);
});
