#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { pino } from 'pino';
import pretty from 'pino-pretty';
import { Agent } from './agent/agent.js';
import { limitHeap } from './agent/memory.js';
import { type Options, readOptions } from './agent/options.js';
import { toWeftError, WeftError } from './base/errors.js';
import { loadNative } from './kernel/real/native.js';

/** CAP_NET_ADMIN and CAP_SYS_ADMIN of linux/capability.h: netlink writes and namespaces. */
const NEEDED = { CAP_NET_ADMIN: 12n, CAP_SYS_ADMIN: 21n };

function requirePrivilege(): void {
  const text = readFileSync('/proc/self/status', 'utf8').match(/^CapEff:\s*([0-9a-f]+)/m)?.[1] ?? '0';
  const effective = BigInt(`0x${text}`);
  const lacking = Object.entries(NEEDED).filter(([, bit]) => !(effective & (1n << bit)));
  if (lacking.length === 0) return;
  const names = lacking.map(([name]) => name).join(' and ');
  throw new WeftError('WEFT_PRIVILEGE', `the agent lacks ${names}`, 'run it as root');
}

function logger(options: Options) {
  const settings = { level: options.logLevel, base: { node: options.node } };
  if (options.logFormat === 'json') return pino(settings);
  return pino(settings, pretty({ sync: true, ignore: 'pid,hostname,node' }));
}

async function main(): Promise<void> {
  limitHeap();
  const options = readOptions(process.argv.slice(2));
  requirePrivilege();
  const log = logger(options);
  const agent = new Agent(options, log);
  if (options.cleanup) {
    const { removed } = await agent.cleanup();
    await agent.stop();
    log.info(`removed ${removed} objects`);
    return;
  }
  await agent.start();
  loadNative().sdNotify('READY=1');
  log.info({ socket: options.socket }, 'ready');
  const stop = (signal: string) => {
    log.info(`${signal}: ending; the data plane stays`);
    agent.stop().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  process.once('SIGTERM', () => stop('SIGTERM'));
  process.once('SIGINT', () => stop('SIGINT'));
}

main().catch((thrown) => {
  const error = toWeftError(thrown);
  process.stderr.write(`weftd: ${error.code}: ${error.message}${error.hint ? ` (${error.hint})` : ''}\n`);
  if (error.code === 'WEFT_INTERNAL') process.stderr.write(`${(thrown as Error).stack}\n`);
  process.exit(error.code === 'WEFT_PRIVILEGE' || error.code === 'WEFT_KERNEL_MISSING' ? 3 : 1);
});
