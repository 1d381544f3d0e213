import { bits, type Family, type Ip } from '../../base/ip.js';
import {
  familiesOfPort,
  nodePorts,
  oneAddress,
  type ServedPort,
  type Span,
  servedPorts,
  spanOf,
} from '../../model/published.js';
import type { AnyPort } from '../../model/service.js';
import { TRANSLATED_BIT } from '../gateway-fence.js';
import { type PortTarget, portTarget, portTargets } from '../ports.js';
import type { Feature } from './node.js';
import type { PortRules } from './port-tree.js';

export const PORTS_CHAIN = 'WEFT-PORTS';
const TRANSLATED = `0x${TRANSLATED_BIT.toString(16)}/0x${TRANSLATED_BIT.toString(16)}`;

/** Published ports of mode host: straight to the sandbox, with the caller's address. */
export const portRules: Feature = (world, of, book) => {
  // Without IPv6 on the node there are no rules of it either.
  if (!world.gateway[of]) return;
  refuse(world, of, book);
  const served = servedPorts(world.wish, world.chosenPort).filter(({ p }) => familiesOfPort(p).includes(of));
  const ports = served.map((port) => ({
    ...port.span,
    rules: translations(port, of, portTarget(world, port.sandbox, of)),
  }));
  if (ports.every(({ rules }) => rules.length === 0)) return;
  book.incoming(of, PORTS_CHAIN, of === 6 ? ['-d ::1/128 -j RETURN'] : [], ports);
  for (const { dev, near } of portTargets(world, of)) {
    // A neighbour would answer its neighbour directly, from an address that the caller never dialled.
    const strangers = of === 4 ? ['127.0.0.0/8', ...near] : near;
    book.outgoing(
      of,
      strangers.map((source) => `-s ${source} -o ${dev} -m conntrack --ctstate DNAT -j MASQUERADE`),
    );
    book.forward(of, [
      `-o ${dev} -m conntrack --ctstate DNAT -j ACCEPT`,
      `-i ${dev} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    ]);
    // Neighbours: where bridge-nf-call-iptables is on the frame is translated on the bridge, and never leaves it.
    book.add(of, 'mangle', 'WEFT-MARK', [
      `-i ${dev} -o ${dev} -m conntrack --ctstate DNAT -j MARK --set-xmark ${TRANSLATED}`,
    ]);
    book.jump(of, 'mangle', 'FORWARD', '-j WEFT-MARK');
    // With route_localnet a container could else speak to what listens on the node's loopback only.
    if (of === 6) continue;
    book.add(of, 'mangle', 'WEFT-GUARD', [`-s 127.0.0.0/8 -i ${dev} -j DROP`, `-d 127.0.0.0/8 -i ${dev} -j DROP`]);
    book.jump(of, 'mangle', 'PREROUTING', '-j WEFT-GUARD');
  }
};

/** The rules that translate one port in one family. */
export function translations({ p, span }: ServedPort, of: Family, target: PortTarget | undefined): string[] {
  return target ? translate(p, span, of, target.ip, p.target) : [];
}

/** The rules that lead a port, or a range one by one, to an address and its ports from `first` on. */
export function translate(p: AnyPort, span: Span, of: Family, ip: Ip, first: number): string[] {
  const host = of === 6 ? `[${ip}]` : ip;
  const count = span.to - span.from;
  // `/FIRST` counts from there: a range maps 1:1 in one rule.
  const shift = count === 0 ? `${first}` : `${first}-${first + count}/${span.from}`;
  const to = count > 0 && first === span.from ? ip : `${host}:${shift}`;
  const sources =
    p.allow.length === 0 ? [''] : p.allow.filter((cidr) => cidr.includes(':') === (of === 6)).map(asSource);
  return sources.map((source) => `${source}${matchOf(p, span, of)} -j DNAT --to-destination ${to}`);
}

/** A prefix of everything is not printed. */
const asSource = (cidr: string): string => (cidr.endsWith('/0') ? '' : `-s ${cidr} `);

/** How rules of a published port begin, but for the source. */
function matchOf(p: AnyPort, { proto, from, to }: Span, of: Family): string {
  const ip = oneAddress(p);
  const on = ip === undefined ? '' : `-d ${ip}/${bits(of)} `;
  return `${on}-p ${proto} -m ${proto} --dport ${from === to ? from : `${from}:${to}`}`;
}

/**
 * What is not translated reaches the sockets that reserve the ports. Those of TCP and SCTP refuse by themselves, those of
 * UDP are deaf, so that a rule has to speak for them; callers that are not allowed hear nothing.
 */
const refuse: Feature = (world, of, book) => {
  const answer = of === 4 ? 'icmp-port-unreachable' : 'icmp6-port-unreachable';
  const told = (p: AnyPort, span: Span): string[] => {
    const match = matchOf(p, span, of);
    const refused = p.proto === 'udp' ? [`${match} -j REJECT --reject-with ${answer}`] : [];
    if (p.allow.length === 0) return refused;
    if (of === 4 || oneAddress(p) !== undefined) return [`${match} -j DROP`];
    // At ::1 nothing is translated, whoever is allowed: callers there shall not wait in vain.
    return [`! -d ::1/128 ${match} -j DROP`, ...refused];
  };
  const ports = new Map<string, PortRules>();
  for (const port of nodePorts(world.wish)) {
    const span = spanOf(port, world.chosenPort);
    if (!span || !familiesOfPort(port.p).includes(of)) continue;
    const rules = told(port.p, span);
    if (rules.length > 0) ports.set(rules.join(), { ...span, rules });
  }
  if (ports.size === 0) return;
  book.addPorts(of, 'filter', 'WEFT-INPUT', [...ports.values()]);
  book.jump(of, 'filter', 'INPUT', '-j WEFT-INPUT');
};
