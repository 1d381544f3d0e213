// Runs commands in network namespaces. A namespace is a name of `ip netns`, or the path of one.
import { spawnSync } from 'node:child_process';

/** Bytes: the table of 10,000 services is 30 MB as text. */
const OUTPUT_MAX = 256 * 1024 * 1024;

/** Characters of the input that an error shows. */
const SHOWN = 2000;

/** Path of a namespace. @param {string} ns */
export const pathOf = (ns) => (ns.startsWith('/') ? ns : `/run/netns/${ns}`);

/**
 * Runs a command to its end.
 * @param {string} ns @param {readonly string[]} argv @param {string} [input] @returns {string} what it printed
 * @throws an Error with the command and what it said
 */
export function run(ns, argv, input) {
  const words = ['nsenter', `--net=${pathOf(ns)}`, ...argv];
  const { status, error, stdout, stderr } = spawnSync(words[0], words.slice(1), {
    input,
    encoding: 'utf8',
    maxBuffer: OUTPUT_MAX,
  });
  if (error) throw new Error(`cannot run ${words[0]}: ${error.message}`);
  if (status === 0) return stdout;
  throw new Error(
    `${argv.join(' ')} in ${ns} failed: ${stderr.trim()}${input === undefined ? '' : `\n${input.slice(0, SHOWN)}`}`,
  );
}

const text = (lines) => `${lines.flat().join('\n')}\n`;

/** @param {string} ns @param {...(string | string[])} lines commands without the leading `ip` */
export const ip = (ns, ...lines) => run(ns, ['ip', '-batch', '-'], text(lines));

/** @param {string} ns @param {...(string | string[])} lines commands without the leading `bridge` */
export const bridge = (ns, ...lines) => run(ns, ['bridge', '-batch', '-'], text(lines));

/** @param {string} ns @param {string} ruleset */
export const nft = (ns, ruleset) => run(ns, ['nft', '-f', '-'], ruleset);

/**
 * IPv4 rules by table. `NAME -` among a table's lines makes a chain.
 * @param {string} ns @param {Record<string, readonly string[]>} tables
 */
export function iptables(ns, tables) {
  const section = ([table, lines]) => [
    `*${table}`,
    ...lines.map((line) => (line.endsWith(' -') ? `:${line}` : `-A ${line}`)),
    'COMMIT',
  ];
  // The xtables lock is one for the whole machine.
  run(ns, ['iptables-restore', '--noflush', '-w', '10'], text(Object.entries(tables).map(section)));
}

/**
 * Writes sysctls, given as paths below /proc/sys. One that this kernel lacks is left out when it is optional.
 * @param {string} ns @param {Record<string, string | number>} values @param {{ optional?: boolean }} [how]
 */
export function sysctls(ns, values, { optional = false } = {}) {
  const lines = Object.entries(values).map(([name, value]) => {
    const file = `/proc/sys/${name}`;
    return `${optional ? `[ ! -e ${file} ] || ` : ''}echo ${value} > ${file}`;
  });
  run(ns, ['sh', '-e'], text(lines));
}

/** Makes namespaces with their loopback up. @param {...string} names */
export function namespaces(...names) {
  for (const name of names) {
    const { status, stderr } = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`ip netns add ${name} failed: ${stderr.trim()}`);
    ip(name, 'link set lo up');
  }
}
