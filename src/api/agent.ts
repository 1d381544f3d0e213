import type { Stored } from '../model/registry.js';
import type { Loop } from '../reconcile/loop.js';
import type { Store } from '../state/store.js';

export type Phase = 'pending' | 'ready' | 'degraded' | 'draining' | 'released';

/** `status` of every object. */
export interface Status {
  phase: Phase;
  revision: number;
  /** RFC 3339. */
  since: string;
  reason?: string;
  hint?: string;
}

/** One thing that happened, as `GET /v1/events` tells it. */
export interface AgentEvent {
  /** Counts events of this agent's life; `?since=` resumes after it. */
  revision: number;
  time: string;
  type: 'change' | 'drift' | 'trouble' | 'recovered' | 'pass';
  /** Object of the wish: `network/app`. */
  object?: string;
  message: string;
  details?: Record<string, unknown>;
}

/** Rows that `GET /v1/inspect/…` reads from the kernel. `drift` says how a row differs from the wish. */
export interface InspectRow {
  drift: 'ok' | 'missing' | 'foreign' | 'differs' | 'held';
  reason?: string;
  [column: string]: unknown;
}

/** What the API serves: the agent, seen from its socket. */
export interface AgentPort {
  readonly store: Store;
  readonly loop: Loop;
  readonly startedAt: number;
  statusOf(stored: Stored): Status;
  /** Where a sandbox's namespace and files are. */
  locationOf(sandbox: string): { path: string; files: string };
  /** The whole of `GET /v1/status`. */
  summary(): Record<string, unknown>;
  inspect(what: string, query: URLSearchParams): Promise<InspectRow[]>;
  inspectable(): string[];
  events: { since(revision: number): AgentEvent[]; listen(listener: (event: AgentEvent) => void): () => void };
  /** Removes everything that weft owns on this node. */
  down(): Promise<{ removed: number }>;
}
