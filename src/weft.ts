#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { toWeftError } from './base/errors.js';
import { agentCommands } from './commands/agent.js';
import { clusterCommands } from './commands/cluster.js';
import { endpointCommands } from './commands/endpoint.js';
import { kernelCommands } from './commands/kernel.js';
import { networkCommands } from './commands/network.js';
import { sandboxCommands } from './commands/sandbox.js';
import { serviceCommands } from './commands/service.js';

function version(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
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
  ])
    add(weft);
  weft
    .command('version')
    .description('version of this program')
    .action(() => {
      process.stdout.write(`weft ${version()}\n`);
    });
  exitWith2(weft);
  return weft;
}

/** Usage errors exit with 2 in every command; help and version with 0. */
function exitWith2(command: Command): void {
  command.exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));
  for (const sub of command.commands) exitWith2(sub);
}

program()
  .parseAsync(process.argv)
  .catch((thrown) => {
    const error = toWeftError(thrown);
    process.stderr.write(`weft: ${error.code}: ${error.message}${error.hint ? ` (${error.hint})` : ''}\n`);
    process.exitCode = 1;
  });
