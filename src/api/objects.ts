import { WeftError } from '../base/errors.js';
import { BODIES, SINGULAR, type Stored, TABLES, type Table } from '../model/registry.js';
import { missing } from '../state/check.js';
import type { AgentPort } from './agent.js';
import { flagParam, ifMatch, jsonBody, type Reply, type Request } from './http.js';
import { networkCounts, networkDetail } from './network-view.js';
import type { Route } from './router.js';
import { withPorts } from './taken.js';
import { type Named, WAIT, waitIfAsked } from './wait.js';

/** An object as the API shows it. @param whole with what only a look at this one object shows */
export function shown(agent: AgentPort, stored: Stored, whole: boolean): Record<string, unknown> {
  const { id, origin, revision, spec, node, ltime } = stored;
  const row = { ...(node && { node }), ...(ltime !== undefined && { ltime }) };
  return { id, ...spec, ...extras(agent, stored, whole), origin, revision, ...row, status: agent.statusOf(stored) };
}

function extras(agent: AgentPort, stored: Stored, whole: boolean): Record<string, unknown> {
  if (stored.table === 'sandboxes') return { location: agent.locationOf(stored.id) };
  if (stored.table === 'endpoints') {
    const health = agent.healthOf(stored as Stored<'endpoints'>);
    return health ? { health } : {};
  }
  if (stored.table !== 'networks') return {};
  const view = whole ? networkDetail : networkCounts;
  return view(agent.store.wish, stored as Stored<'networks'>);
}

/** GET, PUT and DELETE for every table. */
export function objectRoutes(agent: AgentPort): Route[] {
  return TABLES.flatMap((table) => [
    { method: 'GET', path: `/v1/${table}`, summary: `lists ${table}`, run: () => list(agent, table) },
    { method: 'GET', path: `/v1/${table}/:id`, summary: `shows one of ${table}`, run: (r) => one(agent, table, r) },
    {
      method: 'PUT',
      path: `/v1/${table}/:id`,
      summary: `creates or changes one of ${table}`,
      body: BODIES[table].meta()?.id ?? SINGULAR[table],
      query: WAIT,
      run: (r) => put(agent, table, r),
    },
    {
      method: 'DELETE',
      path: `/v1/${table}/:id`,
      summary: `removes one of ${table}`,
      query: WAIT,
      run: (r) => remove(agent, table, r),
    },
  ]);
}

function list(agent: AgentPort, table: Table): Reply {
  const rows = [...(agent.store.wish[table].values() as Iterable<Stored>)].map((stored) => shown(agent, stored, false));
  return { body: { revision: agent.store.revision, items: rows } };
}

function one(agent: AgentPort, table: Table, request: Request): Reply {
  const id = request.params.id as string;
  const stored = agent.store.get(table, id) as Stored | undefined;
  if (!stored) throw missing(SINGULAR[table], id, `weft ${SINGULAR[table]} ls`);
  return { body: shown(agent, stored, true), headers: { etag: `"${stored.revision}"` } };
}

async function put(agent: AgentPort, table: Table, request: Request): Promise<Reply> {
  const id = request.params.id as string;
  const body = await jsonBody(request);
  const options = { ifMatch: ifMatch(request), dryRun: flagParam(request, 'dryRun') };
  const surroundings = table === 'networks' && { surroundings: await agent.surroundings() };
  const { stored, created } = await putObject(agent, table, id, body, { ...options, ...surroundings });
  if (!options.dryRun) await waitIfAsked(agent, request, [{ table, id }], stored.revision);
  const reply = shown(agent, stored as Stored, true);
  return { status: created ? 201 : 200, body: reply, headers: { etag: `"${stored.revision}"` } };
}

/** Puts one object; ports that it publishes are this node's before it is there. */
export async function putObject<T extends Table>(
  agent: AgentPort,
  table: T,
  id: string,
  body: unknown,
  options: Parameters<AgentPort['store']['put']>[3],
): Promise<{ stored: Stored<T>; created: boolean }> {
  if (!mayPublish(table, body)) return agent.store.put(table, id, body, options);
  const change = () => {
    const { stored } = agent.store.put(table, id, body, { ...options, dryRun: true });
    return [{ table, id, stored: stored as Stored }];
  };
  return withPorts(agent, change, () => agent.store.put(table, id, body, options));
}

