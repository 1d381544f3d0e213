/**
 * Identifies a namespace inside one agent: `@node` is the agent's own, `net-NAME` an overlay network's,
 * anything else the sandbox of that name.
 */
export type Ns = string;
export const NODE_NS: Ns = '@node';

/** Where an observed object was seen, for the question whether weft may touch it. */
export interface Where {
  ns: Ns;
  /** The namespace was made by weft: everything in it is ours (design rule: ownership by namespace). */
  nsOwned: boolean;
}

/**
 * When a pass handles an object: additions in ascending, removals in descending order. A half-applied service must
 * be absent or refuse, so what carries traffic comes before what attracts it.
 */
export const STAGE = {
  netns: 0,
  sysctl: 10,
  /** What a tunnel accepts, before there is a tunnel. */
  guard: 15,
  link: 20,
  /** Far ends of pairs, which their near ends bring. */
  linkEnd: 22,
  linkSysctl: 25,
  qdisc: 27,
  address: 30,
  route: 40,
  rule: 45,
  neighbour: 50,
  taskChain: 60,
  virtualServer: 70,
  vsSysctl: 72,
  realServer: 75,
  nft: 80,
  markChain: 85,
  ingressChain: 90,
  jump: 95,
  conntrack: 99,
} as const;

/**
 * What every kernel kind says about itself. Identity and equality are different questions: the weight of an IPVS
 * destination is no part of its key but is part of `same`.
 */
export interface Kind<T> {
  readonly name: string;
  /** Additions and removals go together, in one transaction, at the stage of the additions. */
  readonly atomic?: boolean;
  /** All stages in which objects of this kind may stand, ascending. */
  readonly stages: readonly number[];
  stage(o: T): number;
  /** Order inside a stage, ascending for additions: bridges before their ports. */
  rank(o: T): number;
  /**
   * Two objects of one namespace with the same key are the same thing. Kinds of which there are tens of thousands put it
   * together with `join`, which makes one piece of text: what templates make is kept in pieces, half as large again.
   */
  key(o: T): string;
  /** '' when the kernel's object satisfies the wish, else why not, in words. Only what the wish states is compared. */
  same(want: T, have: T): string;
  /** May weft change or delete this object of the kernel's? */
  owns(have: T, where: Where): boolean;
  /** May it go when one of those interfaces of its namespace goes? Missing where interfaces do not matter. */
  standsOn?(o: T, devs: ReadonlySet<string>): boolean;
  /** May an object that `owns` denies be changed all the same because the wish is about exactly that object? */
  adopts?(want: T, have: T, where: Where): boolean;
  describe(o: T): string;
}

/** Collects the differing fields of a wish and the kernel's object: `mtu 1500, wanted 1450`. */
export function differences<T extends object>(want: T, have: T, fields: readonly (keyof T & string)[]): string {
  const out: string[] = [];
  for (const field of fields) {
    const w = want[field];
    if (w !== undefined && w !== have[field])
      out.push(`${field} ${String(have[field] ?? 'unset')}, wanted ${String(w)}`);
  }
  return out.join('; ');
}
