import test from 'ava';
import fc from 'fast-check';
import { WeftError } from '../../src/base/errors.js';
import type { Family } from '../../src/base/ip.js';
import { parseSave, type RestoreChange, renderRestore } from '../../src/codec/iptables.js';
import { canonical } from '../../src/codec/iptables-canonical.js';
import { quoteWord, splitWords } from '../../src/codec/iptables-words.js';

/** What was given to iptables-restore 1.8.9 and what iptables-save printed; legacy and nft printed the same. */
const PRINTED: Record<Family, Record<string, string>> = {
  4: {
    '-j ACCEPT -p udp --dport 5 -s 10.1.1.1': '-s 10.1.1.1/32 -p udp -m udp --dport 5 -j ACCEPT',
    '! -i eth0 ! -s 1.1.1.1 ! -d 2.2.2.2 ! -p udp -j ACCEPT':
      '! -s 1.1.1.1/32 ! -d 2.2.2.2/32 ! -i eth0 ! -p udp -j ACCEPT',
    '-s 10.0.0.77/24 -j ACCEPT': '-s 10.0.0.0/24 -j ACCEPT',
    '-s 172.19.0.0/255.255.0.0 -j ACCEPT': '-s 172.19.0.0/16 -j ACCEPT',
    '-s 10.0.0.1/255.255.0.255 -j ACCEPT': '-s 10.0.0.1/255.255.0.255 -j ACCEPT',
    '-s 0.0.0.0/0 -i + -p all -j ACCEPT': '-j ACCEPT',
    '! -s 0.0.0.0/0 -j ACCEPT': '! -s 0.0.0.0/0 -j ACCEPT',
    '-m conntrack --ctorigdst 10.0.0.5/255.255.255.0 --ctexpire 5:10 -j ACCEPT':
      '-m conntrack --ctorigdst 10.0.0.5/24 --ctexpire 5:10 -j ACCEPT',
    '-p sctp --dport 0:65535 -j ACCEPT': '-p sctp -m sctp --dport 0:65535 -j ACCEPT',
    '-m mark --mark 0x0/0x0 -j ACCEPT': '-m mark --mark 0x0/0x0 -j ACCEPT',
    '! -f -j ACCEPT': '! -f -j ACCEPT',
    '-f -j ACCEPT': '-f -j ACCEPT',
    '-p 132 -j ACCEPT': '-p sctp -j ACCEPT',
    '-p TCP --dport 80:80 -j ACCEPT': '-p tcp -m tcp --dport 80 -j ACCEPT',
    '-p tcp --dport 1000: --sport 5 -j ACCEPT': '-p tcp -m tcp --sport 5 --dport 1000:65535 -j ACCEPT',
    '-p tcp --dport 0:65535 -j ACCEPT': '-p tcp -m tcp -j ACCEPT',
    '-p tcp ! --syn -j ACCEPT': '-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT',
    '-p tcp --tcp-flags ALL NONE -j DROP': '-p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j DROP',
    '-p tcp -m tcp -m conntrack --ctstate NEW --dport 80 -j ACCEPT':
      '-p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -j ACCEPT',
    '-p tcp -m conntrack --ctstate NEW --dport 80 -j ACCEPT':
      '-p tcp -m conntrack --ctstate NEW -m tcp --dport 80 -j ACCEPT',
    '-m comment --comment x -p tcp -m conntrack --ctstate NEW -m tcp --dport 80 -d 1.2.3.4 -i eth0 -s 5.6.7.8 -o lo -j ACCEPT':
      '-s 5.6.7.8/32 -d 1.2.3.4/32 -i eth0 -o lo -p tcp -m comment --comment x -m conntrack --ctstate NEW -m tcp --dport 80 -j ACCEPT',
    '-p udp -m multiport --dport 4789 -j ACCEPT': '-p udp -m multiport --dports 4789 -j ACCEPT',
    '-p tcp -m multiport ! --sports 80,443 -j ACCEPT': '-p tcp -m multiport ! --sports 80,443 -j ACCEPT',
    '-m mark --mark 0x05/0xffffffff -j ACCEPT': '-m mark --mark 0x5 -j ACCEPT',
    '-m connmark ! --mark 1/0xff -j ACCEPT': '-m connmark ! --mark 0x1/0xff -j ACCEPT',
    '-j MARK --set-mark 0x1f/0x0f': '-j MARK --set-xmark 0x1f/0x1f',
    '-j MARK --set-xmark 0x1f/0x0f': '-j MARK --set-xmark 0x1f/0xf',
    '-j MARK --set-mark 256': '-j MARK --set-xmark 0x100/0xffffffff',
    '-j MARK --or-mark 0x8000000': '-j MARK --set-xmark 0x8000000/0x8000000',
    '-j MARK --and-mark 0xf7ffffff': '-j MARK --set-xmark 0x0/0x8000000',
    '-j MARK --xor-mark 1': '-j MARK --set-xmark 0x1/0x0',
    '-j CONNMARK --set-mark 5': '-j CONNMARK --set-xmark 0x5/0xffffffff',
    '-j CONNMARK --restore-mark': '-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff',
    '-j CONNMARK --save-mark --mask 0x08000000': '-j CONNMARK --save-mark --nfmask 0x8000000 --ctmask 0x8000000',
    '-m conntrack --ctstate RELATED,ESTABLISHED,NEW,INVALID,UNTRACKED,DNAT,SNAT -j ACCEPT':
      '-m conntrack --ctstate INVALID,NEW,RELATED,ESTABLISHED,UNTRACKED,SNAT,DNAT -j ACCEPT',
    '-m conntrack --ctdir reply --ctstate ESTABLISHED -j ACCEPT':
      '-m conntrack --ctstate ESTABLISHED --ctdir REPLY -j ACCEPT',
    '-m conntrack --ctproto tcp --ctorigdst 10.0.0.200/32 --ctorigdstport 80:90 -j ACCEPT':
      '-m conntrack --ctproto 6 --ctorigdst 10.0.0.200 --ctorigdstport 80:90 -j ACCEPT',
    '-m conntrack --ctstatus ASSURED,SEEN_REPLY -j ACCEPT': '-m conntrack --ctstatus SEEN_REPLY,ASSURED -j ACCEPT',
    '-m state --state ESTABLISHED,RELATED -j ACCEPT': '-m state --state RELATED,ESTABLISHED -j ACCEPT',
    '-m addrtype --limit-iface-in --dst-type BROADCAST,local -j ACCEPT':
      '-m addrtype --dst-type LOCAL,BROADCAST --limit-iface-in -j ACCEPT',
    '-m owner ! --uid-owner 0 --socket-exists -j ACCEPT': '-m owner --socket-exists ! --uid-owner 0 -j ACCEPT',
    '-m u32 --u32 "0>>22&0x3C@12>>8=5 && 0&0xff=1:2,3" -j DROP':
      '-m u32 --u32 "0x0>>0x16&0x3c@0xc>>0x8=0x5&&0x0&0xff=0x1:0x2,0x3" -j DROP',
    '-p udp --dport 4789 -m set ! --match-set WEFT src,dst -j DROP':
      '-p udp -m udp --dport 4789 -m set ! --match-set WEFT src,dst -j DROP',
    '-p udp --dport 4789 -m policy --dir in --pol ipsec --proto esp -j DROP':
      '-p udp -m udp --dport 4789 -m policy --dir in --pol ipsec --proto esp -j DROP',
    '-m comment --comment weft:abc -j ACCEPT': '-m comment --comment "weft:abc" -j ACCEPT',
    '-m comment --comment "a_b-c9" -j ACCEPT': '-m comment --comment a_b-c9 -j ACCEPT',
    '-m comment --comment "it\'s \\"q\\" \\\\ back" -j ACCEPT':
      '-m comment --comment "it\\\'s \\"q\\" \\\\ back" -j ACCEPT',
    '-m comment --comment "" -m comment --comment "!" -m comment --comment "-j DROP" -j ACCEPT':
      '-m comment --comment "" -m comment --comment "!" -m comment --comment "-j DROP" -j ACCEPT',
    '-p tcp -j DNAT --to-destination 10.0.0.1:80-80 --persistent --random':
      '-p tcp -j DNAT --to-destination 10.0.0.1:80 --random --persistent',
    '-j DNAT --to-destination 10.0.0.1-10.0.0.1': '-j DNAT --to-destination 10.0.0.1',
    '-p udp -j SNAT --to-source :53': '-p udp -j SNAT --to-source :53',
    '-p udp -j MASQUERADE --random-fully --to-ports 5-5': '-p udp -j MASQUERADE --to-ports 5 --random-fully',
    '-p tcp -j REDIRECT --random --to-ports 8080-8090': '-p tcp -j REDIRECT --to-ports 8080-8090 --random',
    '-p udp -j REJECT': '-p udp -j REJECT --reject-with icmp-port-unreachable',
    '-p tcp -j REJECT --reject-with tcp-reset': '-p tcp -j REJECT --reject-with tcp-reset',
    '-j CT --notrack': '-j CT --notrack',
    '-j NOTRACK': '-j NOTRACK',
    '-g WEFT-USER': '-g WEFT-USER',
    '': '',
  },
  6: {
    '-s FD00:0::77/64 -d ::1 -j ACCEPT': '-s fd00::/64 -d ::1/128 -j ACCEPT',
    '-s ::/0 -p icmpv6 --icmpv6-type 135 -j ACCEPT': '-p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT',
    '-s fd00::1/ffff:ffff:: -j ACCEPT': '-s fd00::/32 -j ACCEPT',
    '-s fd00::1/ffff::ffff -j ACCEPT': '-s fd00::1/ffff::ffff -j ACCEPT',
    '-j REJECT': '-j REJECT --reject-with icmp6-port-unreachable',
    '-j DNAT --to-destination [FD01:0::2]:80-90': '-j DNAT --to-destination [fd01::2]:80-90',
    '-j DNAT --to-destination [fd00::1]': '-j DNAT --to-destination fd00::1',
    '-j DNAT --to-destination FD01:0::2': '-j DNAT --to-destination fd01::2',
    '-j DNAT --to-destination fd00::2-fd00::5': '-j DNAT --to-destination fd00::2-fd00::5',
    '-m conntrack --ctorigdst FD00::0:1 -j ACCEPT': '-m conntrack --ctorigdst fd00::1 -j ACCEPT',
  },
};

