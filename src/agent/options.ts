import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { parse as parseYaml } from 'yaml';
import type { HostPort } from '../api/metrics-server.js';
import { WeftError } from '../base/errors.js';
import { canonicalIp } from '../base/ip.js';
import { LOCAL_TTL } from '../dns/view.js';
import { TTL_MAX } from '../dns/view-json.js';
import { dnsSplit } from '../model/sandbox.js';
import { NAME_PATTERN } from '../model/scalars.js';
import { checkUnderlayAddress } from '../state/vtep.js';

/** How the agent was asked to run. */
export interface Options {
  node: string;
  advertise: string;
  dataPathPort: number;
  /** UDP port of the path probe; 0 is off. */
  probePort: number;
  runDir: string;
  stateDir: string;
  socket: string;
  /** Seconds for which answers about names of the wish may be kept. */
  dnsTtl: number;
  /** Name servers by domain, over the node's own. */
  dnsSplit: Record<string, string[]>;
  /** File to which the resolver writes a line for each query. */
  dnsQueryLog?: string;
  lb: 'auto' | 'ipvs' | 'nft';
  /** Where `GET /metrics` is answered besides the socket. */
  metrics?: HostPort;
  logLevel: string;
  logFormat: 'pretty' | 'json';
  cleanup: boolean;
}

const port = (text: string): number => {
  const n = Number(text);
  if (!Number.isInteger(n) || n < 1 || n > 65535) throw new InvalidArgumentError('a port is 1-65535');
  return n;
};
const portOrOff = (text: string): number => (text === '0' ? 0 : port(text));
const dnsTtl = (text: string): number => {
  const n = Number(text);
  if (/^\d+$/.test(text) && n <= TTL_MAX) return n;
  throw new InvalidArgumentError(`a TTL is 0-${TTL_MAX} seconds`);
};
/** Rules with spaces between them, as an environment variable has them. */
const splitRules = (text: string, before: Record<string, string[]> = {}): Record<string, string[]> => {
  const rules = { ...before };
  for (const rule of text.trim().split(/\s+/))
    rules[rule.slice(0, rule.indexOf('='))] = rule.split('=')[1]?.split(',') ?? [];
  const { success, data } = dnsSplit.safeParse(rules);
  if (success) return data;
  throw new InvalidArgumentError('use DOMAIN=SERVER[,SERVER], where a server is ADDRESS or ADDRESS#PORT');
};
const nodeName = (text: string): string => {
  if (!NAME_PATTERN.test(text)) throw new InvalidArgumentError('use 1-63 of [a-zA-Z0-9][a-zA-Z0-9_.-]*');
  return text;
};
const address = (text: string): string => {
  try {
    const ip = canonicalIp(text);
    checkUnderlayAddress(ip);
    return ip;
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
};
/** `127.0.0.1:9464`, `[::1]:9464`, or `:9464` for all addresses. */
const hostPort = (text: string): HostPort => {
  const [, six, other, digits] = /^(?:\[([^\]]+)\]|([^:]*)):(\d+)$/.exec(text) ?? [];
  if (digits === undefined) throw new InvalidArgumentError('use HOST:PORT, [IPV6]:PORT, or :PORT for all addresses');
  const host = six ?? other;
  return { port: port(digits), ...(host && { host }) };
};
const unsupported =
  (flag: string, only: string) =>
  (text: string): string => {
    if (text === only) return text;
    throw new InvalidArgumentError(`${flag} ${text} is not supported yet; use ${only}`);
  };