/** Before it is parsed: saves preparing every endpoint twice. */
function mayPublish(table: Table, body: unknown): boolean {
  const { publish, ports, service } = (body ?? {}) as Record<string, unknown>;
  return { services: publish, sandboxes: ports, endpoints: service }[table as string] !== undefined;
}

async function remove(agent: AgentPort, table: Table, request: Request): Promise<Reply> {
  const id = request.params.id as string;
  const dryRun = flagParam(request, 'dryRun');
  agent.store.remove(table, id, { ifMatch: ifMatch(request), dryRun });
  if (!dryRun) await waitIfAsked(agent, request);
  return { body: { id, revision: agent.store.revision } };
}

/** Routes that take or give the wish as a whole. */
export function wishRoutes(agent: AgentPort): Route[] {
  return [
    {
      method: 'PUT',
      path: '/v1/wish',
      summary: 'states the whole desired state of this node; what it leaves out goes',
      query: { ...WAIT, prune: '`false` keeps what the body leaves out' },
      run: async (request) => {
        const bodies = wishBodies(await jsonBody(request));
        const prune = request.query.get('prune') !== 'false';
        const dryRun = flagParam(request, 'dryRun');
        const surroundings = await agent.surroundings();
        const change = () => agent.store.replace(bodies, { prune, dryRun: true, surroundings });
        const commit = () => agent.store.replace(bodies, { prune, dryRun, surroundings });
        const mutations = await withPorts(agent, change, commit);
        if (!dryRun) await waitIfAsked(agent, request, named(bodies));
        const changes = mutations.map((m) => ({
          verb: m.stored ? 'put' : 'remove',
          object: `${SINGULAR[m.table]}/${m.id}`,
        }));
        return { body: { revision: agent.store.revision, changes } };
      },
    },
    {
      method: 'GET',
      path: '/v1/export',
      summary: 'the api objects of this node in the form that PUT /v1/wish takes',
      run: () => ({ body: exported(agent) }),
    },
  ];
}

function wishBodies(body: unknown): Partial<Record<Table, Record<string, unknown>>> {
  if (body === null || typeof body !== 'object' || Array.isArray(body)) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', 'a wish is an object of tables', `tables are ${TABLES.join(', ')}`);
  }
  for (const [table, rows] of Object.entries(body)) {
    if (!(TABLES as string[]).includes(table)) {
      throw new WeftError(
        'WEFT_INVALID_ARGUMENT',
        `the wish has an unknown table "${table}"`,
        `tables are ${TABLES.join(', ')}`,
      );
    }
    if (rows === null || typeof rows !== 'object' || Array.isArray(rows)) {
      throw new WeftError('WEFT_INVALID_ARGUMENT', `table "${table}" is not an object of bodies by id`);
    }
  }
  return body as Partial<Record<Table, Record<string, unknown>>>;
}

const named = (bodies: ReturnType<typeof wishBodies>): Named[] =>
  TABLES.flatMap((table) => Object.keys(bodies[table] ?? {}).map((id) => ({ table, id })));

function exported(agent: AgentPort): Record<string, Record<string, unknown>> {
  const out: Record<string, Record<string, unknown>> = {};
  for (const table of TABLES) {
    for (const stored of agent.store.wish[table].values() as Iterable<Stored>) {
      if (stored.origin !== 'api') continue;
      out[table] ??= {};
      out[table][stored.id] = bodyOf(stored);
    }
  }
  return out;
}

/** The PUT body that gives this spec. */
function bodyOf(stored: Stored): unknown {
  if (stored.table !== 'endpoints') return stored.spec;
  const { sandbox: _sandbox, network: _network, ifname, mac, ...body } = (stored as Stored<'endpoints'>).spec;
  // Networks of drivers that make no interface have none.
  return ifname === '' ? body : { ...body, ifname, mac };
}
