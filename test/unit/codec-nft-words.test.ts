import test from 'ava';
import {
  accept,
  anyOf,
  bitsAre,
  CT_INVALID,
  ct,
  drop,
  ether,
  goto,
  inSet,
  ip,
  ip6,
  is,
  isNot,
  learn,
  map,
  meta,
  notrack,
  numgen,
  rule,
  type Statement,
  set,
  TCP_ACK,
  TCP_SYN,
  tcp,
  th,
  value,
  vmap,
} from '../../src/codec/nft/build.js';
import { ruleWords } from '../../src/codec/nft/words.js';

/** The words of a rule; what rule() puts in front of it to be sure of the header is not of interest here. */
const words = (...statements: Statement[]): string => ruleWords(statements.flatMap(({ exprs }) => exprs));

const CASES: [text: string, ...statements: Statement[]][] = [
  ['ether daddr != 02:57:c0:a8:47:01 accept', isNot(ether.daddr, '02:57:c0:a8:47:01'), accept],
  ['ip daddr 10.20.0.200 drop', is(ip.daddr, '10.20.0.200'), drop],
  ['ip6 saddr fd00::1 accept', is(ip6.saddr, 'fd00::1'), accept],
  ['meta protocol ip goto l4-4', is(meta.protocol, 0x0800), goto('l4-4')],
  ['meta l4proto tcp th dport 8080 accept', is(meta.l4proto, 6), is(th.dport, 8080), accept],
  ['meta iifname "vxlan0" accept', is(meta.iifname, 'vxlan0'), accept],
  ['tcp flags & 0x12 == 0x2 accept', bitsAre(tcp.flags, TCP_SYN | TCP_ACK, TCP_SYN), accept],
  ['ct state & 0x1 != 0x0 accept', anyOf(ct.state, CT_INVALID), accept],
  ['meta mark set 0x100', set(meta.mark, value('mark', 0x100))],
  ['ip daddr . th dport vmap @svc4', vmap([ip.daddr, th.dport], 'svc4')],
  ['ether daddr @local accept', inSet([ether.daddr], 'local'), accept],
  ['ether daddr set ip daddr . meta mark map @live4', set(ether.daddr, map([ip.daddr, meta.mark], 'live4'))],
  [
    'ct mark set ip daddr . numgen inc mod 3 map @slot4 goto learn4',
    set(ct.mark, map([ip.daddr, numgen('inc', 3)], 'slot4')),
    goto('learn4'),
  ],
  [
    'update @flows4 { ip saddr . th sport timeout 60s : meta mark }',
    learn('update', [ip.saddr, th.sport], 'flows4', { timeout: 60_000, data: meta.mark }),
  ],
  ['notrack', notrack],
];

for (const [text, ...statements] of CASES) {
  test(`in words: ${text}`, (t) => {
    t.is(words(...statements), text);
  });
}

test('the condition that makes a header field valid is said too', (t) => {
  const { exprs } = rule({ family: 'bridge', table: 'weft', chain: 'c' }, [is(ip.daddr, '10.0.0.1'), accept]);
  t.is(ruleWords(exprs), 'meta protocol ip ip daddr 10.0.0.1 accept');
});

test('what has no words is named, not hidden', (t) => {
  t.is(ruleWords([{ expr: 'raw', name: 'socket' }]), 'socket');
  t.is(ruleWords([{ expr: 'counter', bytes: 1, packets: 2 }]), 'counter');
  t.is(ruleWords([{ expr: 'cmp', sreg: 1, op: 'eq', data: '00ff' }]), '? 0xff');
  t.is(
    ruleWords([
      { expr: 'payload', dreg: 1, base: 'network', offset: 6, length: 2 },
      { expr: 'cmp', sreg: 1, op: 'neq', data: '0000' },
    ]),
    '@nh,48,16 != 0x0',
  );
});
