import { fromNumber, toNumber } from '../../base/cidr.js';
import { WeftError } from '../../base/errors.js';
import type { Address } from '../../objects/address.js';
import { type Kind, NODE_NS, type Ns, type Where } from '../../objects/kind.js';
import { incompatible, type Link, linkKind, type VethLink } from '../../objects/link.js';
import type { Netns } from '../../objects/netns.js';
import { WEFT_QDISC } from '../../objects/qdisc.js';
import { KINDS } from '../../objects/registry.js';
import type { Op } from '../../reconcile/plan.js';
import type { Kernel, KindPort, Look } from '../port.js';

/** Thrown by `crashAfter`: the agent died in the middle of an apply. */
export class Crash extends Error {}

type Shelf = Map<string, Map<string, unknown>>;

/**
 * A kernel in memory with the consequences that matter to a reconciler: a namespace dies with its contents, a link
 * with what stands on it, a veth with its other end. It refuses what the kernel refuses (objects on absent devices).
 * No root needed; held to the real kernel by the contract suite.
 */
export class FakeKernel implements Kernel {
  readonly spaces = new Map<Ns, Shelf>([[NODE_NS, new Map()]]);
  /** Second names of namespaces. */
  readonly aliases = new Map<string, Ns>();
  /** Operations accepted since the start. */
  writes = 0;
  /** Answers an error to refuse an operation. */
  refuse: ((op: Op) => WeftError | undefined) | undefined;
  /** The agent dies after this many more operations. */
  crashAfter = Number.POSITIVE_INFINITY;

  port(kind: string): KindPort {
    return {
      observe: async (ns, want) => this.#observe(ns, kind, want),
      apply: async (ns, ops) => ops.map((op) => this.#one(ns, op)),
      ...(kind !== 'sysctl' && { look }),
    };
  }

  where(ns: Ns): Where | undefined {
    return this.spaces.has(ns) ? { ns, nsOwned: ns !== NODE_NS } : undefined;
  }

  async namespaces(): Promise<Ns[]> {
    return [...this.spaces.keys()].filter((ns) => ns !== NODE_NS);
  }

  begin(): void {}

  passed(): void {}

  /** Somebody else's doing: puts an object there, as the kernel would show it. */
  put(ns: Ns, kind: string, object: unknown): void {
    if (kind === 'netns') this.spaces.set(keyOf(kind, object), new Map());
    else this.#shelf(ns, kind)?.set(keyOf(kind, object), object);
  }

  /** Somebody else's doing: takes an object away, with what depends on it. */
  take(ns: Ns, kind: string, key: string): void {
    const object = kind === 'netns' ? { name: key } : this.#shelf(ns, kind)?.get(key);
    if (object !== undefined) this.#remove(ns, kind, key, object);
  }

  /** Everything, for comparisons. */
  dump(): string[] {
    const out: string[] = [];
    for (const [ns, shelf] of this.spaces) {
      for (const [kind, objects] of shelf) {
        for (const [key, object] of objects) out.push(`${ns} ${kind} ${key} ${JSON.stringify(object)}`);
      }
    }
    return out.sort();
  }

  #observe(ns: Ns, kind: string, want: readonly unknown[]): unknown[] {
    if (kind === 'netns') {
      if (ns !== NODE_NS) return [];
      const aliases = [...this.aliases].map(([name, aliasOf]) => ({ name, aliasOf }));
      return [...[...this.spaces.keys()].filter((n) => n !== NODE_NS).map((name) => ({ name })), ...aliases];
    }
    const objects = this.spaces.get(ns)?.get(kind);
    if (kind !== 'sysctl') return objects ? [...objects.values()].map((o) => structuredClone(o)) : [];
    return want.flatMap((w) => objects?.get(keyOf(kind, w)) ?? []);
  }

