import type { ErrorBody } from '../base/errors.js';
import type { Counters } from './counters.js';
import type { BoundSandbox } from './listeners.js';
import type { TallyJson } from './tally.js';
import type { PatchJson, ViewJson } from './view-json.js';

/** Files under the run directory. The socket is mode 0600 and carries NDJSON both ways, one reply a request, in order. */
export const SOCKET_NAME = 'resolver.sock';
export const PID_NAME = 'resolver.pid';

/** Agent to resolver. */
export type Request = { op: 'view'; view: ViewJson } | ({ op: 'patch' } & PatchJson) | { op: 'status' };

/** The view is in force: from now on queries are answered from it. `errors` says which sandboxes do not listen, and why. */
export interface Applied {
  op: 'applied';
  revision: number;
  sandboxes: Record<string, BoundSandbox>;
  errors: Record<string, string>;
}

/** The patch does not follow `revision`, which is in force: send the whole view. */
export interface Resync {
  op: 'resync';
  revision: number;
}

/** The request was refused whole; the view in force stays. */
export interface Refused {
  op: 'error';
  error: ErrorBody;
}

export interface Status {
  op: 'status';
  pid: number;
  revision: number;
  sandboxes: Record<string, BoundSandbox>;
  errors: Record<string, string>;
  /** Of all sandboxes together, those that are gone too. */
  counters: Counters;
  tally: TallyJson;
  /** Queries that wait for a name server now. */
  inFlight: number;
}

export type Reply = Applied | Resync | Refused | Status;
