import { sameJson } from '../base/same.js';
import type { Kind, Ns } from '../objects/kind.js';
import type { Wanted, WantedTable } from './plan.js';

/** namespace × kind: the unit of observation. */
export interface Scope {
  ns: Ns;
  kind: string;
}

export const scopeId = (ns: Ns, kind: string): string => `${ns}|${kind}`;

/** Keys of a scope that need a look, or the whole scope. */
export type Keys = Set<string> | 'all';

/** What needs a look, by scope. */
export class Dirt {
  readonly scopes = new Map<string, Scope & { keys: Keys }>();

  add(ns: Ns, kind: string, key?: string): void {
    const id = scopeId(ns, kind);
    const found = this.scopes.get(id);
    if (!found) this.scopes.set(id, { ns, kind, keys: key === undefined ? 'all' : new Set([key]) });
    else if (key === undefined) found.keys = 'all';
    else if (found.keys !== 'all') found.keys.add(key);
  }

  addAll(ns: Ns, kind: string, keys: Keys): void {
    const found = this.scopes.get(scopeId(ns, kind));
    if (keys === 'all') this.add(ns, kind);
    else if (!found) this.scopes.set(scopeId(ns, kind), { ns, kind, keys: new Set(keys) });
    else if (found.keys !== 'all') for (const key of keys) found.keys.add(key);
  }

  merge(other: Dirt): void {
    for (const { ns, kind, keys } of other.scopes.values()) this.addAll(ns, kind, keys);
  }
}

/** Claims of several producers on one key, by producer, the newest last. */
type Claims = Map<string, Wanted>;

/**
 * All objects that should exist, by scope and key. Each object comes from a producer (one object of the wish:
 * `peer/…`, `endpoint/…`), which is its owner, so that a change of the wish replaces that producer's objects and touches
 * nothing else: one more peer among 10,000 costs one peer. With 50,000 peers this is most of what an agent holds, so an
 * object is kept once, in the shape in which it was produced.
 */
export class Desired {
  readonly #producers = new Map<string, readonly Wanted[]>();
  readonly #scopes = new Map<string, Scope & { claims: Map<string, Wanted | Claims>; agreed?: string }>();
  /** Keys that a change of the wish gave up: their removal is an explicit delete and needs no open gate. */
  readonly #released = new Map<string, Set<string>>();

  constructor(readonly kinds: ReadonlyMap<string, Kind<never>>) {}