for (const of of [4, 6] as const) {
  test(`IPv${of} rules become what iptables-save prints`, (t) => {
    for (const [given, printed] of Object.entries(PRINTED[of])) {
      t.is(canonical(given, of), printed, given);
      t.is(canonical(printed, of), printed, `again: ${printed}`);
    }
  });
}

test('rules that differ stay different', (t) => {
  const differ = (a: string, b: string) => t.not(canonical(a, 4), canonical(b, 4));
  differ('-m mark --mark 1 -j ACCEPT', '-m mark ! --mark 1 -j ACCEPT');
  differ('-m mark --mark 0x1/0xff -j ACCEPT', '-m mark --mark 0x1 -j ACCEPT');
  differ('! -s 0.0.0.0/0 -j ACCEPT', '-j ACCEPT');
  differ('! -i + -j ACCEPT', '-j ACCEPT');
  differ('-p tcp ! --dport 0:65535 -j ACCEPT', '-p tcp --dport 0:65535 -j ACCEPT');
  differ('-s 10.0.0.0/24 -j ACCEPT', '-d 10.0.0.0/24 -j ACCEPT');
  differ('-j WEFT-A', '-g WEFT-A');
  differ('-p tcp -j ACCEPT', '-p tcp -m tcp -j ACCEPT');
  differ('-m mark --mark 1 -m comment --comment a', '-m comment --comment a -m mark --mark 1');
  differ('-j MARK --set-mark 1/1', '-j CONNMARK --set-mark 1/1');
  differ('-j DNAT --to-destination 10.0.0.1:80', '-j DNAT --to-destination 10.0.0.1:8080');
  differ('-m ipvs --ipvs --vport 80', '-m ipvs --ipvs --vport 81');
});

