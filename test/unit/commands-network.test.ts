import test from 'ava';
import { Command } from 'commander';
import { networkCommands } from '../../src/commands/network.js';
import { OPTIONS } from '../../src/model/options.js';

test('the help of network create names every driver and its options', (t) => {
  const program = new Command();
  networkCommands(program);
  const create = program.commands[0]?.commands.find((command) => command.name() === 'create') as Command;
  let text = '';
  create.configureOutput({ writeOut: (part) => (text += part) }).outputHelp();
  for (const [driver, schema] of Object.entries(OPTIONS)) {
    const line = text.split('\n').find((row) => row.startsWith(`  ${driver} `)) ?? '';
    t.true(line !== '', driver);
    const named =
      line
        .split(/\s{2,}/)
        .at(-1)
        ?.split(' ') ?? [];
    for (const option of Object.keys(schema.shape))
      t.true(
        named.some((word) => word.split('=')[0] === option),
        `${driver}: ${option}`,
      );
  }
});
