import { contains, parseCidr } from '../base/cidr.js';
import { type Cidr, type Family, family, type Ip } from '../base/ip.js';
import { type Kind, STAGE } from './kind.js';

/** Where the rules lead UDP datagrams for ports of the node's own addresses, or in a task those of its services. */
export interface UdpWay {
  family: Family;
  /** Only those for this address. */
  ip?: Ip;
  /** First and last port. */
  from: number;
  to: number;
  target: Ip;
  /** Port of the target that `from` leads to; the others follow. */
  first: number;
}

/** An address all of whose ports lead to those of another, where no way says otherwise: a VIP in a task. */
export interface UdpAlias {
  ip: Ip;
  target: Ip;
}

/**
 * UDP flows at the node's own addresses, one object for the node; or one for a sandbox that serves, of those that came to
 * it with a destination that is not its own. Rules are asked once a flow, and a flow of datagrams has no end: one that
 * began before its port was published, or when it led elsewhere, goes its way for ever.
 */
export interface UdpFlows {
  ways: readonly UdpWay[];
  /** Prefixes to which nothing but ways and aliases leads. */
  own: readonly Cidr[];
  /** Of a sandbox, for flows to addresses elsewhere; missing for those to the namespace's own. */
  aliases?: readonly UdpAlias[];
  /** In the kernel: how many go another way than their next packet would if it were the first. */
  astray?: number;
}

/** A flow as its first packet came, and who answers. */
export interface UdpFlow {
  src: Ip;
  dst: Ip;
  dstPort: number;
  by: Ip;
  byPort: number;
}

/** A test for flows that go astray; ways are looked up by port. @param isLocal is it an address of the namespace's? */
export function astrayFrom({ ways, own, aliases }: UdpFlows, isLocal: (ip: Ip) => boolean): (flow: UdpFlow) => boolean {
  const byPort = new Map<number, UdpWay[]>();
  for (const way of ways) {
    for (let port = way.from; port <= way.to; port++) byPort.set(port, [...(byPort.get(port) ?? []), way]);
  }
  const prefixes = own.map(parseCidr);
  const byAddress = new Map(aliases?.map(({ ip, target }) => [ip, target]));
  // A task is its own caller by an alias; else what it sends is none of its services'.
  const concerns = (src: Ip, dst: Ip) =>
    aliases ? byAddress.has(dst) || !(isLocal(src) || isLocal(dst)) : isLocal(dst);
  return ({ src, dst, dstPort, by, byPort: answering }) => {
    if (!concerns(src, dst)) return false;
    const fits = (way: UdpWay) => way.family === family(dst) && (way.ip === undefined || way.ip === dst);
    const way = byPort.get(dstPort)?.find(fits);
    if (way) return by !== way.target || answering !== way.first + dstPort - way.from;
    const target = byAddress.get(dst);
    if (target !== undefined) return by !== target || answering !== dstPort;
    return by !== dst && prefixes.some((prefix) => prefix.family === family(by) && contains(prefix, by));
  };
}

export const udpFlowsKind: Kind<UdpFlows> = {
  name: 'udp-flows',
  stages: [STAGE.conntrack],
  stage: () => STAGE.conntrack,
  rank: () => 0,
  key: () => 'published',
  same: (_want, { astray = 0 }) => (astray === 0 ? '' : `${astray} lead where their port does not`),
  // Flows are callers'; those that go astray are forgotten, and their next packet is a first one.
  owns: () => false,
  adopts: () => true,
  describe: () => 'UDP flows at published ports',
};
