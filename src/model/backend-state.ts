import type { BackendState } from './endpoint.js';
import type { Drain, Stored } from './registry.js';
import { servicesOf } from './serving.js';

/**
 * What a backend is to the balancers: what it says of itself, unless its node found that it does not do its work, or this
 * node was told to drain it.
 * @param service whose backend it is asked as; not given: is it so for every service that it serves?
 */
export function stateOf(backend: Stored<'endpoints'> | Stored<'peers'>, service?: string): BackendState {
  const { spec, drain, unhealthy } = backend;
  if (unhealthy) return 'unhealthy';
  const asked = service === undefined ? servicesOf(spec) : [service];
  if (drain === undefined || spec.state === 'unhealthy' || !asked.every((id) => concerns(drain, id))) return spec.state;
  return drain.over ? 'unhealthy' : 'draining';
}

const concerns = ({ services }: Drain, service: string): boolean => services?.includes(service) ?? true;
