import { accept, icmp, ip, is, isNot, meta, notrack, raw, set, tcp, udp, value } from '../codec/nft/build.js';
import type { Stored } from '../model/registry.js';
import type { RuleChain, RuleJump } from '../objects/iptables.js';
import { TableWriter } from './bridge-table.js';
import type { Wants, World } from './world.js';

/** Where the resolver of a sandbox answers; its sockets are at random ports, so that port 53 is free for others. */
const RESOLVER = '127.0.0.11';
const DNS = 53;
const IPPROTO_UDP = 17;
/** Type of an ICMP error, destination unreachable (RFC 792). */
const UNREACHABLE = 3;

/** Names of the chains of iptables that lead there and back begin so. */
const IPTABLES_CHAIN = 'WEFT-TASK-DNS';
const NFT_CHAIN = 'resolver';
/** Before connection tracking, which shall not see it. */
const PRIORITY = -310;

interface Ports {
  udp: number;
  tcp: number;
}

/** Does an object of a sandbox's namespace, by its key, belong to these rules? */
export const leadsToResolver = (kind: string, key: string): boolean =>
  kind === 'nft' ? key.startsWith('table inet') || key.endsWith(NFT_CHAIN) : key.includes(IPTABLES_CHAIN);

/** The way from port 53 of the resolver's address to the ports at which it listens, and back. */
export function resolverRules(world: World, sandbox: Stored<'sandboxes'>, wants: Wants): void {
  const ports = world.resolverPorts(sandbox.id);
  if (!ports) return;
  if (world.nftInet) rewriting(sandbox.id, ports, wants);
  else translating(sandbox.id, ports, wants);
}

/**
 * Ports are rewritten as packets leave a socket, queries and answers alike: without state, so that a sandbox that serves
 * nobody needs no connection tracking, which would cost each of its packets 7 %.
 */
function rewriting(ns: string, ports: Ports, wants: Wants): void {
  const w = new TableWriter(ns, wants, 'port 53 of the resolver', 'inet');
  const query = is(ip.daddr, RESOLVER);
  const answer = is(ip.saddr, RESOLVER);
  const to = (port: number) => value('inet_service', port);
  w.table();
  w.chain(
    NFT_CHAIN,
    [
      [isNot(meta.oifname, 'lo'), accept],
      [query, is(udp.dport, DNS), set(udp.dport, to(ports.udp)), notrack, accept],
      [answer, is(udp.sport, ports.udp), set(udp.sport, to(DNS)), notrack, accept],
      [query, is(tcp.dport, DNS), set(tcp.dport, to(ports.tcp)), notrack, accept],
      [answer, is(tcp.sport, ports.tcp), set(tcp.sport, to(DNS)), notrack, accept],
      // While no resolver listens, who asks shall be told by the port that he asked.
      [
        answer,
        is(icmp.quotedProtocol, IPPROTO_UDP),
        is(raw('transport', 0, 1), UNREACHABLE),
        is(icmp.quotedDport, ports.udp),
        set(icmp.quotedDport, to(DNS)),
      ],
    ],
    { hook: 'output', priority: PRIORITY },
  );
}

/** The same by address translation, where nf_tables of the IP layer is missing. */
function translating(ns: string, ports: Ports, wants: Wants): void {
  const both = [
    ['tcp', ports.tcp],
    ['udp', ports.udp],
  ] as const;
  const out = both.map(
    ([proto, port]) =>
      `-d ${RESOLVER}/32 -p ${proto} -m ${proto} --dport ${DNS} -j DNAT --to-destination ${RESOLVER}:${port}`,
  );
  const back = both.map(
    ([proto, port]) => `-s ${RESOLVER}/32 -p ${proto} -m ${proto} --sport ${port} -j SNAT --to-source :${DNS}`,
  );
  const add = (from: string, chain: string, rules: readonly string[]) => {
    const at = { family: 4, table: 'nat' } as const;
    wants.add<RuleChain>(ns, 'iptables', `sandbox ${ns}`, { what: 'chain', ...at, chain, rules });
    wants.add<RuleJump>(ns, 'iptables', `sandbox ${ns}`, { what: 'jump', ...at, chain: from, rule: `-j ${chain}` });
  };
  add('OUTPUT', IPTABLES_CHAIN, out);
  add('POSTROUTING', `${IPTABLES_CHAIN}-BACK`, back);
}
