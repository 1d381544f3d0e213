import type { ServerResponse } from 'node:http';
import { WeftError } from '../base/errors.js';
import type { Op } from '../reconcile/plan.js';
import type { AgentPort } from './agent.js';
import { drainRoutes } from './drain.js';
import { gossipRoutes } from './gossip.js';
import { numberParam, type Request } from './http.js';
import { nameRoutes } from './names.js';
import { objectRoutes, wishRoutes } from './objects.js';
import { openapi } from './openapi.js';
import { portRoutes } from './ports.js';
import type { Route } from './router.js';
import { statsRoutes } from './stats.js';
import { waitIfAsked } from './wait.js';

/** Every route of the socket; docs/api.md and OpenAPI are made from this list. */
export function allRoutes(agent: AgentPort): Route[] {
  const routes: Route[] = [
    {
      method: 'GET',
      path: '/v1/status',
      summary: 'the agent, its node, and what is not well',
      run: async () => ({ body: await agent.summary() }),
    },
    {
      method: 'GET',
      path: '/v1/health',
      summary: '200 when the last pass left nothing undone, else 503',
      run: () => {
        const troubles = agent.loop.troubles().map((t) => ({ object: t.owner, ...t.error.toBody() }));
        return { status: troubles.length ? 503 : 200, body: { healthy: troubles.length === 0, troubles } };
      },
    },
    ...objectRoutes(agent),
    ...portRoutes(agent),
    ...statsRoutes(agent),
    ...wishRoutes(agent),
    ...gossipRoutes(agent),
    ...drainRoutes(agent),
    {
      method: 'GET',
      path: '/v1/plan',
      summary: 'what a full pass would change in the kernel now',
      run: async () => {
        const { ops, held, clashes } = await agent.loop.plan();
        return { body: { operations: ops.map(shownOp), held, clashes } };
      },
    },
    {
      method: 'GET',
      path: '/v1/verify',
      summary: 'each difference between the wish and the kernel, since when and why',
      run: async () => ({ body: { items: await agent.verify() } }),
    },
    {
      method: 'POST',
      path: '/v1/reconcile',
      summary: 'compares everything with the kernel now and repairs it',
      run: async (request) => {
        const before = agent.loop.counters.operations;
        await agent.loop.sweep();
        await waitIfAsked(agent, request);
        return { body: { operations: agent.loop.counters.operations - before } };
      },
    },
    ...nameRoutes(agent),
    {
      method: 'GET',
      path: '/v1/inspect/:what',
      summary: 'rows read from the kernel, each compared with the wish; `more` rows were left out',
      query: {
        namespace: 'only this one: `net-NETWORK`, `ingress`, a sandbox, or `@node`',
        limit: 'rows of `conntrack`, 1000 when not given',
      },
      run: async (request) => {
        const what = request.params.what as string;
        if (!agent.inspectable().includes(what)) {
          throw new WeftError(
            'WEFT_NOT_FOUND',
            `there is no view "${what}"`,
            `views are ${agent.inspectable().join(', ')}`,
          );
        }
        return { body: await agent.inspect(what, request.query) };
      },
    },
    {
      method: 'GET',
      path: '/v1/events',
      summary: 'streams what happens, NDJSON',
      query: { since: 'resume after this event', follow: '`false` ends after the events so far' },
      run: (request) => ({ stream: (response) => streamEvents(agent, request, response) }),
    },
    {
      method: 'POST',
      path: '/v1/down',
      summary: 'removes everything that weft owns on this node',
      run: async () => ({ body: await agent.down() }),
    },
    { method: 'GET', path: '/v1/openapi.json', summary: 'this API', run: () => ({ body: openapi(routes) }) },
  ];
  return routes;
}

function shownOp(op: Op): Record<string, unknown> {
  const { verb, ns, kind, key, because, owner } = op;
  return { verb, namespace: ns, kind, key, because, object: owner };
}

const MAX_BACKLOG = 1024 * 1024;

function streamEvents(agent: AgentPort, request: Request, response: ServerResponse): void {
  const since = numberParam(request, 'since', 0);
  const past = agent.events.since(since);
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  for (const event of past) response.write(`${JSON.stringify(event)}\n`);
  if (request.query.get('follow') === 'false') {
    response.end();
    return;
  }
  const stop = agent.events.listen((event) => {
    response.write(`${JSON.stringify(event)}\n`);
    if (response.writableLength <= MAX_BACKLOG) return;
    stop();
    response.end(
      `${JSON.stringify({ error: { code: 'WEFT_TOO_LARGE', message: 'dropped: the reader is too slow' } })}\n`,
    );
  });
  response.on('close', stop);
  response.flushHeaders();
}