test('refuses what is no rule', (t) => {
  const bad = [
    '-s',
    '!',
    '-j ACCEPT !',
    'ACCEPT',
    '--dport 80',
    '! -j ACCEPT',
    '-j ACCEPT -j DROP',
    '-o "eth0 -j ACCEPT"',
    '-p tcp --tcp-flags SYN',
    '-g OTHER --comment -m comment',
    '-m comment --comment "open',
    '-m comment --comment "a\nb"',
  ];
  for (const rule of bad) t.throws(() => canonical(rule, 4), { code: 'WEFT_INVALID_ARGUMENT' } as never, rule);
});

test('any text survives quoting', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const isControl = [...text].some((c) => (c < ' ' && c !== '\t') || c === '\x7f');
      if (isControl) t.throws(() => quoteWord(text), { code: 'WEFT_INVALID_ARGUMENT' } as never);
      else
        t.deepEqual(
          splitWords(`-x ${quoteWord(text)} y`).map((word) => word.text),
          ['-x', text, 'y'],
        );
    }),
  );
});

const anyWord = fc.oneof(
  fc.constantFrom(
    ...'! -s -d -p -m -j -g -i -o -f tcp udp mark conntrack comment DNAT CONNMARK --dport --mark --ctstate --comment'.split(
      ' ',
    ),
    ...'--to-destination --restore-mark --mask --u32 10.0.0.1/8 fd00::1/7 1/2 80: NEW,NEW "a b" [fd00::1]:5-6 x'.split(
      ' ',
    ),
  ),
  fc.string(),
);

