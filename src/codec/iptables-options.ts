import type { Family } from '../base/ip.js';
import {
  addrtype,
  ctstate,
  ctstatus,
  hex,
  hostOrNet,
  markMatch,
  markPair,
  natRange,
  portDash,
  portRange,
  protocol,
  somePorts,
  source,
  tcpFlags,
  u32Tests,
  xmark,
} from './iptables-values.js';
import { quoteWord } from './iptables-words.js';

/** How one spelling of an option is read and what iptables-save makes of it. */
export interface OptionForm {
  /** Number of arguments. */
  args: 0 | 1 | 2;
  /** The argument may hold spaces and quotes, and `print` quotes it. */
  isText?: true;
  /** The words printed, option name first, quoted where needed; undefined where nothing is printed. */
  print(...args: string[]): string[] | undefined;
}

/** A match or target as far as it is known here. */
export interface Extension {
  /** The order in which its options are printed. */
  order: readonly string[];
  /** By spelling. */
  options: ReadonlyMap<string, OptionForm>;
  /** What is printed besides, or otherwise, when an option is absent. */
  complete?(printed: Map<string, string[]>, of: Family): void;
}

type Value = (text: string) => string | undefined;

const asIs: Value = (text) => text;

type Options = [spelling: string, form: OptionForm][];

function flag(name: string): Options {
  return [[name, { args: 0, print: () => [name] }]];
}

/** An option with one argument, and other spellings of its name. */
function one(name: string, value: Value = asIs, ...aliases: string[]): Options {
  const print = (text: string) => {
    const printed = value(text);
    return printed === undefined ? undefined : [name, printed];
  };
  return [name, ...aliases].map((spelling) => [spelling, { args: 1, print }]);
}

function two(name: string, value: (text: string) => string = (text) => text): Options {
  return [[name, { args: 2, print: (first = '', second = '') => [name, value(first), value(second)] }]];
}

/** An option whose argument is printed in quotes. */
function text(name: string, quoted: (text: string) => string): Options {
  return [[name, { args: 1, isText: true, print: (given = '') => [name, quoted(given)] }]];
}

function extension(...options: Options[]): Extension {
  const all = options.flat();
  return { order: all.map(([name]) => name), options: new Map(all) };
}

function ports(range: Value): Options[] {
  return [one('--sport', range, '--source-port'), one('--dport', range, '--destination-port')];
}

const SYN = ['--tcp-flags', 'FIN,SYN,RST,ACK', 'SYN'];
const tcp = extension(...ports(somePorts), two('--tcp-flags', tcpFlags), [['--syn', { args: 0, print: () => SYN }]]);
const marked = extension(one('--mark', markMatch));

/**
 * Matches by name, as far as the data plane needs them. Those that are missing are printed as they were written: a rule of
 * ours must use them in iptables-save's own spelling, or it would differ for ever.
 */
export const MATCHES: ReadonlyMap<string, Extension> = new Map([
  ['tcp', tcp],
  ['udp', extension(...ports(somePorts))],
  ['sctp', extension(...ports(portRange))],
  ['icmp', extension(one('--icmp-type'))],
  ['icmp6', extension(one('--icmpv6-type'))],
  [
    'multiport',
    extension(
      one('--sports', asIs, '--source-ports', '--sport', '--source-port'),
      one('--dports', asIs, '--destination-ports', '--dport', '--destination-port'),
      one('--ports'),
    ),
  ],
  ['mark', marked],
  ['connmark', marked],
  ['state', extension(one('--state', ctstate))],
  [
    'conntrack',
    extension(
      one('--ctstate', ctstate),
      one('--ctproto', protocolNumber),
      ...['--ctorigsrc', '--ctorigdst', '--ctreplsrc', '--ctrepldst'].map((name) => one(name, hostOrNet)),
      ...['--ctorigsrcport', '--ctorigdstport', '--ctreplsrcport', '--ctrepldstport'].map((name) =>
        one(name, portRange),
      ),
      one('--ctstatus', ctstatus),
      one('--ctexpire'),
      one('--ctdir', (text) => text.toUpperCase()),
    ),
  ],
  [
    'addrtype',
    extension(
      one('--src-type', addrtype),
      one('--dst-type', addrtype),
      flag('--limit-iface-in'),
      flag('--limit-iface-out'),
    ),
  ],
  ['socket', extension(flag('--transparent'), flag('--nowildcard'), flag('--restore-skmark'))],
  ['owner', extension(flag('--socket-exists'), one('--uid-owner'), one('--gid-owner'), flag('--suppl-groups'))],
  ['u32', extension(text('--u32', (tests) => `"${u32Tests(tests).replace(/[\\"]/g, '\\$&')}"`))],
  ['set', extension(two('--match-set'))],
  ['comment', extension(text('--comment', quoteWord))],
]);

