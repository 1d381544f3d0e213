import type { Writer } from '../../base/bytes.js';
import type { WeftError } from '../../base/errors.js';
import { decodeFamily, getFamily } from '../../codec/genl.js';
import {
  decodeConfig,
  decodeDest,
  decodeService,
  deleteDest,
  deleteService,
  dumpDests,
  dumpServices,
  getConfig,
  IPVS_GENL_NAME,
  type IpvsTarget,
  newDest,
  newService,
  setConfig,
  setDest,
  setService,
} from '../../codec/ipvs/commands.js';
import {
  fullNetmask,
  IP_VS_SVC_F_PERSISTENT,
  IP_VS_SVC_F_SCHED1,
  type MarkKey,
  type VirtualServerState,
} from '../../codec/ipvs/service.js';
import type { IpvsStats } from '../../codec/ipvs/stats.js';
import { NETLINK_GENERIC } from '../../codec/netlink.js';
import type { IpvsTimeouts, RealServer, VirtualServer } from '../../objects/ipvs.js';
import type { Ns } from '../../objects/kind.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort } from '../port.js';
import type { NetlinkSocket } from './netlink-socket.js';
import { outcome, spaceFor } from './port.js';
import type { Spaces } from './spaces.js';

/** IPVS of a namespace over generic netlink. Asking for the family loads ip_vs where the kernel has it as a module. */
export class Ipvs {
  #family: number | undefined;

  constructor(readonly spaces: Spaces) {}

  /** The socket, or undefined where the namespace or IPVS is not there. */
  async open(ns: Ns): Promise<{ socket: NetlinkSocket; family: number } | undefined> {
    const space = this.spaces.open(ns);
    if (!space) return undefined;
    const socket = space.socket(NETLINK_GENERIC);
    this.#family ??= await ipvsFamily(socket);
    return this.#family === undefined ? undefined : { socket, family: this.#family };
  }

  async services(ns: Ns): Promise<VirtualServer[]> {
    const ipvs = await this.open(ns);
    if (!ipvs) return [];
    const rows = await ipvs.socket.exchange((w, seq) => dumpServices(w, { family: ipvs.family, seq }));
    return rows.map(decodeService).flatMap(virtualServer);
  }

  /** Sends one command per operation as a batch. */
  async send<T>(
    ns: Ns,
    ops: readonly Op<T>[],
    write: (w: Writer, to: IpvsTarget, op: Op<T>) => void,
  ): Promise<(WeftError | undefined)[]> {
    spaceFor(this.spaces, ns);
    const ipvs = await this.open(ns);
    if (!ipvs)
      return ops.map((op) => outcome(op as Op, { errno: 92 /* ENOPROTOOPT */, text: 'the kernel has no IPVS' }));
    const answers = await ipvs.socket.sendEach(ops, (w, seq, op) => write(w, { family: ipvs.family, seq }, op));
    return ops.map((op, i) => outcome(op as Op, answers[i] ?? { errno: 0 }));
  }
}

/** Number of the generic netlink family, or undefined where the kernel has no IPVS. */
export async function ipvsFamily(socket: NetlinkSocket): Promise<number | undefined> {
  const answers = await socket.exchange((w, seq) => getFamily(w, { name: IPVS_GENL_NAME, seq }), true);
  const [message] = answers;
  return message && decodeFamily(message).id;
}

/** Those by firewall mark; the others are nobody's of ours. */
function virtualServer({ key, scheduler, flags, timeout }: VirtualServerState): VirtualServer[] {
  if (!('fwmark' in key)) return [];
  const persistence = flags & IP_VS_SVC_F_PERSISTENT ? timeout : 0;
  return [{ ...key, scheduler, fallback: (flags & IP_VS_SVC_F_SCHED1) !== 0, persistence }];
}

const keyOf = (o: { family: 4 | 6; fwmark: number }): MarkKey => ({ family: o.family, fwmark: o.fwmark });

export class VirtualServerPort implements KindPort<VirtualServer> {
  readonly #ipvs: Ipvs;
  constructor(spaces: Spaces) {
    this.#ipvs = new Ipvs(spaces);
  }

  async observe(ns: Ns, want: readonly VirtualServer[]): Promise<VirtualServer[]> {
    if (want.length === 0 && !ns.startsWith('net-')) return [];
    return this.#ipvs.services(ns);
  }

