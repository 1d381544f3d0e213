import { type Command, CommanderError, Help } from 'commander';
import { toWeftError } from '../base/errors.js';

/** What every command of a program shares: full help at the top, usage errors on one line and with exit status 2. */
export function conventions(program: Command): void {
  program.configureHelp({ subcommandTerm: term, formatHelp });
  each(program, (command) => {
    command.exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));
    command.configureOutput({ outputError: (text, write) => write(`${program.name()}: ${oneLine(text)}\n`) });
    if (command !== program) command.copyInheritedSettings(program);
  });
}

/** Of the program itself: every command there is, not only the first words. */
function formatHelp(command: Command, helper: Help): string {
  const whole: Help = Object.create(helper);
  if (!command.parent) whole.visibleCommands = leaves;
  return Help.prototype.formatHelp.call(whole, command, whole);
}

function term(command: Command): string {
  const given = command.registeredArguments.map((argument) => {
    const word = `${argument.name()}${argument.variadic ? '...' : ''}`;
    return argument.required ? `<${word}>` : `[${word}]`;
  });
  return [pathOf(command), ...(command.options.length > 0 ? ['[options]'] : []), ...given].join(' ');
}

function each(command: Command, visit: (command: Command) => void): void {
  visit(command);
  for (const sub of command.commands) each(sub, visit);
}

/** Commands that do something, in the order in which they were added. */
function leaves(command: Command): Command[] {
  return command.commands.flatMap((sub) => (sub.commands.length > 0 ? leaves(sub) : [sub]));
}

/** `network create`: the names from the program, which is left out, down to the command. */
function pathOf(command: Command): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}`.trim() : '';
}

function oneLine(text: string): string {
  return text
    .trim()
    .replace(/^error: /, '')
    .replaceAll(/\s*\n\s*/g, ' ');
}

/**
 * Says why a command failed, on one line, and gives the exit status: 2 for wrong usage, else 1. Where several names were
 * given, each that failed has a line.
 */
export function failed(program: Command, thrown: unknown): 1 | 2 {
  if (thrown instanceof AggregateError) {
    for (const error of thrown.errors) failed(program, error);
    return 1;
  }
  if (thrown instanceof CommanderError) {
    process.stderr.write(`${program.name()}: ${oneLine(thrown.message)}\n`);
    return 2;
  }
  const { code, message, hint } = toWeftError(thrown);
  process.stderr.write(`${program.name()}: ${oneLine(`${code}: ${message}${hint ? ` (${hint})` : ''}`)}\n`);
  return 1;
}