  /**
   * Replaces what `producer` wants; an empty list forgets it.
   * @param wanted objects of which it is the owner
   * @returns what needs a look, in `dirt` where one is given
   */
  set(producer: string, wanted: readonly Wanted[], dirt = new Dirt()): Dirt {
    const before = this.#producers.get(producer) ?? [];
    const known = new Map(before.map((old) => [this.#id(old), old]));
    const kept = new Set<string>();
    // A list that is mapped has room for what is in it; one that grows has room for 17.
    const claims = wanted.map((claim) => {
      const id = before.length > 0 ? this.#id(claim) : '';
      const old = known.get(id);
      kept.add(id);
      if (old && sameJson(old.object, claim.object)) return old;
      const key = this.#key(claim);
      this.#claim(claim, key);
      dirt.add(claim.ns, claim.kind, key);
      return claim;
    });
    for (const [id, old] of known) {
      if (kept.has(id)) continue;
      const key = this.#key(old);
      this.#release(old, key);
      dirt.add(old.ns, old.kind, key);
    }
    if (claims.length) this.#producers.set(producer, claims);
    else this.#producers.delete(producer);
    return dirt;
  }

  producers(): IterableIterator<string> {
    return this.#producers.keys();
  }

  scopes(): Scope[] {
    return [...this.#scopes.values()].map(({ ns, kind }) => ({ ns, kind }));
  }

  /** What should exist in a scope, by key; with `keys`, only those. */
  entries(ns: Ns, kind: string, keys: Keys = 'all'): [string, Wanted][] {
    const scope = this.#scopes.get(scopeId(ns, kind));
    const out: [string, Wanted][] = [];
    if (!scope) return out;
    if (keys === 'all') for (const [key, claim] of scope.claims) out.push([key, winner(claim)]);
    else {
      for (const key of keys) {
        const claim = scope.claims.get(key);
        if (claim) out.push([key, winner(claim)]);
      }
    }
    return out;
  }

  /** What should exist in a scope; with `keys`, only those. */
  in(ns: Ns, kind: string, keys: Keys = 'all'): Wanted[] {
    return this.entries(ns, kind, keys).map(([, wanted]) => wanted);
  }

  /** Should anything exist in a scope? */
  has(ns: Ns, kind: string): boolean {
    return this.#scopes.has(scopeId(ns, kind));
  }

  /** What should exist in a scope, without a list of it; with `keys`, only those. */
  table(ns: Ns, kind: string, keys: Keys = 'all'): WantedTable {
    if (keys !== 'all') return new Map(this.entries(ns, kind, keys));
    const claims = this.#scopes.get(scopeId(ns, kind))?.claims ?? new Map<string, Wanted | Claims>();
    return {
      size: claims.size,
      get(key) {
        const claim = claims.get(key);
        return claim && winner(claim);
      },
      *[Symbol.iterator]() {
        for (const [key, claim] of claims) yield [key, winner(claim)] as const;
      },
    };
  }

  /**
   * What told how the kernel was when it was last found as wished in a scope, with nothing to do and nothing to hold back.
   * Undefined where that was not so, or where something else is wished there since.
   */
  agreedIn(ns: Ns, kind: string): string | undefined {
    return this.#scopes.get(scopeId(ns, kind))?.agreed;
  }

  /** @param stamp undefined: they do not agree, or nothing tells */
  agree(ns: Ns, kind: string, stamp: string | undefined): void {
    const scope = this.#scopes.get(scopeId(ns, kind));
    if (!scope) return;
    if (stamp === undefined) delete scope.agreed;
    else scope.agreed = stamp;
  }

  wants(ns: Ns, kind: string, key: string): boolean {
    return this.#scopes.get(scopeId(ns, kind))?.claims.has(key) ?? false;
  }

  isReleased(ns: Ns, kind: string, key: string): boolean {
    return this.#released.get(scopeId(ns, kind))?.has(key) ?? false;
  }

  /** Keys of a scope that were given up and not yet seen gone. */
  releasedIn(ns: Ns, kind: string): string[] {
    return [...(this.#released.get(scopeId(ns, kind)) ?? [])];
  }

  /** Is anything in that namespace given up and not yet known to be gone? */
  hasReleased(ns: Ns): boolean {
    for (const [id, keys] of this.#released) if (id.startsWith(`${ns}|`) && keys.size > 0) return true;
    return false;
  }

  /** The object is gone from the kernel: nothing is left to delete explicitly. */
  settle(ns: Ns, kind: string, key: string): void {
    const id = scopeId(ns, kind);
    const keys = this.#released.get(id);
    keys?.delete(key);
    if (keys?.size === 0) this.#released.delete(id);
  }

  #id(w: Wanted): string {
    return `${scopeId(w.ns, w.kind)}|${this.#key(w)}`;
  }

  #key(w: Wanted): string {
    const kind = this.kinds.get(w.kind) as Kind<unknown> | undefined;
    if (!kind) throw new Error(`no kernel kind "${w.kind}"`);
    return kind.key(w.object);
  }

  #claim(claim: Wanted, key: string): void {
    const id = scopeId(claim.ns, claim.kind);
    let scope = this.#scopes.get(id);
    if (!scope) {
      scope = { ns: claim.ns, kind: claim.kind, claims: new Map() };
      this.#scopes.set(id, scope);
    }
    delete scope.agreed;
    // One string for all: 24 bytes less for each.
    claim.ns = scope.ns;
    const found = scope.claims.get(key);
    if (!found || (!(found instanceof Map) && found.owner === claim.owner)) scope.claims.set(key, claim);
    else {
      // Two claims on one address (an endpoint on the move): both are kept, the newest wins.
      const all = found instanceof Map ? found : new Map([[found.owner, found]]);
      all.delete(claim.owner);
      scope.claims.set(key, all.set(claim.owner, claim));
    }
    this.#released.get(id)?.delete(key);
  }

  #release(old: Wanted, key: string): void {
    const id = scopeId(old.ns, old.kind);
    const scope = this.#scopes.get(id);
    if (scope) delete scope.agreed;
    const found = scope?.claims.get(key);
    if (found instanceof Map) {
      found.delete(old.owner);
      const [last] = found.size === 1 ? found.values() : [];
      if (last) scope?.claims.set(key, last);
      return;
    }
    if (found && found.owner !== old.owner) return;
    scope?.claims.delete(key);
    if (scope?.claims.size === 0) this.#scopes.delete(id);
    const released = this.#released.get(id) ?? new Set();
    this.#released.set(id, released.add(key));
  }
}

function winner(claims: Wanted | Claims): Wanted {
  return claims instanceof Map ? ([...claims.values()].at(-1) as Wanted) : claims;
}
