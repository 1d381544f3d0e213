import { WeftError } from '../../base/errors.js';
import type { Ack } from '../../codec/netlink.js';
import { NLM_F_CREATE, NLM_F_EXCL } from '../../codec/netlink.js';
import { AF_BRIDGE } from '../../codec/rtnl/family.js';
import {
  IFF_UP,
  type Link as LinkMessage,
  RTEXT_FILTER_SKIP_STATS,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
  RTM_SETLINK,
  readLink,
  writeLink,
  writeLinkDump,
} from '../../codec/rtnl/link.js';
import { NODE_NS, type Ns } from '../../objects/kind.js';
import {
  incompatible,
  type Link,
  linkKind,
  type StackedLink,
  type VethLink,
  type VxlanLink,
  WEFT_GROUP,
} from '../../objects/link.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort } from '../port.js';
import { foreign } from './fence.js';
import { stackedInfo, stackedMode } from './link-modes.js';
import { outcome, spaceFor } from './port.js';
import type { Space, Spaces } from './spaces.js';
import { VxlanClashes } from './vxlan-clash.js';

/** asm-generic/errno-base.h */
const EEXIST = 17;
const EBUSY = 16;
const ENODEV = 19;
const EINVAL = 22;
/** asm-generic/errno.h */
const EADDRINUSE = 98;

/** Links of a namespace: dumped, created directly where they belong (moving one costs 20 ms), changed in place. */
export class LinkPort implements KindPort<Link> {
  readonly #clashes: VxlanClashes;

  constructor(readonly spaces: Spaces) {
    this.#clashes = new VxlanClashes(spaces);
  }

  async observe(ns: Ns): Promise<Link[]> {
    const space = this.spaces.open(ns);
    if (!space) return [];
    const rows = await space.rtnl.dump(RTM_GETLINK, writeLinkDump, { extMask: RTEXT_FILTER_SKIP_STATS });
    const messages = rows.map((row) => readLink(row.body));
    const names = new Map(messages.map((m) => [m.index, m.name]));
    const below = messages.some(isBound) ? await this.spaces.open(NODE_NS)?.namesByIndex() : undefined;
    return messages.map((m) => observed(m, names, below));
  }

  /** Step by step for all at once: a hundred links are a handful of system calls. */
  async apply(ns: Ns, ops: readonly Op<Link>[]): Promise<(WeftError | undefined)[]> {
    const space = spaceFor(this.spaces, ns);
    const refused = new Map<Op, WeftError>();
    const answers = new Map<Op, Ack>();
    for (const op of ops) {
      const why = op.want?.master === undefined ? undefined : await foreign(space, op.want.master, op);
      if (why) refused.set(op, why);
    }
    const well = (op: Op) => !refused.has(op) && (answers.get(op)?.errno ?? 0) === 0;
    await remove(
      space,
      ops.filter((op) => well(op) && goes(op)),
      answers,
    );
    await this.#make(
      space,
      ops.filter((op) => well(op) && comes(op)),
      answers,
      refused,
    );
    await configure(
      space,
      ops.filter((op) => well(op) && op.want),
      answers,
    );
    const out: (WeftError | undefined)[] = [];
    for (const op of ops) {
      const answer = answers.get(op) ?? { errno: 0 };
      out.push(refused.get(op) ?? (await this.#clash(op, answer)) ?? outcome(op, answer));
    }
    return out;
  }

  /** Makes links, wherever they have to be made so that they are born where they belong. */
  async #make(
    space: Space,
    ops: readonly Op<Link>[],
    answers: Map<Op, Ack>,
    refused: Map<Op, WeftError>,
  ): Promise<void> {
    const births = new Map<Space, { op: Op<Link>; link: LinkMessage }[]>();
    for (const op of ops) {
      try {
        const birth = await this.#birth(space, op.want as Link);
        if ('errno' in birth) answers.set(op, birth);
        else births.set(birth.at, [...(births.get(birth.at) ?? []), { op, link: birth.link }]);
      } catch (error) {
        if (!(error instanceof WeftError)) throw error;
        refused.set(op, error);
      }
    }
    for (const [at, all] of births) {
      const batch = at.rtnl.batch();
      for (const { link } of all) batch.add(RTM_NEWLINK, NEW, writeLink, link);
      for (const [i, answer] of (await at.rtnl.send(batch)).entries()) {
        const { op, link } = all[i] as { op: Op<Link>; link: LinkMessage };
        const again = answer.errno !== 0 && (await this.#makeRoom(op.want as Link, answer));
        const final = again ? await at.rtnl.request(RTM_NEWLINK, NEW, writeLink, link) : answer;
        answers.set(op, stackable(op.want as Link, final));
      }
      at.forgetIndexes();
    }
    space.forgetIndexes();
  }

  /** Something of ours is in the way of a link that the kernel refused. @returns whether it has gone */
  async #makeRoom(want: Link, { errno }: Ack): Promise<boolean> {
    if (errno !== EEXIST) return false;
    if (want.type === 'veth') return this.#freeFarName(want);
    return want.type === 'vxlan' && this.#clashes.freeVni(want);
  }

