#!/usr/bin/env node
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { toWeftError, WeftError } from './base/errors.js';
import { Chain } from './dns/chain.js';
import { Control } from './dns/control.js';
import { exchanges } from './dns/exchange.js';
import { Listeners } from './dns/listeners.js';
import { PID_NAME, SOCKET_NAME } from './dns/protocol.js';
import { QueryLog } from './dns/query-log.js';
import { listenAlone } from './dns/single.js';
import { loadNative } from './kernel/real/native.js';

const USAGE = `usage: weft-resolver --run-dir DIR [--log-level fatal|error|warn|info|debug|trace]

Answers DNS queries of the sandboxes of one agent, which starts it and tells it names over DIR/${SOCKET_NAME}.
It stays when the agent ends; SIGTERM ends it.
`;

interface Options {
  runDir: string;
  logLevel: string;
}

/** Flags, else environment. @throws WEFT_INVALID_ARGUMENT */
function readOptions(args: string[]): Options | 'help' {
  const options = {
    'run-dir': { type: 'string' },
    'log-level': { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  } as const;
  let values: { 'run-dir'?: string; 'log-level'?: string; help?: boolean };
  try {
    ({ values } = parseArgs({ args, options }));
  } catch (error) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', (error as Error).message);
  }
  if (values.help) return 'help';
  const runDir = values['run-dir'] ?? process.env.WEFT_RUN_DIR;
  const logLevel = values['log-level'] ?? process.env.WEFT_LOG_LEVEL ?? 'info';
  if (!runDir) throw new WeftError('WEFT_INVALID_ARGUMENT', '--run-dir is missing');
  if (!(logLevel in pino.levels.values)) throw new WeftError('WEFT_INVALID_ARGUMENT', `"${logLevel}" is no log level`);
  return { runDir, logLevel };
}

async function serve({ runDir, logLevel }: Options): Promise<void> {
  const log = pino({ name: 'weft-resolver', level: logLevel });
  const native = loadNative();
  const queries = new QueryLog((message) => log.error(message));
  const chain = new Chain(exchanges(native), queries);
  const listeners = new Listeners(native, chain);
  const control = new Control(chain, listeners, (message, fields) => log.info(fields, message));
  const socketPath = join(runDir, SOCKET_NAME);
  const pidPath = join(runDir, PID_NAME);
  // Before the first file: the control socket is nobody else's, also before chmod.
  process.umask(0o077);
  await listenAlone(control.server, socketPath);
  await writeFile(pidPath, `${process.pid}\n`);
  const end = async (signal: string) => {
    log.info({ signal }, 'ending');
    listeners.close();
    await Promise.all([queries.close(), rm(socketPath, { force: true }), rm(pidPath, { force: true })]);
    process.exit(0);
  };
  process.once('SIGTERM', end);
  process.once('SIGINT', end);
  log.info({ socket: socketPath }, 'listening');
}

/** Exit codes: 1 failure, 2 usage, 3 lacks privilege or kernel support. */
function exitCode(error: WeftError): number {
  if (error.code === 'WEFT_INVALID_ARGUMENT') return 2;
  return error.status === 501 ? 3 : 1;
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options === 'help') process.stdout.write(USAGE);
  else await serve(options);
} catch (thrown) {
  const error = toWeftError(thrown);
  process.stderr.write(`${error.code} ${error.message}${error.hint === undefined ? '' : ` (${error.hint})`}\n`);
  process.exitCode = exitCode(error);
}
