import type { Difference } from '../api/agent.js';
import type { Loop, Trouble } from '../reconcile/loop.js';
import type { Op } from '../reconcile/plan.js';

const KINDS = { add: 'missing', change: 'differs', remove: 'surplus' } as const;

/** Tells wish and kernel apart, and since when: remembers what an earlier look saw already. */
export class Verifier {
  #seen = new Map<string, number>();

  constructor(readonly loop: Loop) {}

  async differences(): Promise<Difference[]> {
    const { ops, held, clashes } = await this.loop.plan();
    const troubles = new Map(this.loop.troubles().map((t) => [`${t.ns}|${t.kind}|${t.key}`, t]));
    const found = [
      ...ops.map(ofOp),
      ...held.map(({ ns, kind, key, text }) => ({ difference: 'held' as const, namespace: ns, kind, key, why: text })),
      ...clashes.map(({ ns, kind, key, owner, text }) => ({
        ...{ difference: 'clash' as const, namespace: ns, kind, key },
        ...(owner && { object: owner }),
        why: text,
      })),
    ];
    return this.#dated(found, troubles);
  }

  #dated(found: readonly Omit<Difference, 'since'>[], troubles: ReadonlyMap<string, Trouble>): Difference[] {
    const now = Date.now();
    const seen = new Map<string, number>();
    const out = found.map((d) => {
      const at = `${d.namespace}|${d.kind}|${d.key}`;
      const trouble = troubles.get(at);
      const since = Math.min(trouble?.since ?? now, this.#seen.get(at) ?? now);
      seen.set(at, since);
      // What clashes fails for just the reason that it clashes.
      const error = d.difference !== 'clash' && trouble ? { error: trouble.error.message } : {};
      return { ...d, since: new Date(since).toISOString(), ...error };
    });
    this.#seen = seen;
    return out;
  }
}

function ofOp({ verb, ns, kind, key, because, owner }: Op): Omit<Difference, 'since'> {
  const why = because.replace(/^missing: /, '');
  return { difference: KINDS[verb], namespace: ns, kind, key, ...(owner && { object: owner }), why };
}
