import type { ServerResponse } from 'node:http';
import { createInterface } from 'node:readline';
import { WeftError } from '../base/errors.js';
import { stateOf } from '../model/backend-state.js';
import { endpointsOf } from '../model/holders.js';
import { isLocalScope } from '../model/network.js';
import type { Stored, Table } from '../model/registry.js';
import { type GossipRow, parseGossipRow } from '../state/gossip.js';
import type { Mutation } from '../state/wish.js';
import type { AgentPort } from './agent.js';
import { numberParam, type Request } from './http.js';
import type { Route } from './router.js';
import { WAIT, waitIfAsked } from './wait.js';

export function gossipRoutes(agent: AgentPort): Route[] {
  return [
    {
      method: 'POST',
      path: '/v1/gossip',
      summary: 'table updates from the control plane, NDJSON; one body is one change',
      query: { wait: WAIT.wait, timeoutMs: WAIT.timeoutMs },
      run: async (request) => {
        const rows = await readRows(request);
        const changed = agent.store.gossip(rows);
        await waitIfAsked(agent, request);
        return { body: { revision: agent.store.revision, rows: rows.length, changed } };
      },
    },
    {
      method: 'GET',
      path: '/v1/gossip',
      summary: 'streams this node’s own rows, for the control plane to spread',
      query: { since: 'only rows that changed after this revision', follow: '`false` ends after the present rows' },
      run: (request) => ({ stream: (response) => streamOwn(agent, request, response) }),
    },
  ];
}

async function readRows(request: Request): Promise<GossipRow[]> {
  const rows: GossipRow[] = [];
  let n = 0;
  for await (const line of createInterface({ input: request.raw, crlfDelay: Number.POSITIVE_INFINITY })) {
    n++;
    if (line.trim() !== '') rows.push(parseGossipRow(line, n));
  }
  return rows;
}

/** Bytes that may wait for a slow reader before it is dropped. */
const MAX_BACKLOG = 8 * 1024 * 1024;

function streamOwn(agent: AgentPort, request: Request, response: ServerResponse): void {
  const since = numberParam(request, 'since', 0);
  if (since > agent.store.revision) {
    throw new WeftError('WEFT_GONE', `revision ${since} is not known here`, 'start again without since');
  }
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  const write = (row: unknown) => {
    response.write(`${JSON.stringify(row)}\n`);
    if (response.writableLength > MAX_BACKLOG) {
      stop();
      response.end(
        `${JSON.stringify({ error: { code: 'WEFT_TOO_LARGE', message: 'dropped: the reader is too slow' } })}\n`,
      );
    }
  };
  for (const table of ['networks', 'services', 'nodes', 'endpoints'] as const) {
    for (const stored of agent.store.wish[table].values() as Iterable<Stored>) {
      if (toldAs(agent, stored) > since) for (const row of ownRows(agent, stored.table, stored.id, stored)) write(row);
    }
  }
  const onChange = (mutations: readonly Mutation[]) => {
    for (const m of mutations) {
      if (!m.heard) for (const row of ownRows(agent, m.table, m.id, m.stored)) write(row);
      if (m.table !== 'sandboxes') continue;
      // Its host name stands in the rows of its endpoints.
      for (const endpoint of endpointsOf(agent.store.wish, m.id))
        for (const row of ownRows(agent, 'endpoints', endpoint.id, endpoint)) write(row);
    }
  };
  const stop = () => agent.store.off('change', onChange);
  if (request.query.get('follow') === 'false') {
    response.end();
    return;
  }
  agent.store.on('change', onChange);
  response.on('close', stop);
}

/** A network of one node, and what is on it. */
function isOfThisNode(agent: AgentPort, stored: Stored): boolean {
  const { networks } = agent.store.wish;
  const network = stored.table === 'endpoints' ? networks.get((stored as Stored<'endpoints'>).spec.network) : stored;
  return network?.table === 'networks' && isLocalScope((network as Stored<'networks'>).spec.driver);
}

/** The revision of what is told of an object: of an endpoint its sandbox's where that is later. */
function toldAs(agent: AgentPort, stored: Stored): number {
  if (stored.table !== 'endpoints') return stored.revision;
  const sandbox = agent.store.wish.sandboxes.get((stored as Stored<'endpoints'>).spec.sandbox);
  return Math.max(stored.revision, sandbox?.revision ?? 0);
}

/** The gossip row that tells others about an object of this node; none for what only concerns this node. */
function ownRows(agent: AgentPort, table: Table, id: string, stored: Stored | undefined): unknown[] {
  const { name, vtep } = agent.store.self;
  if (stored && stored.origin !== 'api') return [];
  if (stored && isOfThisNode(agent, stored)) return [];
  const stamp = { node: name, ltime: stored ? toldAs(agent, stored) : agent.store.revision };
  const row = (to: string, key: string, value: unknown) =>
    stored ? [{ table: to, op: 'set', key, ...stamp, value }] : [{ table: to, op: 'delete', key, ...stamp }];
  if (table === 'endpoints') {
    const endpoint = stored as Stored<'endpoints'> | undefined;
    const { spec } = endpoint ?? {};
    const [address, addressV6] = spec?.addresses ?? [];
    const { network, mac, service, weight, sandbox } = spec ?? {};
    const hostname = agent.store.wish.sandboxes.get(sandbox ?? '')?.spec.hostname;
    const aliases = spec && [...new Set([...(hostname === undefined ? [] : [hostname]), ...spec.aliases])];
    // What is drained or unhealthy here is so everywhere.
    const state = endpoint && stateOf(endpoint);
    const value = { network, address, addressV6, mac, vtep, service, state, weight, aliases, sandbox };
    return row('peers', `${name}/${id}`, value);
  }
  if (table === 'networks' || table === 'services') return row(table, id, stored?.spec);
  return table === 'nodes' && id === name ? row('nodes', id, stored?.spec) : [];
}