  #one(ns: Ns, op: Op): WeftError | undefined {
    if (this.crashAfter-- <= 0) throw new Crash('killed');
    const refused = this.refuse?.(op) ?? this.#refusal(ns, op);
    if (refused) return refused;
    this.writes++;
    if (op.verb === 'remove') this.#remove(ns, op.kind, op.key, op.have);
    else this.#write(ns, op);
    return undefined;
  }

  #refusal(ns: Ns, op: Op): WeftError | undefined {
    if (op.verb === 'remove' || op.kind === 'netns') return undefined;
    if (!this.spaces.has(ns)) return new WeftError('WEFT_NETLINK', `${op.key}: no namespace ${ns}`);
    const links = this.#shelf(ns, 'link') as Map<string, Link>;
    const { dev } = op.want as Partial<Address>;
    if (dev !== undefined && !links.has(dev)) return new WeftError('WEFT_NETLINK', `${op.key}: ENODEV ${dev}`);
    if (op.kind !== 'link') return undefined;
    const link = op.want as Link;
    if (link.master && !links.has(link.master)) return new WeftError('WEFT_NETLINK', `ENODEV ${link.master}`);
    if (link.type === 'veth' && op.verb === 'add' && !this.#freeFarName(link)) {
      return new WeftError('WEFT_NETLINK', `EEXIST ${link.peer.name}`);
    }
    if (link.type === 'veth' && !this.spaces.has(link.peer.ns)) return new WeftError('WEFT_NETLINK', 'no peer ns');
    if ('parent' in link && !this.spaces.get(link.parent.ns)?.get('link')?.has(link.parent.name))
      return new WeftError('WEFT_NETLINK', `ENODEV ${link.parent.name}`);
    if (link.type === 'veth-end' && !links.has(link.name)) return new WeftError('WEFT_NETLINK', `ENODEV ${link.name}`);
    return undefined;
  }

  #write(ns: Ns, op: Op): void {
    if (op.kind === 'netns') {
      const { aliasOf } = op.want as Netns;
      if (aliasOf !== undefined) {
        this.aliases.set(op.key, aliasOf);
        return;
      }
      this.spaces.set(op.key, new Map());
      this.put(op.key, 'link', { name: 'lo', type: 'present', up: false });
      return;
    }
    const shelf = this.#shelf(ns, op.kind) as Map<string, unknown>;
    if (op.kind === 'link') this.#make(ns, op as Op<Link>);
    const before = shelf.get(op.key) as object | undefined;
    // As in a real kernel a change sets what it names and leaves the rest.
    const merged = { ...before, ...structuredClone(op.want as object) };
    if (op.kind !== 'link' && op.kind !== 'fdb' && op.kind !== 'sysctl') Object.assign(merged, { protocol: 87 });
    if (op.kind === 'qdisc') Object.assign(merged, { major: WEFT_QDISC });
    shelf.set(op.key, merged);
  }

  /** As in kernel/real/links.ts: a pair of ours that still has the far end's name goes first; a stranger's stays. */
  #freeFarName({ peer: { ns, name } }: VethLink): boolean {
    const there = this.spaces.get(ns)?.get('link')?.get(name) as Link | undefined;
    if (!there) return true;
    const where = { ns, nsOwned: ns !== NODE_NS };
    const ours = linkKind.owns(there, where) || (where.nsOwned && there.type === 'veth-end');
    if (ours) this.take(ns, 'link', name);
    return ours;
  }

  /** As in kernel/real/links.ts: what cannot become what is wanted goes first. */
  #make(ns: Ns, { verb, key, want, have }: Op<Link>): void {
    const anew = verb === 'change' && incompatible(want as Link, have as Link) !== '';
    if (anew) this.take(ns, 'link', key);
    if (verb === 'add' || anew) this.#born(want as Link);
  }

  #born(link: Link): void {
    if (link.type !== 'veth') return;
    const { ns, name, mac, mtu } = link.peer;
    this.put(ns, 'link', { name, type: 'veth-end', up: false, ...(mac && { mac }), ...(mtu && { mtu }) });
  }

  #remove(ns: Ns, kind: string, key: string, object: unknown): void {
    if (kind === 'netns') {
      if (this.aliases.delete(key)) return;
      // Pairs die with either end, wherever the other is.
      for (const link of [...(this.spaces.get(key)?.get('link')?.keys() ?? [])]) this.take(key, 'link', link);
      this.spaces.delete(key);
      return;
    }
    if (kind === 'address') this.#dropSecondaries(ns, key);
    const was = this.#shelf(ns, kind)?.delete(key);
    if (kind !== 'link' || !was) return;
    const link = object as Link;
    for (const dependent of ['qdisc', 'address', 'route', 'neighbour', 'fdb']) {
      const shelf = this.#shelf(ns, dependent) as Map<string, { dev?: string }> | undefined;
      for (const [k, o] of shelf ?? []) if (o.dev === link.name) shelf?.delete(k);
    }
    this.#dropStacked(ns, link.name);
    if (link.type === 'veth') this.take(link.peer.ns, 'link', link.peer.name);
    if (link.type === 'veth-end') this.#dropNearEnd(ns, link.name);
  }

  /** What stands on a link goes with it, wherever it is. */
  #dropStacked(ns: Ns, name: string): void {
    for (const [other, shelf] of this.spaces) {
      for (const link of [...((shelf.get('link')?.values() ?? []) as Iterable<Link>)]) {
        const on = 'parent' in link && link.parent.ns === ns && link.parent.name === name;
        if (on) this.take(other, 'link', link.name);
      }
    }
  }

  /** The first IPv4 address of a subnet takes the others of it along (promote_secondaries is off). */
  #dropSecondaries(ns: Ns, key: string): void {
    const shelf = this.#shelf(ns, 'address') as Map<string, Address> | undefined;
    const gone = shelf?.get(key);
    if (!shelf || !gone || gone.ip.includes(':')) return;
    const subnet = subnetOf(gone);
    const others = [...shelf].filter(([, o]) => o.dev === gone.dev && !o.ip.includes(':') && subnetOf(o) === subnet);
    if (others[0]?.[0] === key) for (const [other] of others) shelf.delete(other);
  }

  #dropNearEnd(ns: Ns, name: string): void {
    for (const [other, shelf] of this.spaces) {
      for (const link of (shelf.get('link')?.values() ?? []) as Iterable<Link>) {
        if (link.type === 'veth' && link.peer.ns === ns && link.peer.name === name) this.take(other, 'link', link.name);
      }
    }
  }

  #shelf(ns: Ns, kind: string): Map<string, unknown> | undefined {
    const space = this.spaces.get(ns);
    if (space && !space.has(kind)) space.set(kind, new Map());
    return space?.get(kind);
  }
}

/** What was observed is its own stamp. */
async function look(this: KindPort, ns: Ns): Promise<Look> {
  const found = await this.observe(ns, []);
  return { stamp: JSON.stringify(found), read: async () => found };
}

function subnetOf({ ip, length }: Address): string {
  const all = (1n << 32n) - 1n;
  return `${fromNumber(toNumber(ip) & (all << BigInt(32 - length)) & all, 4)}/${length}`;
}

function keyOf(kind: string, object: unknown): string {
  if (kind === 'link') return linkKind.key(object as Link);
  return (KINDS.get(kind) as unknown as Kind<unknown>).key(object);
}
