import { contains, parseCidr } from '../../base/cidr.js';
import type { WeftError } from '../../base/errors.js';
import { family, type Ip } from '../../base/ip.js';
import { deleteFlows, type Flow } from '../../codec/conntrack.js';
import { NETLINK_NETFILTER } from '../../codec/netlink.js';
import { ownAddress, RTM_GETADDR, readAddress, writeAddressDump } from '../../codec/rtnl/address.js';
import type { Ns } from '../../objects/kind.js';
import { astrayFrom, type UdpFlows } from '../../objects/udp-flows.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort } from '../port.js';
import { flowsOf } from './flows.js';
import { outcome, spaceFor } from './port.js';
import type { Spaces } from './spaces.js';

const IPPROTO_UDP = 17;
/** Flows that are forgotten at a time; the next look finds the rest. */
const FORGET_MAX = 100_000;
const ENOENT = 2;
const LOOPBACK = parseCidr('127.0.0.0/8');

/** UDP flows of a namespace, from connection tracking. */
export class UdpFlowsPort implements KindPort<UdpFlows> {
  constructor(readonly spaces: Spaces) {}

  async observe(ns: Ns, [want]: readonly UdpFlows[]): Promise<UdpFlows[]> {
    if (!want || !this.spaces.open(ns)) return [];
    const { flows, more } = await this.#astray(ns, want, 0);
    return [{ ...want, astray: flows.length + more }];
  }

  async apply(ns: Ns, ops: readonly Op<UdpFlows>[]): Promise<(WeftError | undefined)[]> {
    const socket = spaceFor(this.spaces, ns).socket(NETLINK_NETFILTER);
    return Promise.all(
      ops.map(async (op) => {
        const { flows } = await this.#astray(ns, op.want as UdpFlows, FORGET_MAX);
        const answers = await socket.sendEach(flows, (w, seq, flow) => w.raw(deleteFlows([flow], seq)));
        const refused = answers.find(({ errno }) => errno !== 0 && errno !== ENOENT);
        return refused && outcome(op as Op, refused);
      }),
    );
  }

  async #astray(ns: Ns, want: UdpFlows, limit: number): Promise<{ flows: Flow[]; more: number }> {
    const local = await this.#addresses(ns);
    const isLocal = (ip: Ip) => local.has(ip) || (family(ip) === 4 && contains(LOOPBACK, ip));
    const astray = astrayFrom(want, isLocal);
    const wanted = ({ original, reply }: Flow): boolean => {
      const { src, dst, dstPort = 0 } = original;
      return astray({ src, dst, dstPort, by: reply.src, byPort: reply.srcPort ?? 0 });
    };
    const four = await flowsOf(this.spaces, ns, { family: 'ip', protocol: IPPROTO_UDP }, wanted, limit);
    const six = await flowsOf(this.spaces, ns, { family: 'ip6', protocol: IPPROTO_UDP }, wanted, limit);
    return { flows: [...four.flows, ...six.flows], more: four.more + six.more };
  }

  /** The namespace's own, but for ::1, which nothing translates. */
  async #addresses(ns: Ns): Promise<ReadonlySet<Ip>> {
    const rows = await spaceFor(this.spaces, ns).rtnl.dump(RTM_GETADDR, writeAddressDump, {});
    const own = rows.map((row) => ownAddress(readAddress(row.body))).filter((ip) => ip !== undefined);
    return new Set(own.filter((ip) => ip !== '::1' && !ip.startsWith('fe80:')));
  }
}
