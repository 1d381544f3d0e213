import type { BackendState } from './endpoint.js';
import type { Stored } from './registry.js';

/**
 * What a backend is to the balancers: what it says of itself, unless its node found that it does not do its work, or this
 * node was told to drain it.
 */
export function stateOf({ spec, drain, unhealthy }: Stored<'endpoints'> | Stored<'peers'>): BackendState {
  if (unhealthy) return 'unhealthy';
  if (drain === undefined || spec.state === 'unhealthy') return spec.state;
  return drain.over ? 'unhealthy' : 'draining';
}
