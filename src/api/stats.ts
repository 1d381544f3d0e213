import { missing } from '../state/check.js';
import type { AgentPort } from './agent.js';
import type { Route } from './router.js';

/** Media type of the text format that Prometheus reads. */
export const PROMETHEUS_TEXT = 'text/plain; version=0.0.4; charset=utf-8';

export function statsRoutes(agent: AgentPort): Route[] {
  return [
    {
      method: 'GET',
      path: '/v1/stats',
      summary:
        'packets, bytes and connections that this node sent to services and their backends, read from the kernel',
      query: { service: 'only this one' },
      run: async (request) => {
        const name = request.query.get('service');
        if (name !== null && !agent.store.wish.services.has(name)) {
          throw missing('service', name, `weft service create ${name}`);
        }
        const items = await agent.stats();
        return { body: { items: name === null ? items : items.filter(({ service }) => service === name) } };
      },
    },
    {
      method: 'GET',
      path: '/metrics',
      summary: 'the same and what the agent does, as Prometheus reads it',
      run: async () => ({ text: await agent.metrics(), type: PROMETHEUS_TEXT }),
    },
  ];
}
