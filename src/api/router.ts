import { WeftError } from '../base/errors.js';
import type { Reply, Request } from './http.js';

export interface Route {
  method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** Segments; `:name` matches one of them. */
  path: string;
  /** One line for docs/api.md and OpenAPI. */
  summary: string;
  /** Name of the body's schema in OpenAPI. */
  body?: string;
  query?: Record<string, string>;
  run: (request: Request) => Promise<Reply> | Reply;
}

/** Finds the route of a path. @throws WEFT_NOT_FOUND, WEFT_METHOD_NOT_ALLOWED (naming what is allowed) */
export function route(
  routes: readonly Route[],
  method: string,
  path: string,
): { route: Route; params: Record<string, string> } {
  const parts = path.split('/').filter(Boolean);
  const allowed: string[] = [];
  for (const candidate of routes) {
    const params = match(candidate.path.split('/').filter(Boolean), parts);
    if (!params) continue;
    if (candidate.method === method) return { route: candidate, params };
    allowed.push(candidate.method);
  }
  if (allowed.length === 0)
    throw new WeftError('WEFT_NOT_FOUND', `there is no ${path}`, 'GET /v1/openapi.json lists what there is');
  throw new WeftError('WEFT_METHOD_NOT_ALLOWED', `${path} does not take ${method}`, `use ${allowed.join(' or ')}`);
}

function match(pattern: string[], parts: string[]): Record<string, string> | undefined {
  if (pattern.length !== parts.length) return undefined;
  const params: Record<string, string> = {};
  for (const [i, segment] of pattern.entries()) {
    const part = parts[i] as string;
    if (segment.startsWith(':')) params[segment.slice(1)] = decoded(part);
    else if (segment !== part) return undefined;
  }
  return params;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `"${part}" is not URL-encoded text`);
  }
}
