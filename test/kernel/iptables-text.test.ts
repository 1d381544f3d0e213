import { spawnSync } from 'node:child_process';
import t from 'tap';
import type { Family } from '../../src/base/ip.js';
import { parseSave, type RestoreChange, renderRestore, type SavedTables } from '../../src/codec/iptables.js';
import { canonical } from '../../src/codec/iptables-canonical.js';
import { quoteWord } from '../../src/codec/iptables-words.js';
import { needs } from '../support/needs.js';

/**
 * Rules of the data plane by table, written as a person would, not as the program prints them. `V` is a service address, `O`
 * and `G` the sandbox's own on the overlay and on the gateway bridge, `T` the node's ingress address: both families get all.
 */
const RULES: Record<string, string[]> = {
  nat: [
    // resolver
    '-d R -p udp --dport 53 -j DNAT --to-destination {R}:40000',
    '-d R -p tcp --dport 53 -j DNAT --to-destination {R}:40001',
    '-s R -p udp --sport 40000 -j SNAT --to-source :53',
    '-s R -p tcp --sport 40001 -j SNAT --to-source :53',
    // task sandbox
    '-i eth0 -d V -j DNAT --to-destination O',
    '-i eth0 -p tcp --dport 8080 -j DNAT --to-destination {G}:80',
    '-i eth0 -p udp --dport 5353 -j DNAT --to-destination {G}:53-53',
    '-i eth0 -p sctp --dport 9 -j DNAT --to-destination {G}:9',
    // node
    '-p tcp --dport 8080 -m addrtype --dst-type LOCAL -j DNAT --to-destination {T}:8080',
    '-m addrtype --dst-type LOCAL -p udp --dport 8080 -j DNAT --to-destination {T}:8080',
    '-m addrtype --limit-iface-in --dst-type local,UNICAST -j RETURN',
    '-o weft-in -s NET -j SNAT --to-source G',
    '! -o weft-gw -s NET -j MASQUERADE',
    '-s NET -o eth0 -p tcp -j MASQUERADE --to-ports 1024-65535 --random-fully',
    '-p tcp --syn --dport 80 -j REDIRECT --to-ports 8080-8080',
    '-p tcp -m tcp --dport :1023 --sport 1024: -j RETURN',
    '-j WEFT-OTHER',
  ],
  raw: [
    '-d V -j CT --notrack',
    '-i eth0 -s V -j CT --notrack',
    '-p udp --dport 4789 -j CT --notrack',
    '-p udp --dport 4789 -m u32 --u32 "0>>22&0x3C@12>>8&0xFFFFFF=4097" -j DROP',
    '-p udp --dport 4789 -m u32 ! --u32 "48 >> 8 & 0xFFFFFF = 0x1001:0x1003, 5 && 0&1=0" -j DROP',
    '! -s NET -p udp -m multiport --dports 4789,7946 -j DROP',
  ],
  mangle: [
    '-i eth0 ! -s NET -j CONNMARK --set-mark 0x08000000/0x08000000',
    '-i eth0 ! -s NET -j MARK --set-mark 0x08000000/0x08000000',
    '-m connmark --mark 0x08000000/0x08000000 -j MARK --set-xmark 0x08000000/0x08000000',
    '-m connmark --mark 0x8000000/0x8000000 -j CONNMARK --restore-mark --mask 0x0f000000',
    '-j CONNMARK --save-mark',
    '-i br0 -d V -j MARK --set-mark 256',
    '-i br0 -d V -p tcp --syn -j RETURN',
    '-i br0 -d T -p tcp --dport 8080 -j MARK --set-mark 0x101/0xffffffff',
    '-m mark --mark 0 -j MARK --or-mark 0x100',
    '-m mark ! --mark 0x100/0xf00 -j MARK --and-mark 0xfffff0ff',
    '-o weft-in -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1410',
    '-i weft-in -p tcp --tcp-flags RST,SYN SYN -j TCPMSS --set-mss 1410',
    '-p tcp -m socket --nowildcard --transparent -j ACCEPT',
  ],
  filter: [
    '-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT',
    '-i weft-in -m conntrack --ctdir reply --ctstate ESTABLISHED -j ACCEPT',
    '-m conntrack ! --ctstate DNAT,NEW -j DROP',
    '-p tcp -m conntrack --ctorigdstport 8080 --ctorigdst V --ctproto tcp -j ACCEPT',
    '-i weft-gw -o weft-gw -j DROP',
    '-d R -p tcp --dport 8080 -j REJECT --reject-with tcp-reset',
    '-p udp -j REJECT',
    '-m owner --gid-owner 5-10 --uid-owner 0 -j ACCEPT',
    `-m comment --comment ${quoteWord('weft:9f3a "ingress" it\'s \\ $x `y` !')} -j ACCEPT`,
    '-m comment --comment "weft" -g WEFT-OTHER',
    '-p tcp -m conntrack --ctstate NEW -m comment --comment a --dport 80 -j RETURN',
    '',
  ],
};

