import { spawnSync } from 'node:child_process';

/**
 * One thing a privileged test may need from the kernel and the machine, probed by trying it: a version
 * says little, distributions build features as modules or not at all.
 */
type Probe = {
  /** Modules to ask for first; whether they exist is not the question. */
  readonly modules?: readonly string[];
  /** /bin/sh script, run in a network and mount namespace of its own; exit status 0 means that it is there. */
  readonly attempt: string;
};

/** A table of one chain with `rule`. Bridge conntrack, if the rule needs it, is requested when the rule loads. */
function nftRule(family: string, rule: string): string {
  return `nft 'table ${family} t { chain c { type filter hook prerouting priority 0; ${rule}; }; }'`;
}

function binary(name: string): Probe {
  return { attempt: `command -v ${name} >/dev/null || { echo 'no program ${name}' >&2; exit 1; }` };
}

function link(kind: string, options = ''): Probe {
  return { modules: [kind], attempt: `ip link add weft-probe type ${kind} ${options}` };
}

function iptablesRule(rule: string, ...modules: string[]): Probe {
  return { modules, attempt: `iptables ${rule}` };
}

function ip6tablesRule(rule: string, ...modules: string[]): Probe {
  return { modules, attempt: `ip6tables ${rule}` };
}

const KERNEL = {
  /** Every other probe makes a namespace: this one is asked first. */
  root: { attempt: 'true' },

  // include/uapi/linux/ip_vs.h: the generic netlink family is what weft speaks to.
  ip_vs: { modules: ['ip_vs', 'ip_vs_rr'], attempt: 'genl ctrl get name IPVS | grep -q IPVS' },
  'nft-bridge': { modules: ['nf_tables'], attempt: nftRule('bridge', 'counter') },
  'nft-numgen': { modules: ['nft_numgen'], attempt: nftRule('bridge', 'meta mark set numgen inc mod 2') },
  'nft-inet': {
    modules: ['nf_tables'],
    attempt: nftRule('inet', 'counter'),
  },
  nf_conntrack_bridge: {
    modules: ['nf_conntrack_bridge', 'nft_ct'],
    attempt: nftRule('bridge', 'ct state established counter'),
  },

  veth: link('veth'),
  bridge: link('bridge'),
  vxlan: link('vxlan', 'id 1 dstport 4789'),
  dummy: link('dummy'),
  vlan: {
    modules: ['8021q'],
    attempt: 'ip link add weft-a type bridge && ip link add link weft-a name weft-b type vlan id 5',
  },
  macvlan: {
    modules: ['macvlan'],
    attempt: 'ip link add weft-a type bridge && ip link add link weft-a name weft-b type macvlan mode bridge',
  },
  ipvlan: {
    modules: ['ipvlan'],
    attempt: 'ip link add weft-a type bridge && ip link add link weft-a name weft-b type ipvlan mode l2',
  },
  vrf: link('vrf', 'table 10'),
  tun: { modules: ['tun'], attempt: 'ip tuntap add mode tap name weft-probe' },
  netem: { modules: ['sch_netem'], attempt: 'tc qdisc add dev lo root netem delay 1ms' },
  tbf: { modules: ['sch_tbf'], attempt: 'tc qdisc add dev lo root tbf rate 1mbit burst 10k limit 10k' },
  'ifb-redirect': {
    modules: ['ifb', 'sch_ingress', 'cls_u32', 'act_mirred'],
    attempt: [
      'ip link add weft-a type ifb',
      'tc qdisc add dev lo ingress',
      'tc filter add dev lo ingress u32 match u32 0 0 action mirred egress redirect dev weft-a',
    ].join(' && '),
  },
  'esp-gcm': {
    modules: ['esp4', 'gcm', 'seqiv', 'xfrm_user'],
    attempt: `ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 mode transport aead 'rfc4106(gcm(aes))' 0x${'00'.repeat(20)} 128`,
  },

  'iptables-nft': { modules: ['nft_compat'], attempt: 'iptables-nft -A INPUT -j ACCEPT' },
  iptables: iptablesRule('-A INPUT -j ACCEPT', 'iptable_filter'),
  ip6tables: { modules: ['ip6table_filter'], attempt: 'ip6tables -A INPUT -j ACCEPT' },
  'iptables-nat': iptablesRule('-t nat -A POSTROUTING -j MASQUERADE', 'iptable_nat', 'xt_MASQUERADE'),
  'ip6tables-nat': ip6tablesRule('-t nat -A POSTROUTING -j MASQUERADE', 'ip6table_nat', 'xt_MASQUERADE'),
  'ip6tables-notrack': ip6tablesRule('-t raw -A OUTPUT -j CT --notrack', 'ip6table_raw', 'xt_CT'),
  'iptables-notrack': iptablesRule('-t raw -A OUTPUT -j CT --notrack', 'iptable_raw', 'xt_CT'),
  'iptables-connmark': iptablesRule('-t mangle -A INPUT -j CONNMARK --set-xmark 1/1', 'iptable_mangle', 'xt_connmark'),
  'iptables-u32': iptablesRule('-t raw -A PREROUTING -p udp -m u32 --u32 0x0=0x0 -j DROP', 'iptable_raw', 'xt_u32'),
  xt_ipvs: iptablesRule('-A INPUT -m ipvs --ipvs -j ACCEPT', 'xt_ipvs'),
} as const satisfies Record<string, Probe>;

