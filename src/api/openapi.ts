import { z } from 'zod';
import { drainBody } from '../model/drain.js';
import { endpointRoute } from '../model/endpoint.js';
import { healthSpec } from '../model/health.js';
import { BODIES } from '../model/registry.js';
import { hostPortSpec, publishSpec, sandboxPortBody, vipPortSpec } from '../model/service.js';
import type { Route } from './router.js';

/** OpenAPI 3.1 of the socket's routes, with the schemas that check the bodies. */
export function openapi(routes: readonly Route[]): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    paths[path] ??= {};
    paths[path][route.method.toLowerCase()] = operation(route);
  }
  const registry = z.registry<{ id: string }>();
  for (const schema of [
    ...Object.values(BODIES),
    vipPortSpec,
    publishSpec,
    hostPortSpec,
    sandboxPortBody,
    endpointRoute,
    drainBody,
    healthSpec,
  ])
    registry.add(schema, { id: schema.meta()?.id as string });
  const uri = (id: string) => `#/components/schemas/${id}`;
  const { schemas } = z.toJSONSchema(registry, { io: 'input', unrepresentable: 'any', uri });
  return { openapi: '3.1.0', info: { title: 'weft', version: '1' }, paths, components: { schemas } };
}

function operation(route: Route): Record<string, unknown> {
  const inPath = [...route.path.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const inQuery = Object.entries(route.query ?? {}).map(([name, description]) => ({
    name,
    in: 'query',
    description,
    schema: { type: 'string' },
  }));
  const body = route.body && {
    requestBody: { content: { 'application/json': { schema: { $ref: `#/components/schemas/${route.body}` } } } },
  };
  return {
    summary: route.summary,
    parameters: [...inPath, ...inQuery],
    ...body,
    responses: { default: { description: 'JSON' } },
  };
}