test('whatever is read is canonical after one pass, and only WeftErrors are thrown', (t) => {
  let read = 0;
  fc.assert(
    fc.property(fc.array(anyWord, { maxLength: 8 }), fc.constantFrom<Family>(4, 6), (words, of) => {
      let once: string;
      try {
        once = canonical(words.join(' '), of);
      } catch (error) {
        if (!(error instanceof WeftError)) throw error;
        return;
      }
      read++;
      t.is(canonical(once, of), once);
    }),
    { numRuns: 5000 },
  );
  t.true(read > 50, `${read} of 5000 were rules`);
});

const SAVED = `# Generated by iptables-save v1.8.9 on Fri Nov 20 11:06:20 2026
*nat
:PREROUTING ACCEPT [12:3456]
:POSTROUTING DROP [0:0]
:WEFT-INGRESS - [0:0]
[7:99] -A PREROUTING -j WEFT-INGRESS
-A WEFT-INGRESS -p tcp -m comment --comment "a -A b" -j RETURN
-A WEFT-INGRESS
COMMIT
# Completed on Fri Nov 20 11:06:20 2026
# Table \`broute' contains incompatible base-chains, use 'nft' tool to list them.
*exotic
:ODD ACCEPT
COMMIT
`;

test('reads what iptables-save prints', (t) => {
  const saved = parseSave(SAVED);
  t.deepEqual([...saved.keys()], ['nat', 'exotic']);
  t.deepEqual(
    [...(saved.get('nat')?.values() ?? [])],
    [
      { name: 'PREROUTING', policy: 'ACCEPT', rules: ['-j WEFT-INGRESS'] },
      { name: 'POSTROUTING', policy: 'DROP', rules: [] },
      { name: 'WEFT-INGRESS', policy: null, rules: ['-p tcp -m comment --comment "a -A b" -j RETURN', ''] },
    ],
  );
  t.is(parseSave('').size, 0);
});

test('refuses output that is torn, foreign or hides a table', (t) => {
  for (const text of [
    SAVED.slice(0, SAVED.indexOf('COMMIT')),
    'iptables-save: command not found\n',
    '*nat\n-A UNDECLARED -j ACCEPT\nCOMMIT\n',
    '*nat\n*filter\nCOMMIT\n',
    "# Table `nat' is incompatible, use 'nft' tool.\n",
  ]) {
    t.throws(() => parseSave(text), { code: 'WEFT_COMMAND' } as never, text);
  }
});

