import { ipText } from '../../base/ip.js';
import type { Verdict } from './data.js';
import type { Expr } from './expr.js';
import { type Hex, hexBytes } from './hex.js';

/*
 * Rules in nft's words, for people to read. Not for nft to load: what has no word of its own here is named by its expression.
 */

/** What a register holds, in words, and how a constant it is compared with or set to is written. */
interface Value {
  text: string;
  format: (hex: Hex) => string;
  /** Some of its bits. */
  masked?: boolean;
}

const MAX_BYTES = 64;
const bytes = (hex: Hex): Uint8Array => hexBytes(hex, MAX_BYTES);

const plain = (hex: Hex): string => `0x${hex.replace(/^0+(?=.)/, '')}`;
const address = (hex: Hex): string => ipText(bytes(hex));
const mac = (hex: Hex): string => hex.match(/../g)?.join(':') ?? hex;
const decimal = (hex: Hex): string => String(Number.parseInt(hex, 16));
const name = (hex: Hex): string => `"${Buffer.from(bytes(hex)).toString('latin1').replace(/\0+$/, '')}"`;
/** Numbers in host order; every machine weft runs on is little endian. */
const host = (hex: Hex): string => plain(mac(hex).split(':').reverse().join(''));

const IPPROTO: Readonly<Record<string, string>> = {
  '01': 'icmp',
  '06': 'tcp',
  '11': 'udp',
  '3a': 'icmpv6',
  '84': 'sctp',
};
const protocol = (hex: Hex): string => IPPROTO[hex] ?? decimal(hex);
/** ETH_P_* of linux/if_ether.h. */
const ETHERTYPE: Readonly<Record<string, string>> = { '0800': 'ip', '86dd': 'ip6', '0806': 'arp' };
const ethertype = (hex: Hex): string => ETHERTYPE[hex] ?? plain(hex);

/** Header fields by base, offset and length in bytes. */
const FIELDS: Readonly<Record<string, Value>> = {
  'link 0 6': { text: 'ether daddr', format: mac },
  'link 6 6': { text: 'ether saddr', format: mac },
  'network 9 1': { text: 'ip protocol', format: protocol },
  'network 12 4': { text: 'ip saddr', format: address },
  'network 16 4': { text: 'ip daddr', format: address },
  'network 8 16': { text: 'ip6 saddr', format: address },
  'network 24 16': { text: 'ip6 daddr', format: address },
  'transport 0 2': { text: 'th sport', format: decimal },
  'transport 2 2': { text: 'th dport', format: decimal },
  'transport 13 1': { text: 'tcp flags', format: plain },
};

const META_FORMATS: Readonly<Record<string, Value['format']>> = {
  mark: host,
  protocol: ethertype,
  l4proto: protocol,
  iifname: name,
  oifname: name,
};

const RAW_BASES = { link: '@ll', network: '@nh', transport: '@th', inner: '@ih' } as const;

/** Registers while one rule is read: by offset in bytes, so that both numbers of a register mean the same. */
class Registers {
  readonly #values = new Map<number, Value>();

  static offset(register: number): number {
    return register < 8 ? (register - 1) * 16 : (register - 8) * 4;
  }

  load(register: number, value: Value): void {
    this.#values.set(Registers.offset(register), value);
  }