/** Matches that iptables loads by itself when one of their options follows `-p`. */
export const IMPLICIT: ReadonlyMap<string, string> = new Map([
  ['tcp', 'tcp'],
  ['udp', 'udp'],
  ['sctp', 'sctp'],
  ['icmp', 'icmp'],
  ['ipv6-icmp', 'icmp6'],
]);

/** Both MARK and CONNMARK keep `(old & ~mask) ^ value` and have friendlier spellings of it. */
function markSetting(): Options {
  const form = (change: (value: number, mask: number | undefined) => string): OptionForm => ({
    args: 1,
    print: (text = '') => {
      const pair = markPair(text);
      return ['--set-xmark', pair ? change(pair.value, pair.mask) : text];
    },
  });
  return [
    ['--set-xmark', form((value, mask) => xmark(value, mask))],
    ['--set-mark', form((value, mask) => xmark(value, mask === undefined ? undefined : mask | value))],
    ['--or-mark', form((value) => xmark(value, value))],
    ['--and-mark', form((value) => xmark(0, ~value))],
    ['--xor-mark', form((value) => xmark(value, 0))],
  ];
}

const REJECT_DEFAULT = { 4: 'icmp-port-unreachable', 6: 'icmp6-port-unreachable' } as const;

/** The two masks of --save-mark and --restore-mark are always printed. */
function completeMasks(printed: Map<string, string[]>): void {
  if (!printed.has('--save-mark') && !printed.has('--restore-mark')) return;
  const mask = printed.get('--mask')?.[1];
  printed.delete('--mask');
  for (const name of ['--nfmask', '--ctmask']) {
    printed.set(name, printed.get(name) ?? [name, mask ?? '0xffffffff']);
  }
}

const maskValue: Value = (text) => {
  const pair = markPair(text);
  return pair ? hex(pair.value) : text;
};

/** Targets by name, likewise. */
export const TARGETS: ReadonlyMap<string, Extension> = new Map([
  ['DNAT', extension(one('--to-destination', natRange), flag('--random'), flag('--persistent'))],
  ['SNAT', extension(one('--to-source', natRange), flag('--random'), flag('--random-fully'), flag('--persistent'))],
  ['MASQUERADE', extension(one('--to-ports', portDash), flag('--random'), flag('--random-fully'))],
  ['REDIRECT', extension(one('--to-ports', portDash), flag('--random'))],
  ['MARK', extension(markSetting())],
  [
    'CONNMARK',
    {
      ...extension(
        markSetting(),
        flag('--save-mark'),
        flag('--restore-mark'),
        one('--nfmask', maskValue),
        one('--ctmask', maskValue),
        one('--mask', maskValue),
      ),
      complete: completeMasks,
    },
  ],
  ['TCPMSS', extension(one('--set-mss'), flag('--clamp-mss-to-pmtu'))],
  ['CT', extension(flag('--notrack'), one('--zone'))],
  [
    'REJECT',
    {
      ...extension(one('--reject-with')),
      complete(printed, of) {
        if (printed.size === 0) printed.set('--reject-with', ['--reject-with', REJECT_DEFAULT[of]]);
      },
    },
  ],
]);

/** General options in the order printed: one letter each, and what of their operand is printed. */
export const GENERAL: ReadonlyMap<string, Value> = new Map<string, Value>([
  ['-s', source],
  ['-d', source],
  ['-i', device],
  ['-o', device],
  ['-p', protocol],
]);

export const GENERAL_ALIASES: ReadonlyMap<string, string> = new Map([
  ['--source', '-s'],
  ['--src', '-s'],
  ['--destination', '-d'],
  ['--dst', '-d'],
  ['--in-interface', '-i'],
  ['--out-interface', '-o'],
  ['--protocol', '-p'],
  ['--match', '-m'],
  ['--jump', '-j'],
  ['--goto', '-g'],
]);

/** `+` alone is every interface, which is not printed. */
function device(name: string): string | undefined {
  return name === '+' ? undefined : name;
}

/** xt_conntrack prints the number where -p prints the name. */
function protocolNumber(text: string): string {
  return { tcp: '6', udp: '17', sctp: '132', icmp: '1', 'ipv6-icmp': '58', icmpv6: '58' }[text.toLowerCase()] ?? text;
}
