import { WeftError } from '../../base/errors.js';
import type { Family } from '../../base/ip.js';
import { parseSave, type RestoreChange, renderRestore, type SavedTables } from '../../codec/iptables.js';
import { canonical } from '../../codec/iptables-canonical.js';
import { CHAIN_PREFIX, type IptablesObject } from '../../objects/iptables.js';
import type { Ns } from '../../objects/kind.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort } from '../port.js';
import { spaceFor } from './port.js';
import type { Space, Spaces } from './spaces.js';

const TIMEOUT_MS = 30_000;
/** Seconds to wait for the xtables lock, which all namespaces share. */
const LOCK_SECONDS = '10';
const TABLES = ['raw', 'mangle', 'nat', 'filter'] as const;

/** Chains of ours and the jumps to them, by the machine's own iptables: what its users see with `iptables -S`. */
export class IptablesPort implements KindPort<IptablesObject> {
  /** Families of which a namespace may have rules of ours: had them when last looked at, or was given some since. */
  readonly #had = new Map<Ns, ReadonlySet<Family>>();

  constructor(readonly spaces: Spaces) {}

  async observe(ns: Ns, want: readonly IptablesObject[]): Promise<IptablesObject[]> {
    const space = this.spaces.open(ns);
    // Overlay namespaces have no rules of the IP layer at all.
    if (!space || (want.length === 0 && ns.startsWith('net-'))) return [];
    // A program a family: none is asked for what is neither wished nor may be left of what was.
    const had = this.#had.get(ns) ?? (this.spaces.isBorn(ns) ? [] : ([4, 6] as const));
    const out: IptablesObject[] = [];
    for (const family of new Set([...want.map((o) => o.family), ...had])) {
      out.push(...ours(await this.#save(space, family), family));
    }
    this.#had.set(ns, new Set(out.map((o) => o.family)));
    return out;
  }

  async apply(ns: Ns, ops: readonly Op<IptablesObject>[]): Promise<(WeftError | undefined)[]> {
    const space = spaceFor(this.spaces, ns);
    const out: (WeftError | undefined)[] = new Array(ops.length).fill(undefined);
    for (const family of [4, 6] as const) {
      const mine = ops.map((op, i) => ({ op, i })).filter(({ op }) => (op.want ?? op.have)?.family === family);
      if (mine.length === 0) continue;
      const had = this.#had.get(ns);
      if (had) this.#had.set(ns, new Set([...had, family]));
      const error = await this.#restore(
        space,
        family,
        mine.flatMap(({ op }) => changesOf(op)),
      );
      for (const { i } of mine) out[i] = error;
    }
    return out;
  }

  async #save(space: Space, family: Family): Promise<SavedTables> {
    const program = family === 4 ? 'iptables-save' : 'ip6tables-save';
    const { stdout } = await run(space, [program], null);
    return parseSave(stdout);
  }

  async #restore(space: Space, family: Family, changes: readonly RestoreChange[]): Promise<WeftError | undefined> {
    const program = family === 4 ? 'iptables-restore' : 'ip6tables-restore';
    try {
      await run(space, [program, '--noflush', '-w', LOCK_SECONDS], renderRestore(changes));
      return undefined;
    } catch (error) {
      if (error instanceof WeftError) return error;
      throw error;
    }
  }
}

async function run(space: Space, argv: string[], input: string | null): Promise<{ stdout: string }> {
  const stdin = input === null ? null : Buffer.from(input);
  let outcome: Awaited<ReturnType<typeof space.native.exec>>;
  try {
    outcome = await space.native.exec(space.fd, argv, stdin, undefined, TIMEOUT_MS);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') throw new WeftError('WEFT_COMMAND', `cannot run ${argv[0]}: ${message}`);
    throw new WeftError('WEFT_KERNEL_MISSING', `${argv[0]} is not installed`, 'install iptables');
  }
  if (outcome.code === 0) return { stdout: outcome.stdout.toString('utf8') };
  const text = outcome.stderr.toString('utf8').trim().split('\n').slice(0, 3).join('; ');
  throw new WeftError('WEFT_COMMAND', `${argv.join(' ')} in ${space.ns} failed: ${text}`, undefined, { input });
}

function changesOf(op: Op<IptablesObject>): RestoreChange[] {
  const o = (op.verb === 'remove' ? op.have : op.want) as IptablesObject;
  if (o.what === 'chain') {
    if (op.verb === 'remove') return [{ change: 'delete-chain', table: o.table, name: o.chain }];
    return [{ change: 'replace-chain', table: o.table, name: o.chain, rules: o.rules }];
  }
  if (op.verb === 'remove') return [{ change: 'delete-rule', table: o.table, chain: o.chain, rule: o.rule }];
  return [{ change: 'insert-rule', table: o.table, chain: o.chain, position: 1, rule: o.rule }];
}

/** Our chains, and rules of built-in chains that jump to one of them. */
function ours(saved: SavedTables, family: Family): IptablesObject[] {
  const out: IptablesObject[] = [];
  for (const table of TABLES) {
    for (const chain of saved.get(table)?.values() ?? []) {
      if (chain.policy === null) {
        if (!chain.name.startsWith(CHAIN_PREFIX)) continue;
        const rules = chain.rules.map((rule) => canonical(rule, family));
        out.push({ what: 'chain', family, table, chain: chain.name, rules });
      } else {
        for (const rule of chain.rules) {
          if (!/ ?-[jg] WEFT-/.test(rule)) continue;
          out.push({ what: 'jump', family, table, chain: chain.name, rule: canonical(rule, family) });
        }
      }
    }
  }
  return out;
}