test('every cut of the output is read or refused', (t) => {
  let refused = 0;
  for (let n = 0; n < SAVED.length; n++) {
    try {
      parseSave(SAVED.slice(0, n));
    } catch (error) {
      t.true(error instanceof WeftError);
      refused++;
    }
  }
  const within = SAVED.indexOf('COMMIT') + 'COMMIT'.length - SAVED.indexOf('*nat') - 1;
  t.true(refused >= within, `${refused} refusals`);
});

test('renders one transaction a table, in the order that works', (t) => {
  const changes: RestoreChange[] = [
    { change: 'delete-chain', table: 'nat', name: 'WEFT-OLD' },
    { change: 'insert-rule', table: 'nat', chain: 'PREROUTING', position: 1, rule: '-j WEFT-INGRESS' },
    { change: 'replace-chain', table: 'nat', name: 'WEFT-INGRESS', rules: ['-p tcp -j RETURN', ''] },
    { change: 'replace-chain', table: 'filter', name: 'WEFT-USER', rules: [] },
    { change: 'delete-rule', table: 'nat', chain: 'PREROUTING', rule: '-j WEFT-OLD' },
  ];
  t.is(
    renderRestore(changes),
    `*nat
:WEFT-INGRESS - [0:0]
-D PREROUTING -j WEFT-OLD
-I PREROUTING 1 -j WEFT-INGRESS
-A WEFT-INGRESS -p tcp -j RETURN
-A WEFT-INGRESS
-F WEFT-OLD
-X WEFT-OLD
COMMIT
*filter
:WEFT-USER - [0:0]
COMMIT
`,
  );
  t.is(renderRestore([]), '');
});

test('refuses changes that would not arrive as they are', (t) => {
  const chain = (more: object): RestoreChange[] => [
    { change: 'replace-chain', table: 'nat', name: 'WEFT-X', rules: [], ...more },
  ];
  const jump = (more: object): RestoreChange[] => [
    { change: 'insert-rule', table: 'nat', chain: 'INPUT', position: 1, rule: '-j WEFT-X', ...more },
  ];
  const bad: RestoreChange[][] = [
    chain({ name: 'PREROUTING' }),
    chain({ name: 'twenty-nine-characters-is-more' }),
    chain({ name: '-x' }),
    chain({ name: 'a b' }),
    chain({ name: 'a\nCOMMIT' }),
    chain({ table: 'nat\n*filter' }),
    chain({ rules: ['-j ACCEPT\n-A INPUT -j DROP'] }),
    chain({ rules: ['-j ACCEPT\0'] }),
    chain({ rules: ['-m comment --comment "open -j ACCEPT'] }),
    chain({ rules: [`-m comment --comment ${'x'.repeat(1024)}`] }),
    chain({ rules: ['-A INPUT -j ACCEPT'] }),
    chain({ rules: ['-j ACCEPT -t filter'] }),
    chain({ rules: ['COMMIT'] }),
    chain({ rules: ['# -j ACCEPT'] }),
    [...chain({}), { change: 'delete-chain', table: 'nat', name: 'WEFT-X' }],
    [{ change: 'delete-chain', table: 'nat', name: 'OUTPUT' }],
    jump({ position: 0 }),
    jump({ position: 1.5 }),
    jump({ chain: 'INPUT 3' }),
    [{ change: 'delete-rule', table: 'nat', chain: 'INPUT\n-F', rule: '-j ACCEPT' }],
  ];
  for (const changes of bad) {
    t.throws(() => renderRestore(changes), { code: 'WEFT_INVALID_ARGUMENT' } as never, JSON.stringify(changes));
  }
  t.notThrows(() => renderRestore(chain({ rules: ['-m comment --comment "-A INPUT" -j ACCEPT'] })));
});
