import type { BackendState } from './endpoint.js';
import type { Stored } from './registry.js';

/** What a backend is to the balancers: what it says of itself, unless this node was told to drain it. */
export function stateOf({ spec, drain }: Stored<'endpoints'> | Stored<'peers'>): BackendState {
  if (drain === undefined || spec.state === 'unhealthy') return spec.state;
  return drain.over ? 'unhealthy' : 'draining';
}
