import { InvalidArgumentError } from 'commander';
import type { Row } from './output.js';
import { given } from './shared.js';

/** `tcp:PORT` or `http:PORT/PATH`. */
export function parseHealth(text: string): Row {
  const [, type, port, path] = /^(tcp|http):(\d+)(\/.*)?$/.exec(text) ?? [];
  if (type === undefined || (type === 'tcp' && path !== undefined))
    throw new InvalidArgumentError('use tcp:PORT, http:PORT or http:PORT/PATH');
  return given({ type, port: Number(port), path });
}

/**
 * `health` of a service's body from the options.
 * @param before as it was, of a service that is changed
 */
export function healthOf(options: Row, before?: Row): Row | undefined {
  const { health, healthInterval: interval, healthTimeout: timeout, healthy, unhealthy } = options;
  const details = given({ interval, timeout, healthy, unhealthy });
  if (health === 'none') return undefined;
  // Another port or way of asking keeps how often.
  const { type: _type, port: _port, path: _path, ...pace } = before ?? {};
  if (health !== undefined) return { ...pace, ...parseHealth(String(health)), ...details };
  if (Object.keys(details).length === 0) return before;
  if (before) return { ...before, ...details };
  throw new InvalidArgumentError('--health says what to probe: tcp:PORT or http:PORT/PATH');
}