const NAMES: Record<Family, Record<string, string>> = {
  4: {
    R: '127.0.0.11',
    V: '10.0.0.200',
    O: '10.0.0.12',
    G: '172.19.1.2',
    T: '10.0.0.101',
    NET: '10.0.0.77/255.255.255.0',
  },
  6: { R: '::1', V: 'fd00:0::200', O: 'fd00::12', G: 'fd01::2', T: 'FD00::101', NET: 'fd00::77/64' },
};

function rules(table: string, of: Family): string[] {
  const names = NAMES[of];
  const named = (_: string, name: string) => names[name] as string;
  const inBrackets = (_: string, name: string) => (of === 6 ? `[${names[name]}]` : (names[name] as string));
  return (RULES[table] as string[]).map((rule) =>
    rule
      .replace(/\{([A-Z]+)\}/g, inBrackets)
      .replace(/(?<=[ds] |destination |source |origdst )(R|V|O|G|T|NET)\b/g, named),
  );
}

/** Runs a shell script in a network namespace that ends with it. */
function inNamespace(script: string): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('unshare', ['--net', 'sh', '-c', script], { encoding: 'utf8' });
}

/** Feeds texts to `PROGRAM-restore`, one after the other, and returns what `PROGRAM-save` then prints. */
function loaded(program: string, ...texts: string[]): { refusals: string[]; saved: SavedTables } {
  const steps = texts.map(
    (text, i) => `${program}-restore --noflush -w <<'END' 2>&1 || echo "step ${i} refused" >&2\n${text}END\n`,
  );
  const { stdout, stderr } = inNamespace(`{ ${steps.join('')}} >&2; ${program}-save`);
  const refusals = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return { refusals, saved: parseSave(stdout) };
}

const chainOf = (saved: SavedTables, table: string, name: string) => saved.get(table)?.get(name)?.rules;
const OTHER: RestoreChange = { change: 'replace-chain', table: 'nat', name: 'WEFT-OTHER', rules: [] };
const FOREIGN = '*nat\n:FOREIGN - [0:0]\n-A FOREIGN -j RETURN\n-A PREROUTING -j FOREIGN\nCOMMIT\n';