const PROGRAMS = {
  ipset: { modules: ['ip_set', 'ip_set_hash_ip'], attempt: 'ipset create weft-probe hash:ip' },
  ip: binary('ip'),
  nft: binary('nft'),
  ipvsadm: binary('ipvsadm'),
  conntrack: binary('conntrack'),
  tcpdump: binary('tcpdump'),
  curl: binary('curl'),
  wrk: binary('wrk'),
  dig: binary('dig'),
  kdig: binary('kdig'),
  drill: binary('drill'),
  busybox: binary('busybox'),
  'musl-gcc': binary('musl-gcc'),
  dnspython: { attempt: "/usr/bin/python3 -c 'import dns.resolver'" },
  socat: binary('socat'),
  sctp: { modules: ['sctp'], attempt: 'grep -q ^SCTPv6 /proc/net/protocols' },
} as const satisfies Record<string, Probe>;

const NEEDS = { ...KERNEL, ...PROGRAMS };

/** A row of the table of needs: something of the kernel, or a program. */
export type Need = keyof typeof NEEDS;

/** What of the table the kernel has to provide. */
export const KERNEL_NEEDS = Object.keys(KERNEL) as readonly (keyof typeof KERNEL)[];

/**
 * What Debian's User-Mode Linux kernel is built without: NF_TABLES_INET, NF_TABLES_IPV4. The host has them, so the
 * kernel lane runs what needs them, and a guest skips it.
 */
export const NOT_IN_GUESTS: readonly Need[] = ['nft-inet', 'iptables-nft'];

/** The part of a tap test that needs() uses: `t` of `import t from 'tap'` or of a subtest. */
type Subject = {
  plan(n: number, comment: string): unknown;
  fail(message: string): unknown;
};

/** Whether this process runs in a test guest (scripts/guest), where every need must be met. */
export function inGuest(): boolean {
  return process.env.WEFT_GUEST !== undefined;
}

/**
 * Whether a scene that belongs to this share is run here, or every scene is (`lane.mjs --wide`). CI runs in each kernel, and
 * with each balancer and family, what no other file of CI has answered.
 */
export function asked(share: boolean): boolean {
  return share || process.env.WEFT_WIDE !== undefined;
}

/**
 * Whether the machine has everything in `names`. If not, the test is skipped with the reason on the host, whose kernel
 * is what it is, and fails in a guest, which is there to have it (NOT_IN_GUESTS excepted); the caller then only has to
 * return. Call it before the first assertion:
 *
 *     t.test('one test', async (t) => { if (!needs(t, ['ip_vs'])) return; … });
 *     if (needs(t, ['root', 'vxlan'])) { … every test of the file … }
 */
export function needs(t: Subject, names: readonly Need[]): boolean {
  const lacking = names.filter((name) => missing([name]) !== '');
  if (lacking.length === 0) return true;
  const skip = !inGuest() || lacking.every((name) => NOT_IN_GUESTS.includes(name));
  if (skip) t.plan(0, `needs ${missing(lacking)}`);
  else t.fail(`this guest lacks ${missing(lacking)}`);
  return false;
}

/** What of `names` is missing and why, or ''. Nothing is skipped or failed. A probe runs once a process. */
export function missing(names: readonly Need[]): string {
  // Every other probe makes a namespace: without root it would say nothing.
  if (names.length > 0 && process.geteuid?.() !== 0) return 'root';
  return names
    .map((name) => [name, probe(name)] as const)
    .filter(([, reason]) => reason !== '')
    .map(([name, reason]) => `${name} (${reason})`)
    .join(', ');
}

const probed = new Map<Need, string>();

function probe(name: Need): string {
  const reason = probed.get(name) ?? attempt(NEEDS[name]);
  probed.set(name, reason);
  return reason;
}

function attempt({ modules = [], attempt: script }: Probe): string {
  if (modules.length > 0) spawnSync('modprobe', ['-aq', ...modules], { stdio: 'ignore' });
  const tried = spawnSync('unshare', ['--net', '--mount', 'sh', '-ec', script], { encoding: 'utf8' });
  if (tried.error !== undefined) return tried.error.message;
  if (tried.status === 0) return '';
  return tried.stderr.trim().split('\n')[0] || `exit status ${tried.status}`;
}
