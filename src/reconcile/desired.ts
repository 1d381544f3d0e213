import type { Kind, Ns } from '../objects/kind.js';
import type { Wanted } from './plan.js';

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

  merge(other: Dirt): void {
    for (const { ns, kind, keys } of other.scopes.values()) {
      if (keys === 'all') this.add(ns, kind);
      else for (const key of keys) this.add(ns, kind, key);
    }
  }
}

type Claim = Wanted & { producer: string };
/** By producer, the newest last. */
type Claims = Map<string, Claim>;

/**
 * All objects that should exist, by scope and key. Each object comes from a producer (one object of the wish:
 * `peer/…`, `endpoint/…`), so that a change of the wish replaces that producer's objects and touches nothing else:
 * one more peer among 10,000 costs one peer.
 */
export class Desired {
  readonly #producers = new Map<string, Claim[]>();
  readonly #scopes = new Map<string, Scope & { claims: Map<string, Claim | Claims> }>();
  /** Keys that a change of the wish gave up: their removal is an explicit delete and needs no open gate. */
  readonly #released = new Map<string, Set<string>>();

  constructor(readonly kinds: ReadonlyMap<string, Kind<never>>) {}

  /** Replaces what `producer` wants; an empty list forgets it. Returns what needs a look. */
  set(producer: string, wanted: readonly Wanted[]): Dirt {
    const dirt = new Dirt();
    const before = this.#producers.get(producer) ?? [];
    const known = new Map(before.map((old) => [this.#id(old), JSON.stringify(old.object)]));
    const kept = new Set<string>();
    const claims = wanted.map((w) => ({ ...w, producer }));
    for (const claim of claims) {
      const key = this.#key(claim);
      const id = this.#id(claim);
      kept.add(id);
      if (known.get(id) === JSON.stringify(claim.object)) continue;
      this.#claim(claim, key);
      dirt.add(claim.ns, claim.kind, key);
    }
    for (const old of before) {
      const key = this.#key(old);
      if (kept.has(this.#id(old))) continue;
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

  /** What should exist in a scope; with `keys`, only those. */
  in(ns: Ns, kind: string, keys: Keys = 'all'): Wanted[] {
    const scope = this.#scopes.get(scopeId(ns, kind));
    if (!scope) return [];
    if (keys === 'all') return [...scope.claims.values()].map(winner);
    const out: Wanted[] = [];
    for (const key of keys) {
      const claim = scope.claims.get(key);
      if (claim) out.push(winner(claim));
    }
    return out;
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

  #claim(claim: Claim, key: string): void {
    const id = scopeId(claim.ns, claim.kind);
    let scope = this.#scopes.get(id);
    if (!scope) {
      scope = { ns: claim.ns, kind: claim.kind, claims: new Map() };
      this.#scopes.set(id, scope);
    }
    const found = scope.claims.get(key);
    if (!found || (!(found instanceof Map) && found.producer === claim.producer)) scope.claims.set(key, claim);
    else {
      // Two claims on one address (an endpoint on the move): both are kept, the newest wins. 10,000 peers of one node claim
      // one object of that node.
      const all = found instanceof Map ? found : new Map([[found.producer, found]]);
      all.delete(claim.producer);
      scope.claims.set(key, all.set(claim.producer, claim));
    }
    this.#released.get(id)?.delete(key);
  }

  #release(old: Claim, key: string): void {
    const id = scopeId(old.ns, old.kind);
    const scope = this.#scopes.get(id);
    const found = scope?.claims.get(key);
    if (found instanceof Map) {
      found.delete(old.producer);
      const [last] = found.size === 1 ? found.values() : [];
      if (last) scope?.claims.set(key, last);
      return;
    }
    if (found && found.producer !== old.producer) return;
    scope?.claims.delete(key);
    if (scope?.claims.size === 0) this.#scopes.delete(id);
    const released = this.#released.get(id) ?? new Set();
    this.#released.set(id, released.add(key));
  }
}

function winner(claims: Claim | Claims): Claim {
  return claims instanceof Map ? ([...claims.values()].at(-1) as Claim) : claims;
}