  /** Who has what a tunnel was refused for. A port clash shows only when the device goes up. */
  async #clash({ want }: Op<Link>, { errno }: Ack): Promise<WeftError | undefined> {
    if (want?.type !== 'vxlan') return undefined;
    if (errno === EEXIST) return this.#clashes.vniTaken(want);
    return errno === EADDRINUSE ? this.#clashes.portTaken(want) : undefined;
  }

  /**
   * The name of a far end is taken by a pair of ours whose near end is none of the wish (the container went from one
   * network to another, and both its interfaces are eth0): that pair goes in this pass anyway, so it goes first.
   */
  async #freeFarName({ peer: { ns, name } }: VethLink): Promise<boolean> {
    const there = (await this.observe(ns)).find((link) => link.name === name);
    const where = this.spaces.where(ns);
    if (!there || !where) return false;
    if (!linkKind.owns(there, where) && !(where.nsOwned && there.type === 'veth')) return false;
    const space = spaceFor(this.spaces, ns);
    space.forgetIndexes();
    return (await space.rtnl.request(RTM_DELLINK, 0, writeLink, { name })).errno === 0;
  }

  /** Where a link is made, and the request: only what must be there from birth; `configure` does the rest. */
  async #birth(space: Space, want: Link): Promise<{ at: Space; link: LinkMessage } | Ack> {
    const base: LinkMessage = {
      name: want.name,
      group: WEFT_GROUP,
      ...(want.mac && { mac: want.mac }),
      ...(want.mtu && { mtu: want.mtu }),
    };
    if (want.type === 'vxlan') return this.#tunnel(space, want, base);
    if (want.type === 'veth') {
      const { ns, name, mac, mtu } = want.peer;
      const netnsFd = spaceFor(this.spaces, ns).attachFd;
      const peer = { name, group: WEFT_GROUP, netnsFd, ...(mac && { mac }), ...(mtu && { mtu }) };
      return { at: space, link: { ...base, info: { kind: 'veth', peer } } };
    }
    if ('parent' in want) return this.#stacked(space, want, base);
    if (want.type === 'ifb' || want.type === 'dummy')
      return { at: space, link: { ...base, info: { kind: want.type } } };
    // Snooping without a querier forgets members; the overlay decides by static rows anyway.
    return { at: space, link: { ...base, info: { kind: 'bridge', mcastSnooping: false, stpState: 0 } } };
  }

  async #tunnel(space: Space, want: VxlanLink, base: LinkMessage): Promise<{ at: Space; link: LinkMessage } | Ack> {
    // The UDP socket stays in the namespace that creates the device: the underlay's.
    const at = spaceFor(this.spaces, want.underlay);
    const { vni: id, dstPort: port, local, dev } = want;
    const link = dev === undefined ? undefined : (await at.indexes()).get(dev);
    if (dev !== undefined && link === undefined) return { errno: ENODEV, text: `there is no ${dev}` };
    const options = { learning: false, proxy: true, udpCsum: false, ...(link && { link }) };
    return { at, link: { ...base, netnsFd: space.attachFd, info: { kind: 'vxlan', id, port, local, ...options } } };
  }

  /** Made where its parent is. */
  async #stacked(space: Space, want: StackedLink, base: LinkMessage): Promise<{ at: Space; link: LinkMessage } | Ack> {
    const at = spaceFor(this.spaces, want.parent.ns);
    const link = (await at.indexes()).get(want.parent.name);
    if (link === undefined) return { errno: ENODEV, text: `the node has no interface ${want.parent.name}` };
    const where = at === space ? {} : { netnsFd: space.attachFd };
    return { at, link: { ...base, ...where, link, info: stackedInfo(want) } };
  }
}

const NEW = NLM_F_CREATE | NLM_F_EXCL;

const exists = ({ type }: Link): boolean => type === 'present' || type === 'veth-end';

/** Is it another link than the one that is there? */
const isAnother = ({ want, have }: Op<Link>): boolean => Boolean(want && have && incompatible(want, have));

const goes = (op: Op<Link>): boolean => op.verb === 'remove' || (op.verb === 'change' && isAnother(op));

const comes = (op: Op<Link>): boolean => Boolean(op.want && !exists(op.want)) && (op.verb === 'add' || isAnother(op));

async function remove(space: Space, ops: readonly Op<Link>[], answers: Map<Op, Ack>): Promise<void> {
  if (ops.length === 0) return;
  const batch = space.rtnl.batch();
  for (const { key: name } of ops) batch.add(RTM_DELLINK, 0, writeLink, { name });
  for (const [i, answer] of (await space.rtnl.send(batch)).entries()) answers.set(ops[i] as Op, answer);
  space.forgetIndexes();
}