/** The command line. Precedence: flag, environment (`WEFT_*`), config file, default. */
function command(): Command {
  const option = (flags: string, text: string, env: string) => new Option(flags, text).env(env);
  return new Command('weftd')
    .description('data plane of a container overlay network and routing mesh: the agent of one node')
    .addOption(option('--node <name>', 'name of this node', 'WEFT_NODE').argParser(nodeName))
    .addOption(option('--advertise <ip>', 'underlay address of this node', 'WEFT_ADVERTISE').argParser(address))
    .addOption(
      option('--data-path-port <port>', 'UDP port of VXLAN', 'WEFT_DATA_PATH_PORT').argParser(port).default(4789),
    )
    .addOption(
      option(
        '--probe-port <port>',
        'UDP port by which agents measure the paths between them; 0 is off',
        'WEFT_PROBE_PORT',
      )
        .argParser(portOrOff)
        .default(4798),
    )
    .addOption(option('--run-dir <dir>', 'namespaces, sockets, sandbox files', 'WEFT_RUN_DIR').default('/run/weft'))
    .addOption(option('--state-dir <dir>', 'journal of the desired state', 'WEFT_STATE_DIR').default('/var/lib/weft'))
    .addOption(option('--socket <path>', 'API socket; RUN_DIR/weft.sock when not given', 'WEFT_SOCKET'))
    .addOption(
      option('--dns-ttl <seconds>', 'how long answers about names may be kept', 'WEFT_DNS_TTL')
        .argParser(dnsTtl)
        .default(LOCAL_TTL),
    )
    .addOption(
      option(
        '--dns-split <domain=server,…>',
        'name servers for names in a domain; the longest that fits counts (repeatable)',
        'WEFT_DNS_SPLIT',
      )
        .argParser(splitRules)
        .default({}),
    )
    .addOption(
      option('--dns-query-log <file>', 'append a line of JSON for each query', 'WEFT_DNS_QUERY_LOG').argParser(
        (text: string) => resolve(text),
      ),
    )
    .addOption(option('--lb <balancer>', 'load balancer', 'WEFT_LB').choices(['auto', 'ipvs', 'nft']).default('auto'))
    .addOption(
      option('--store <store>', 'where the wish is kept', 'WEFT_STORE')
        .argParser(unsupported('--store', 'local'))
        .default('local'),
    )
    .addOption(
      option('--gossip <source>', 'gossip to join', 'WEFT_GOSSIP')
        .argParser(unsupported('--gossip', 'off'))
        .default('off'),
    )
    .addOption(option('--metrics <host:port>', 'answer GET /metrics there too', 'WEFT_METRICS').argParser(hostPort))
    .addOption(
      option('--log-level <level>', 'how much to say', 'WEFT_LOG_LEVEL')
        .choices(['trace', 'debug', 'info', 'warn', 'error'])
        .default('info'),
    )
    .addOption(
      option('--log-format <format>', 'how to say it', 'WEFT_LOG_FORMAT').choices(['pretty', 'json']).default('json'),
    )
    .addOption(option('--config <file>', 'YAML file with these options', 'WEFT_CONFIG'))
    .option('--cleanup', 'remove everything that weft owns on this node, and end', false);
}

/**
 * Reads options. Usage errors end the process with 2, as commander prints them.
 * @throws WEFT_INVALID_ARGUMENT for the config file
 */
export function readOptions(argv: readonly string[]): Options {
  const program = command();
  program.exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));
  program.parse([...argv], { from: 'user' });
  const file = program.opts<{ config?: string }>().config;
  if (file !== undefined) applyFile(program, file);
  const given = program.opts<Partial<Options>>();
  for (const needed of ['node', 'advertise'] as const) {
    if (given[needed] === undefined) program.error(`error: option --${needed} is needed (see weftd --help)`);
  }
  const options = given as Options;
  return { ...options, socket: options.socket ?? join(options.runDir, 'weft.sock') };
}

/** Values of the file count where neither flag nor environment said anything. */
function applyFile(program: Command, file: string): void {
  let values: unknown;
  try {
    values = parseYaml(readFileSync(file, 'utf8')) ?? {};
  } catch (error) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `cannot read config ${file}: ${(error as Error).message}`);
  }
  for (const [key, value] of Object.entries(values as Record<string, unknown>)) {
    const option = program.options.find((o) => o.long === `--${key}`);
    if (!option || key === 'config') {
      throw new WeftError(
        'WEFT_INVALID_ARGUMENT',
        `config ${file}: unknown option "${key}"`,
        'names are those of the flags',
      );
    }
    const source = program.getOptionValueSource(option.attributeName());
    if (source === 'cli' || source === 'env') continue;
    try {
      const text = Array.isArray(value) ? value.join(' ') : String(value);
      const parsed = option.parseArg ? option.parseArg(text, undefined) : value;
      program.setOptionValueWithSource(option.attributeName(), parsed, 'config');
    } catch (error) {
      throw new WeftError('WEFT_INVALID_ARGUMENT', `config ${file}: ${key}: ${(error as Error).message}`);
    }
  }
}
