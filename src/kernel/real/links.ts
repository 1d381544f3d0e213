import type { WeftError } from '../../base/errors.js';
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
import { incompatible, type Link, linkKind, type StackedLink, type VethLink, WEFT_GROUP } from '../../objects/link.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort } from '../port.js';
import { foreign } from './fence.js';
import { stackedInfo, stackedMode } from './link-modes.js';
import { oneByOne, outcome, spaceFor } from './port.js';
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

  async apply(ns: Ns, ops: readonly Op<Link>[]): Promise<(WeftError | undefined)[]> {
    const space = spaceFor(this.spaces, ns);
    return oneByOne(ops, async (op) => {
      const refused = op.want?.master === undefined ? undefined : await foreign(space, op.want.master, op);
      if (refused) return refused;
      const answer = await this.#one(space, op);
      space.forgetIndexes();
      return (await this.#clash(op, answer)) ?? outcome(op, answer);
    });
  }

  async #one(space: Space, op: Op<Link>): Promise<Ack> {
    if (op.verb === 'remove') return space.rtnl.request(RTM_DELLINK, 0, writeLink, { name: op.key });
    const want = op.want as Link;
    const exists = want.type === 'present' || want.type === 'veth-end';
    if (op.verb === 'change' && op.have && incompatible(want, op.have)) {
      const gone = await space.rtnl.request(RTM_DELLINK, 0, writeLink, { name: op.key });
      if (gone.errno !== 0) return gone;
    }
    if (!exists && (op.verb === 'add' || (op.have && incompatible(want, op.have)))) {
      let made = await this.#create(space, want);
      if (made.errno === EEXIST && want.type === 'veth' && (await this.#freeFarName(want))) {
        made = await this.#create(space, want);
      }
      if (made.errno === EEXIST && want.type === 'vxlan' && (await this.#clashes.freeVni(want))) {
        made = await this.#create(space, want);
      }
      if (made.errno !== 0) return made;
    }
    return this.#configure(space, want);
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

  /** Only what must be there from birth; `configure` does the rest. */
  async #create(space: Space, want: Link): Promise<Ack> {
    const base: LinkMessage = {
      name: want.name,
      group: WEFT_GROUP,
      ...(want.mac && { mac: want.mac }),
      ...(want.mtu && { mtu: want.mtu }),
    };
    const flags = NLM_F_CREATE | NLM_F_EXCL;
    if (want.type === 'vxlan') {
      // The UDP socket stays in the namespace that creates the device: the underlay's.
      const underlay = spaceFor(this.spaces, want.underlay);
      const { vni: id, dstPort: port, local, dev } = want;
      const link = dev === undefined ? undefined : (await underlay.indexes()).get(dev);
      if (dev !== undefined && link === undefined) return { errno: ENODEV, text: `there is no ${dev}` };
      const info = {
        kind: 'vxlan',
        id,
        port,
        local,
        learning: false,
        proxy: true,
        udpCsum: false,
        ...(link && { link }),
      } as const;
      return underlay.rtnl.request(RTM_NEWLINK, flags, writeLink, { ...base, netnsFd: space.attachFd, info });
    }
    if (want.type === 'veth') {
      const { ns, name, mac, mtu } = want.peer;
      const netnsFd = spaceFor(this.spaces, ns).attachFd;
      const peer = { name, group: WEFT_GROUP, netnsFd, ...(mac && { mac }), ...(mtu && { mtu }) };
      return space.rtnl.request(RTM_NEWLINK, flags, writeLink, { ...base, info: { kind: 'veth', peer } });
    }
    if ('parent' in want) return this.#createOn(space, want, base, flags);
    if (want.type === 'ifb' || want.type === 'dummy')
      return space.rtnl.request(RTM_NEWLINK, flags, writeLink, { ...base, info: { kind: want.type } });
    // Snooping without a querier forgets members; the overlay decides by static rows anyway.
    const info = { kind: 'bridge', mcastSnooping: false, stpState: 0 } as const;
    return space.rtnl.request(RTM_NEWLINK, flags, writeLink, { ...base, info });
  }

  /** Made where its parent is, and born where it belongs. */
  async #createOn(space: Space, want: StackedLink, base: LinkMessage, flags: number): Promise<Ack> {
    const above = spaceFor(this.spaces, want.parent.ns);
    const link = (await above.indexes()).get(want.parent.name);
    if (link === undefined) return { errno: ENODEV, text: `the node has no interface ${want.parent.name}` };
    const where = above === space ? {} : { netnsFd: space.attachFd };
    const answer = await above.rtnl.request(RTM_NEWLINK, flags, writeLink, {
      ...base,
      ...where,
      link,
      info: stackedInfo(want),
    });
    if (answer.errno !== EBUSY && answer.errno !== EINVAL) return answer;
    const why = 'it is a port of a bridge or bond, or carries links of another kind or mode';
    return { ...answer, text: `${want.parent.name} takes no ${want.type} (${answer.text ?? why})` };
  }

  async #configure(space: Space, want: Link): Promise<Ack> {
    const batch = space.rtnl.batch();
    const set: LinkMessage = { name: want.name, flags: want.up ? IFF_UP : 0, change: IFF_UP };
    if (want.mac !== undefined) set.mac = want.mac;
    if (want.mtu !== undefined) set.mtu = want.mtu;
    if (want.alias !== undefined) set.alias = want.alias;
    space.forgetIndexes();
    const indexes = await space.indexes();
    if (want.master !== undefined) {
      const master = indexes.get(want.master);
      if (master === undefined) {
        // It bears its name all the same, so that whoever looks knows what it is for.
        if (want.alias !== undefined) {
          const { name, alias } = want;
          await space.rtnl.request(RTM_SETLINK, 0, writeLink, { name, alias });
        }
        return { errno: ENODEV, text: `there is no ${want.master}` };
      }
      set.master = master;
    }
    batch.add(RTM_SETLINK, 0, writeLink, set);
    const index = indexes.get(want.name);
    if (want.port && index !== undefined) {
      batch.add(RTM_SETLINK, 0, writeLink, { family: AF_BRIDGE, index, bridgePort: want.port });
    }
    const answers = await space.rtnl.send(batch);
    return answers.find((answer) => answer.errno !== 0) ?? { errno: 0 };
  }
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
