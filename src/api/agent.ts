import type { Ip } from '../base/ip.js';
import type { Stored, Wish } from '../model/registry.js';
import type { Loop } from '../reconcile/loop.js';
import type { Backend } from '../state/drain.js';
import type { Store } from '../state/store.js';
import type { Surroundings } from '../state/surroundings.js';
import type { NamesPort } from './names.js';

export type Phase = 'pending' | 'ready' | 'degraded' | 'draining' | 'released';

/** `status` of every object. */
export interface Status {
  phase: Phase;
  revision: number;
  /** RFC 3339. */
  since: string;
  reason?: string;
  hint?: string;
  /** What will be wrong before long: a pool of addresses that is nearly used up. */
  warnings?: string[];
  /** It was told to drain: until when (RFC 3339), and whether that has passed. */
  drain?: { until: string; over: boolean };
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

/** What `GET /v1/inspect/…` answers. */
export interface Listing {
  items: InspectRow[];
  /** Rows left out because they are too many; missing where none is. */
  more?: number;
}

/** A difference between the wish and the kernel, as `GET /v1/verify` tells it. */
export interface Difference {
  /** `clash`: a foreign object stands where one of ours should; `held`: ours, in no wish, and not to be removed yet. */
  difference: 'missing' | 'differs' | 'surplus' | 'held' | 'clash';
  namespace: string;
  kind: string;
  key: string;
  /** Object of the wish; missing where nothing wishes it. */
  object?: string;
  why: string;
  /** RFC 3339: when it was first seen, by the loop or by an earlier `verify`. */
  since: string;
  /** What the kernel said when the loop last tried to repair it. */
  error?: string;
}

/** What this node's own probes of a backend found (`health` of its service). */
export interface EndpointHealth {
  state: 'healthy' | 'unhealthy' | 'unknown';
  /** RFC 3339: when the last probe ended. */
  probed?: string;
  /** Why the last probe failed. */
  reason?: string;
}

/** What was sent towards a backend, or the backends of a service: replies pass no balancer. */
interface Sent {
  packets: number;
  /** Of IP packets, without the Ethernet header. */
  bytes: number;
  /** Flows that were given to it. */
  connections: number;
  /** Established TCP connections now. */
  active: number;
  /** Other flows that are remembered now: half open, closing, UDP. */
  inactive: number;
}

/** A backend of a service on one network, as this node's balancer sees it. */
export interface BackendStats extends Sent {
  network: string;
  backend: Ip;
  /** It is on this node. */
  local: boolean;
  state: 'active' | 'draining';
}

/** A row of `GET /v1/stats`. Totals of a service include what backends had that are gone. */
export interface ServiceStats extends Sent {
  service: string;
  backends: BackendStats[];
}

/** What the API serves: the agent, seen from its socket. */
export interface AgentPort {
  readonly store: Store;
  readonly loop: Loop;
  readonly startedAt: number;
  readonly names: NamesPort;
  statusOf(stored: Stored): Status;
  /** undefined where nobody asked for probes. */
  healthOf(endpoint: Stored<'endpoints'>): EndpointHealth | undefined;
  /** Where a sandbox's namespace and files are. */
  locationOf(sandbox: string): { path: string; files: string };
  /** The whole of `GET /v1/status`. */
  summary(): Promise<Record<string, unknown>>;
  inspect(what: string, query: URLSearchParams): Promise<Listing>;
  inspectable(): string[];
  /** What the balancers of this node sent to whom. */
  stats(): Promise<ServiceStats[]>;
  /** The text of `GET /metrics`. */
  metrics(): Promise<string>;
  /** Compares everything with the kernel and changes nothing. */
  verify(): Promise<Difference[]>;
  /** Connections that this node's balancers hold through them now; @param service those of its callers alone */
  connections(backends: readonly Backend[], service?: string): Promise<number>;
  /** What new networks must not get in the way of. */
  surroundings(): Promise<Surroundings>;
  /** Holds published ports on the node. */
  ports: {
    /** Binds what a wish would publish and the present one does not. @throws WEFT_CONFLICT naming who has a port */
    claim(after: Wish): Promise<void>;
    /** Gives back what the present wish does not publish. */
    settle(): void;
  };
  events: { since(revision: number): AgentEvent[]; listen(listener: (event: AgentEvent) => void): () => void };
  /** Removes everything that weft owns on this node. */
  down(): Promise<{ removed: number }>;
}