for (const program of ['iptables-legacy', 'iptables-nft', 'ip6tables-legacy', 'ip6tables-nft']) {
  t.test(program, async (t) => {
    // Test guests have nf_tables for the bridge family only: there the nft programs are not to be had.
    if (!needs(t, program.endsWith('-nft') ? ['root', 'iptables-nft'] : ['root'])) return;
    const of: Family = program.startsWith('ip6') ? 6 : 4;

    for (const table of Object.keys(RULES)) {
      t.test(`rules of table ${table} come back canonical`, async (t) => {
        const wish = rules(table, of).map((rule) => canonical(rule, of));
        const changes: RestoreChange[] = [
          { change: 'replace-chain', table, name: 'WEFT-X', rules: rules(table, of) },
          { ...OTHER, table },
        ];
        const { refusals, saved } = loaded(program, renderRestore(changes));
        t.same(refusals, []);
        t.same(chainOf(saved, table, 'WEFT-X'), wish);
        t.same(
          wish.map((rule) => canonical(rule, of)),
          wish,
          'canonical text stays as it is',
        );
        t.equal(saved.get(table)?.get('WEFT-X')?.policy, null);
        t.equal(saved.get(table)?.get('WEFT-OTHER')?.rules.length, 0);
      });
    }

    t.test('canonical rules load as they are', async (t) => {
      const wish = rules('nat', of).map((rule) => canonical(rule, of));
      const text = renderRestore([{ change: 'replace-chain', table: 'nat', name: 'WEFT-X', rules: wish }, OTHER]);
      const { refusals, saved } = loaded(program, text, text);
      t.same(refusals, []);
      t.same(chainOf(saved, 'nat', 'WEFT-X'), wish, 'once, though loaded twice');
    });

    t.test('a transaction touches nothing else', async (t) => {
      const first = renderRestore([
        { change: 'replace-chain', table: 'nat', name: 'WEFT-X', rules: ['-p tcp -j RETURN', '-p udp -j RETURN'] },
        { change: 'insert-rule', table: 'nat', chain: 'PREROUTING', position: 1, rule: '-j WEFT-X' },
        { change: 'replace-chain', table: 'filter', name: 'WEFT-X', rules: ['-j RETURN'] },
      ]);
      const second = renderRestore([
        { change: 'replace-chain', table: 'nat', name: 'WEFT-X', rules: ['-j RETURN'] },
        { change: 'insert-rule', table: 'nat', chain: 'PREROUTING', position: 2, rule: '-j WEFT-X' },
        { change: 'delete-rule', table: 'nat', chain: 'PREROUTING', rule: '-j WEFT-X' },
      ]);
      const before = loaded(program, FOREIGN, first);
      t.same(before.refusals, []);
      t.same(chainOf(before.saved, 'nat', 'PREROUTING'), ['-j WEFT-X', '-j FOREIGN']);
      t.same(chainOf(before.saved, 'filter', 'WEFT-X'), ['-j RETURN']);
      const after = loaded(program, FOREIGN, first, second);
      t.same(after.refusals, []);
      t.same(chainOf(after.saved, 'nat', 'WEFT-X'), ['-j RETURN']);
      t.same(chainOf(after.saved, 'nat', 'PREROUTING'), ['-j FOREIGN', '-j WEFT-X'], 'deleted, then inserted');
      t.same(chainOf(after.saved, 'nat', 'FOREIGN'), ['-j RETURN']);
    });

    t.test('chains go with their jumps, also those that jump to one another', async (t) => {
      const make = renderRestore([
        { change: 'replace-chain', table: 'nat', name: 'WEFT-A', rules: ['-j WEFT-B'] },
        { change: 'replace-chain', table: 'nat', name: 'WEFT-B', rules: ['-j RETURN'] },
        { change: 'insert-rule', table: 'nat', chain: 'PREROUTING', position: 1, rule: '-j WEFT-A' },
      ]);
      const unmake = renderRestore([
        { change: 'delete-chain', table: 'nat', name: 'WEFT-B' },
        { change: 'delete-chain', table: 'nat', name: 'WEFT-A' },
        { change: 'delete-rule', table: 'nat', chain: 'PREROUTING', rule: '-j WEFT-A' },
      ]);
      const { refusals, saved } = loaded(program, FOREIGN, make, unmake);
      t.same(refusals, []);
      t.same(chainOf(saved, 'nat', 'PREROUTING'), ['-j FOREIGN']);
      t.same(
        [...(saved.get('nat')?.keys() ?? [])].filter((name) => name.startsWith('WEFT')),
        [],
      );
    });

    t.test('a refused table stays as it was, the table before it is changed', async (t) => {
      const make = renderRestore([{ change: 'replace-chain', table: 'nat', name: 'WEFT-X', rules: ['-j RETURN'] }]);
      const broken = renderRestore([
        { change: 'replace-chain', table: 'filter', name: 'WEFT-Y', rules: [] },
        { change: 'replace-chain', table: 'nat', name: 'WEFT-X', rules: ['-j ACCEPT'] },
        { change: 'delete-rule', table: 'nat', chain: 'PREROUTING', rule: '-j WEFT-X' },
      ]);
      const { refusals, saved } = loaded(program, make, broken);
      t.ok(refusals.includes('step 1 refused'), refusals.join('\n'));
      t.same(chainOf(saved, 'nat', 'WEFT-X'), ['-j RETURN']);
      t.same(chainOf(saved, 'filter', 'WEFT-Y'), []);
    });
  });
}