  apply(ns: Ns, ops: readonly Op<VirtualServer>[]): Promise<(WeftError | undefined)[]> {
    return this.#ipvs.send(ns, ops, (w, to, op) => {
      if (op.verb === 'remove') {
        deleteService(w, to, keyOf(op.have as VirtualServer));
        return;
      }
      const want = op.want as VirtualServer;
      const whole = {
        key: keyOf(want),
        scheduler: want.scheduler,
        flags: (want.fallback ? IP_VS_SVC_F_SCHED1 : 0) | (want.persistence > 0 ? IP_VS_SVC_F_PERSISTENT : 0),
        timeout: want.persistence,
        netmask: fullNetmask(want.family),
      };
      if (op.verb === 'add') newService(w, to, whole);
      else setService(w, to, whole);
    });
  }
}

/** What was sent to a server: replies do not pass here. */
export function counted({ inPackets, inBytes, connections }: IpvsStats): NonNullable<RealServer['counter']> {
  return { packets: Number(inPackets), bytes: Number(inBytes), connections: Number(connections) };
}

/** The virtual servers that keys of real servers name: `v4 mark 256 10.0.0.2`. */
function serversOf(keys: ReadonlySet<string>): MarkKey[] {
  const out = new Map<string, MarkKey>();
  for (const key of keys) {
    const [, server = '', of, fwmark] = /^(v([46]) mark (\d+)) /.exec(key) ?? [];
    out.set(server, { family: of === '6' ? 6 : 4, fwmark: Number(fwmark) });
  }
  return [...out.values()];
}

export class RealServerPort implements KindPort<RealServer> {
  readonly #ipvs: Ipvs;
  constructor(spaces: Spaces) {
    this.#ipvs = new Ipvs(spaces);
  }

  /** With keys only the virtual servers they name are asked: one of 10,000 costs one request. */
  async observe(ns: Ns, want: readonly RealServer[], keys?: ReadonlySet<string>): Promise<RealServer[]> {
    if (want.length === 0 && !ns.startsWith('net-')) return [];
    const ipvs = await this.#ipvs.open(ns);
    if (!ipvs) return [];
    const out: RealServer[] = [];
    for (const { family, fwmark } of keys ? serversOf(keys) : await this.#ipvs.services(ns)) {
      const rows = await ipvs.socket.exchange((w, seq) =>
        dumpDests(w, { family: ipvs.family, seq }, { family, fwmark }),
      );
      for (const row of rows) {
        const { addr, weight, stats } = decodeDest(row, family);
        out.push({ family, fwmark, ip: addr, weight, ...(stats && { counter: counted(stats) }) });
      }
    }
    return out;
  }

  apply(ns: Ns, ops: readonly Op<RealServer>[]): Promise<(WeftError | undefined)[]> {
    return this.#ipvs.send(ns, ops, (w, to, op) => {
      const o = (op.verb === 'remove' ? op.have : op.want) as RealServer;
      const dest = { addr: o.ip, port: 0, method: 'direct', weight: o.weight, upper: 0, lower: 0 } as const;
      if (op.verb === 'remove') deleteDest(w, to, keyOf(o), dest);
      else if (op.verb === 'add') newDest(w, to, keyOf(o), dest);
      else setDest(w, to, keyOf(o), dest);
    });
  }
}

export class IpvsTimeoutsPort implements KindPort<IpvsTimeouts> {
  readonly #ipvs: Ipvs;
  constructor(spaces: Spaces) {
    this.#ipvs = new Ipvs(spaces);
  }

  async observe(ns: Ns, want: readonly IpvsTimeouts[]): Promise<IpvsTimeouts[]> {
    const ipvs = want.length > 0 ? await this.#ipvs.open(ns) : undefined;
    if (!ipvs) return [];
    const { socket, family } = ipvs;
    return (await socket.exchange((w, seq) => getConfig(w, { family, seq }))).map(decodeConfig);
  }

  apply(ns: Ns, ops: readonly Op<IpvsTimeouts>[]): Promise<(WeftError | undefined)[]> {
    return this.#ipvs.send(ns, ops, (w, to, op) => setConfig(w, to, op.want as IpvsTimeouts));
  }
}
