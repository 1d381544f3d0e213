import type { Status } from '../api/agent.js';
import { schedulerTrouble } from '../balance/schedulers.js';
import { WeftError } from '../base/errors.js';
import type { Spaces } from '../kernel/real/spaces.js';
import { nameOf, type Stored } from '../model/registry.js';
import { broadcastWarnings } from '../network/overlay/broadcast.js';
import type { World } from '../network/world.js';
import type { Loop } from '../reconcile/loop.js';
import { poolWarnings } from '../state/pools.js';
import type { Store } from '../state/store.js';
import { flowMemory } from './choices.js';
import { flowMemories, memoryWarnings } from './flow-memory.js';
import { guardState } from './guard-state.js';
import type { Names } from './names.js';
import type { Options } from './options.js';
import type { PoolWatch } from './pool-watch.js';
import type { Reservations } from './reservations.js';
import type { Underlay } from './underlay/underlay.js';

export const TABLES = ['networks', 'sandboxes', 'endpoints', 'services', 'nodes', 'peers'] as const;

/** The parts of an agent that have something to say of how it is. */
export interface StatusParts {
  options: Options;
  startedAt: number;
  store: Store;
  loop: Loop;
  names: Names;
  ports: Reservations;
  spaces: Spaces;
  underlay: Underlay;
  pools: PoolWatch;
  /** What was chosen when the agent came up. */
  chosen: () => Pick<World, 'balancer' | 'nftInet' | 'gateway'>;
}

/** What is well and what is not: of each object of the wish, and of the agent as a whole. */
export class StatusBook {
  readonly #phases = new Map<string, Status>();

  constructor(readonly parts: StatusParts) {}

  of(stored: Stored): Status {
    const { loop, names, ports } = this.parts;
    const name = nameOf(stored);
    const trouble = loop.trouble(name);
    const applied = loop.appliedRevision >= stored.revision;
    const draining = (stored.spec as { state?: string }).state === 'draining' || stored.drain !== undefined;
    const nameless = stored.table === 'sandboxes' && applied ? names.trouble(stored.id) : undefined;
    const other = ports.trouble(name) ?? nameless ?? this.#unbalanced(stored);
    const phase = trouble || other !== undefined ? 'degraded' : !applied ? 'pending' : draining ? 'draining' : 'ready';
    const before = this.#phases.get(name);
    const since = before?.phase === phase ? before.since : new Date(trouble?.since ?? Date.now()).toISOString();
    const status: Status = { phase, revision: stored.revision, since };
    const reason = trouble?.error.message ?? other;
    if (reason !== undefined) status.reason = reason;
    if (trouble?.error.hint !== undefined) status.hint = trouble.error.hint;
    const warnings = stored.table === 'networks' ? this.#warnings(stored as Stored<'networks'>) : [];
    if (warnings.length > 0) status.warnings = warnings;
    const { drain } = stored;
    if (drain) status.drain = { until: new Date(drain.until).toISOString(), over: drain.over === true };
    this.#phases.set(name, status);
    return status;
  }

  /** Why a service is balanced in another way than it asks for. */
  #unbalanced(stored: Stored): string | undefined {
    if (stored.table !== 'services') return undefined;
    return schedulerTrouble(this.parts.chosen().balancer, stored as Stored<'services'>);
  }

  #warnings(network: Stored<'networks'>): string[] {
    const { store, options } = this.parts;
    return [...poolWarnings(store.wish, network), ...broadcastWarnings(store.wish, options.advertise, network)];
  }

  /** The whole of `GET /v1/status`. */
  async summary(): Promise<Record<string, unknown>> {
    const { options, startedAt, store, loop, spaces, underlay, pools } = this.parts;
    const { node, advertise, dataPathPort } = options;
    const { balancer, nftInet, gateway } = this.parts.chosen();
    const { doubt } = store.confidence;
    const troubles = this.troubles();
    return {
      node,
      advertise,
      dataPathPort,
      balancer: balancer.name,
      flowMemory: flowMemory(balancer),
      guard: await guardState(spaces, nftInet),
      gatewaySubnet: gateway[4].subnet,
      ...(gateway[6] && { gatewaySubnetV6: gateway[6].subnet }),
      underlayMtu: underlay.mtu,
      pid: process.pid,
      uptimeSeconds: Math.round((Date.now() - startedAt) / 1000),
      phase: troubles.length || doubt !== undefined ? 'degraded' : 'ready',
      revision: store.revision,
      appliedRevision: loop.appliedRevision,
      pruneGate: doubt === undefined ? 'open' : `shut: ${doubt}`,
      counts: Object.fromEntries(TABLES.map((table) => [table, store.wish[table].size])),
      counters: loop.counters,
      paths: underlay.summary(),
      held: loop.held,
      troubles,
      warnings: [...pools.warnings, ...memoryWarnings(await flowMemories(spaces, store.wish, balancer))],
    };
  }

  /** What is not as wished, and why. */
  troubles(): Record<string, unknown>[] {
    const { store, loop, names, ports } = this.parts;
    const body = (
      code: 'WEFT_CONFLICT' | 'WEFT_NOT_SUPPORTED' | 'WEFT_UNAVAILABLE',
      object: string,
      message: string,
    ) => ({
      object,
      ...new WeftError(code, message).toBody(),
    });
    return [
      ...loop.troubles().map((t) => ({ object: t.owner, ...t.error.toBody() })),
      ...[...ports.troubles()].map(([object, message]) => body('WEFT_CONFLICT', object, message)),
      ...[...store.wish.services.values()].flatMap((service) => {
        const message = this.#unbalanced(service as Stored);
        return message === undefined ? [] : [body('WEFT_NOT_SUPPORTED', nameOf(service), message)];
      }),
      ...names.troubles(loop.appliedRevision).map(({ object, message }) => body('WEFT_UNAVAILABLE', object, message)),
    ];
  }
}