  /** The values side by side from one register to before another; they are used up. */
  take(register: number, before = Number.POSITIVE_INFINITY): Value {
    const from = Registers.offset(register);
    const to = before === Number.POSITIVE_INFINITY ? before : Registers.offset(before);
    const found = [...this.#values].filter(([at]) => at >= from && at < to).sort(([a], [b]) => a - b);
    for (const [at] of found) this.#values.delete(at);
    const [first] = found;
    return { format: plain, ...first?.[1], text: found.map(([, { text }]) => text).join(' . ') || '?' };
  }
}

/** One rule in nft's words: `ip daddr 10.0.0.1 goto in4`. */
export function ruleWords(exprs: readonly Expr[]): string {
  const registers = new Registers();
  return exprs.flatMap((expr) => words(expr, registers) ?? []).join(' ');
}

/** What an expression says; undefined where it only loads a register for the next. */
function words(expr: Expr, registers: Registers): string | undefined {
  const load = (register: number, value: Value): undefined => {
    registers.load(register, value);
    return undefined;
  };
  switch (expr.expr) {
    case 'payload':
      return load(expr.dreg, field(expr));
    case 'meta':
      return load(expr.dreg, { text: `meta ${expr.key}`, format: META_FORMATS[expr.key] ?? plain });
    case 'ct':
      return load(expr.dreg, { text: `ct ${expr.key}`, format: host });
    case 'fib':
      return load(expr.dreg, { text: `fib ${expr.result}`, format: host });
    case 'numgen':
      return load(expr.dreg, { text: `numgen ${expr.mode} mod ${expr.modulus}`, format: host });
    case 'bitwise': {
      const { text, format } = registers.take(expr.sreg);
      return load(expr.dreg, { text: `${text} & ${format(expr.mask ?? '')}`, format, masked: true });
    }
    case 'immediate':
      if (typeof expr.data !== 'string') return verdict(expr.data);
      return load(expr.dreg, constant(expr.data));
    case 'cmp': {
      const { text, format, masked } = registers.take(expr.sreg);
      const comparison = masked && expr.op === 'eq' ? '== ' : COMPARISONS[expr.op];
      return `${text} ${comparison}${format(expr.data)}`;
    }
    case 'lookup':
      return lookup(expr, registers);
    case 'dynset':
      return dynset(expr, registers);
    case 'payloadSet':
      return assign(field(expr), registers.take(expr.sreg));
    case 'metaSet':
      return assign({ text: `meta ${expr.key}`, format: META_FORMATS[expr.key] ?? plain }, registers.take(expr.sreg));
    case 'ctSet':
      return assign({ text: `ct ${expr.key}`, format: host }, registers.take(expr.sreg));
    case 'raw':
      return expr.name;
    default:
      return expr.expr;
  }
}

const COMPARISONS = { eq: '', neq: '!= ', lt: '< ', lte: '<= ', gt: '> ', gte: '>= ' } as const;

function field(at: { base: keyof typeof RAW_BASES; offset: number; length: number }): Value {
  const { base, offset, length } = at;
  return (
    FIELDS[`${base} ${offset} ${length}`] ?? { text: `${RAW_BASES[base]},${offset * 8},${length * 8}`, format: plain }
  );
}

function verdict(data: Verdict): string {
  if (data.verdict === 'other') return `verdict ${data.code}`;
  return 'chain' in data ? `${data.verdict} ${data.chain}` : data.verdict;
}

const CONSTANT = '=';
/** Written once it is known what it is set to. */
const constant = (hex: Hex): Value => ({ text: `${CONSTANT}${hex}`, format: plain });

function assign(target: Value, { text }: Value): string {
  const value = text.startsWith(CONSTANT) ? target.format(text.slice(CONSTANT.length)) : text;
  return `${target.text} set ${value}`;
}

function lookup(expr: Extract<Expr, { expr: 'lookup' }>, registers: Registers): string | undefined {
  const { text } = registers.take(expr.sreg);
  if (expr.dreg === undefined) return `${text} ${expr.inverted ? '!= ' : ''}@${expr.set}`;
  if (expr.dreg === 0) return `${text} vmap @${expr.set}`;
  registers.load(expr.dreg, { text: `${text} map @${expr.set}`, format: plain });
  return undefined;
}

function dynset(expr: Extract<Expr, { expr: 'dynset' }>, registers: Registers): string {
  const data = expr.sregData === undefined ? '' : ` : ${registers.take(expr.sregData).text}`;
  const key = registers.take(expr.sregKey).text;
  const timeout = Number(expr.timeout) > 0 ? ` timeout ${Number(expr.timeout) / 1000}s` : '';
  return `${expr.op} @${expr.set} { ${key}${timeout}${data} }`;
}
