import { WeftError } from '../base/errors.js';
import { portsOfSandbox, spanOf } from '../model/published.js';
import type { Stored } from '../model/registry.js';
import { parseWith } from '../model/scalars.js';
import { type HostPort, hostPortSpec, sandboxPortBody } from '../model/service.js';
import { missing } from '../state/check.js';
import type { AgentPort } from './agent.js';
import { flagParam, ifMatch, jsonBody, type Reply, type Request } from './http.js';
import { putObject } from './objects.js';
import type { Route } from './router.js';
import { WAIT, waitIfAsked } from './wait.js';

const PATH = '/v1/sandboxes/:id/ports/:proto/:published';

/** Ports of one sandbox, one by one; they are `ports` of the sandbox's body too. */
export function portRoutes(agent: AgentPort): Route[] {
  return [
    {
      method: 'GET',
      path: '/v1/ports',
      summary: 'published ports, where they lead, and who else listens there on the node',
      run: async (request) => ({ body: await agent.inspect('ports', request.query) }),
    },
    {
      method: 'PUT',
      path: PATH,
      summary: 'publishes a port of the node for a sandbox; `0` for a free one, which the answer names',
      body: 'SandboxPort',
      query: WAIT,
      run: (request) => publish(agent, request),
    },
    {
      method: 'DELETE',
      path: PATH,
      summary: 'takes a port back: the number, also one that was chosen, or the first of a range',
      query: { ...WAIT, hostIp: 'of which address, where it is published on several' },
      run: (request) => unpublish(agent, request),
    },
  ];
}

async function publish(agent: AgentPort, request: Request): Promise<Reply> {
  const sandbox = sandboxOf(agent, request);
  const body = parseWith(sandboxPortBody, await jsonBody(request), `port of sandbox "${sandbox.id}"`);
  const port = parseWith(hostPortSpec, { ...body, ...named(request) }, `port of sandbox "${sandbox.id}"`);
  const others = sandbox.spec.ports.filter((p) => !isSame(p, port));
  const stored = await write(agent, request, sandbox, [...others, port]);
  const number = numbered(agent, stored).find(({ p }) => isSame(p, port))?.number ?? 0;
  return { body: { id: stored.id, ...port, published: number, revision: stored.revision } };
}

async function unpublish(agent: AgentPort, request: Request): Promise<Reply> {
  const sandbox = sandboxOf(agent, request);
  const { proto, published } = named(request);
  const hostIp = request.query.get('hostIp');
  const found = numbered(agent, sandbox).filter(
    ({ p, number }) => p.proto === proto && number === published && (hostIp === null || p.hostIp === hostIp),
  );
  if (found.length === 0) throw missing('port', `${published}/${proto}" of sandbox "${sandbox.id}`, 'weft port ls');
  if (found.length > 1) {
    const addresses = found.map(({ p }) => p.hostIp ?? 'all').join(', ');
    throw new WeftError(
      'WEFT_INVALID_ARGUMENT',
      `port ${published}/${proto} of sandbox "${sandbox.id}" is published on ${addresses}`,
      'say which: HOSTIP:PORT',
    );
  }
  const left = sandbox.spec.ports.filter((p) => p !== found[0]?.p);
  const stored = await write(agent, request, sandbox, left);
  return { body: { id: stored.id, revision: stored.revision } };
}

function sandboxOf(agent: AgentPort, request: Request): Stored<'sandboxes'> {
  const id = request.params.id as string;
  const sandbox = agent.store.get('sandboxes', id);
  if (!sandbox) throw missing('sandbox', id, `weft sandbox create ${id}`);
  return sandbox;
}

/** What the path says; the schema judges it. */
function named(request: Request): { proto: string; published: number } {
  return { proto: request.params.proto as string, published: Number(request.params.published) };
}

/** One number on one address is one port; of those left to the node there is one for each target. */
const isSame = (a: HostPort, b: HostPort): boolean =>
  a.proto === b.proto &&
  a.published === b.published &&
  a.hostIp === b.hostIp &&
  (a.published > 0 || a.target === b.target);

function numbered(agent: AgentPort, { id, spec }: Stored<'sandboxes'>): { p: HostPort; number: number | undefined }[] {
  const ports = portsOfSandbox(id, spec.ports);
  return spec.ports.map((p, i) => ({
    p,
    number: spanOf(ports[i] as (typeof ports)[number], (name) => agent.store.chosenPort(name))?.from,
  }));
}

async function write(
  agent: AgentPort,
  request: Request,
  sandbox: Stored<'sandboxes'>,
  ports: readonly HostPort[],
): Promise<Stored<'sandboxes'>> {
  // The ports of the revision that was read are changed, whoever else is about it.
  const options = { ifMatch: ifMatch(request) ?? sandbox.revision, dryRun: flagParam(request, 'dryRun') };
  const { stored } = await putObject(agent, 'sandboxes', sandbox.id, { ...sandbox.spec, ports }, options);
  if (!options.dryRun) await waitIfAsked(agent, request, [sandbox], stored.revision);
  return stored;
}
