import { setTimeout as sleep } from 'node:timers/promises';
import { drainBody } from '../model/drain.js';
import { parseWith } from '../model/scalars.js';
import { servicesOf } from '../model/serving.js';
import { type Backend, backendsNamed } from '../state/drain.js';
import type { AgentPort } from './agent.js';
import { jsonBody, type Reply, type Request } from './http.js';
import type { Route } from './router.js';

/** Between two counts, milliseconds; where one takes long, ten times as long. */
const POLL_MS = 100;
const REST = 10;
/** Who says that none is left has found none twice: one that is half open counts when it is established, at the next look. */
const LOOKS = 2;
/** How long undrain waits when not told, milliseconds. */
const UNDRAIN_MS = 10_000;

/** Backends are taken out of balancing and let back. */
export function drainRoutes(agent: AgentPort): Route[] {
  return [
    {
      method: 'POST',
      path: '/v1/drain',
      summary: 'takes backends out of balancing; answers when no connection of this node is left, or how many are',
      body: 'Drain',
      run: (request) => drain(agent, request),
    },
    {
      method: 'POST',
      path: '/v1/undrain',
      summary: 'lets backends back into balancing; answers when the kernel shows it',
      body: 'Drain',
      run: (request) => undrain(agent, request),
    },
  ];
}

async function drain(agent: AgentPort, request: Request): Promise<Reply> {
  const { timeoutMs, ...target } = parseWith(drainBody, await jsonBody(request), 'drain');
  const { store } = agent;
  const backends = backendsNamed(store.wish, store.self.name, target);
  const until = Date.now() + (timeoutMs ?? drainOf(agent, backends, target.service));
  store.drain(backends, { until }, target.service);
  const isApplied = applied(agent);
  let left = 0;
  for (let none = 0; ; ) {
    // Counted before, connections may have come since.
    const counts = isApplied();
    const began = Date.now();
    left = await agent.connections(backends, target.service);
    none = counts && left === 0 ? none + 1 : 0;
    if (none === LOOKS || !(await rest(request, until, REST * (Date.now() - began)))) break;
  }
  return answer(agent, backends, isApplied(), { left, until: new Date(until).toISOString() });
}

async function undrain(agent: AgentPort, request: Request): Promise<Reply> {
  const { timeoutMs = UNDRAIN_MS, ...target } = parseWith(drainBody, await jsonBody(request), 'undrain');
  const { store } = agent;
  const backends = backendsNamed(store.wish, store.self.name, target);
  const until = Date.now() + timeoutMs;
  store.drain(backends, undefined, target.service);
  const isApplied = applied(agent);
  while (!isApplied() && (await rest(request, until, POLL_MS)));
  return answer(agent, backends, isApplied());
}

/** The time that the services give their connections, milliseconds. */
function drainOf({ store }: AgentPort, backends: readonly Backend[], service?: string): number {
  const services = service === undefined ? backends.flatMap(({ spec }) => servicesOf(spec)) : [service];
  const seconds = services.map((id) => store.get('services', id)?.spec.drain ?? 0);
  return 1000 * Math.max(0, ...seconds);
}

/** Does the kernel show the wish as it is now? */
function applied({ store, loop }: AgentPort): () => boolean {
  const { revision } = store;
  return () => loop.isApplied(revision);
}

/** Waits some time. @returns false where there is none left, or nobody listens any more */
async function rest({ raw }: Request, until: number, ms: number): Promise<boolean> {
  const left = until - Date.now();
  if (left <= 0 || raw.socket.destroyed) return false;
  await sleep(Math.min(left, Math.max(POLL_MS, ms)));
  return true;
}

function answer({ store }: AgentPort, backends: readonly Backend[], isApplied: boolean, more: object = {}): Reply {
  const ids = backends.map(({ id }) => id);
  return { body: { revision: store.revision, applied: isApplied, backends: ids, ...more } };
}