/** The kernel says little about why nothing can stand on a link. */
function stackable(want: Link, answer: Ack): Ack {
  if (!('parent' in want) || (answer.errno !== EBUSY && answer.errno !== EINVAL)) return answer;
  const why = 'it is a port of a bridge or bond, or carries links of another kind or mode';
  return { ...answer, text: `${want.parent.name} takes no ${want.type} (${answer.text ?? why})` };
}

/** What a link is given once it is there. */
async function configure(space: Space, ops: readonly Op<Link>[], answers: Map<Op, Ack>): Promise<void> {
  if (ops.length === 0) return;
  const byIndex = ops.some(({ want }) => want?.master !== undefined || want?.port);
  const indexes = byIndex ? await space.indexes() : new Map<string, number>();
  const batch = space.rtnl.batch();
  /** Number of the operation that a message belongs to. */
  const senders: number[] = [];
  for (const [i, op] of ops.entries()) {
    const { name, alias, up, mac, mtu, master, port } = op.want as Link;
    const bridge = master === undefined ? undefined : indexes.get(master);
    if (master !== undefined && bridge === undefined) {
      answers.set(op, { errno: ENODEV, text: `there is no ${master}` });
      // It bears its name all the same, so that whoever looks knows what it is for.
      if (alias !== undefined) batch.add(RTM_SETLINK, 0, writeLink, { name, alias });
    } else {
      const set: LinkMessage = { name, flags: up ? IFF_UP : 0, change: IFF_UP };
      const rest = { ...(mac !== undefined && { mac }), ...(mtu !== undefined && { mtu }) };
      const mark = { ...(alias !== undefined && { alias }), ...(bridge !== undefined && { master: bridge }) };
      batch.add(RTM_SETLINK, 0, writeLink, { ...set, ...rest, ...mark });
      const index = indexes.get(name);
      if (port && index !== undefined)
        batch.add(RTM_SETLINK, 0, writeLink, { family: AF_BRIDGE, index, bridgePort: port });
    }
    while (senders.length < batch.length) senders.push(i);
  }
  for (const [n, answer] of (await space.rtnl.send(batch)).entries()) {
    const op = ops[senders[n] as number] as Op;
    if ((answers.get(op)?.errno ?? 0) === 0) answers.set(op, answer);
  }
  space.forgetIndexes();
}

/** What stands on, or sends by, an interface of the namespace it was made in. */
const isBound = ({ info }: LinkMessage): boolean =>
  (info?.kind === 'vxlan' && (info.link ?? 0) > 0) || info?.kind === 'macvlan' || info?.kind === 'ipvlan';

/** @param below names of the node's interfaces, where a link has one of them below it */
function observed(
  m: LinkMessage,
  names: ReadonlyMap<number | undefined, string | undefined>,
  below?: ReadonlyMap<number, string>,
): Link {
  const common = {
    name: m.name ?? '',
    up: ((m.flags ?? 0) & IFF_UP) !== 0,
    ...(m.index !== undefined && { index: m.index }),
    ...(m.mtu !== undefined && { mtu: m.mtu }),
    ...(m.mac !== undefined && { mac: m.mac }),
    ...(m.master ? { master: names.get(m.master) ?? `#${m.master}` } : {}),
    ...(m.alias !== undefined && { alias: m.alias }),
    ...(m.group ? { group: m.group } : {}),
    ...(m.slave?.kind === 'bridge' && {
      port: {
        hairpin: m.slave.hairpin ?? false,
        learning: m.slave.learning ?? false,
        isolated: m.slave.isolated ?? false,
        unicastFlood: m.slave.unicastFlood ?? true,
      },
    }),
  };
  const { info } = m;
  if (info === undefined)
    return common.name === 'lo' ? { ...common, type: 'present' } : { ...common, type: 'foreign', kindName: 'device' };
  if (info.kind === 'bridge' || info.kind === 'ifb' || info.kind === 'dummy') return { ...common, type: info.kind };
  if (info.kind === 'veth') return { ...common, type: 'veth', peer: { ns: '', name: '' } };
  if (info.kind === 'vxlan') {
    const { id: vni = 0, port: dstPort = 0, local = '0.0.0.0', link = 0 } = info;
    const dev = link > 0 ? { dev: below?.get(link) ?? `#${link}` } : {};
    return { ...common, type: 'vxlan', vni, dstPort, local, underlay: '', ...dev };
  }
  if (info.kind === 'vlan') {
    const parent = { ns: '', name: names.get(m.link) ?? `#${m.link}` };
    return { ...common, type: 'vlan', id: info.id ?? 0, parent };
  }
  const parent = { ns: NODE_NS, name: below?.get(m.link ?? 0) ?? `#${m.link}` };
  const mode = stackedMode(info);
  if (mode) return { ...common, ...mode, parent };
  return { ...common, type: 'foreign', kindName: info.kind === 'other' ? info.name : info.kind };
}
