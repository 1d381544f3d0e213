import { patient, until } from '../support/lab.js';
import { TARGET } from '../support/mesh-lab.js';
import type { Random } from './random.js';
import { probedIdsOf } from './services-health.js';
import {
  anyWhenAllRun,
  breaks,
  change,
  disconnect,
  idsOf,
  MOVING,
  type Moving,
  movingOn,
  type Services,
  server,
  tellAll,
  turn,
  WAIT,
} from './services-world.js';
import type { Operation } from './soak.js';

interface Drained {
  left: number;
  applied: boolean;
  backends: string[];
}

/** How long connections may take to leave; nothing is cut in a run that is as it should be. */
const LEAVE_MS = patient(30_000);
/**
 * A drain begins before its clients are told to leave, and counts connections that are half open in the balancer's eyes for as
 * long as it remembers them.
 */
const DRAIN_MS = 4 * LEAVE_MS;

/** As a rolling update does: no new connections first, then those that began before are through; then it may go. */
async function drained(soak: Services, random: Random) {
  const name = anyWhenAllRun(soak, random);
  if (!name) return undefined;
  await change(soak, name, { state: 'draining' }, WAIT);
  await tellAll(soak);
  await turn(soak);
  return name;
}

/** Backends of the service that is called are taken away, in all ways there are. */
export const REMOVAL_OPERATIONS: readonly Operation<Services>[] = [
  {
    name: 'retire',
    weight: 3,
    async run(soak, random) {
      const name = await drained(soak, random);
      if (!name) return undefined;
      const how = random.chance(0.5) ? 'unhealthy' : 'disconnected';
      const remove = async () => {
        await (how === 'unhealthy' ? change(soak, name, { state: how }, WAIT) : disconnect(soak, name));
        await tellAll(soak);
      };
      const asks = random.chance(0.5);
      if (asks) {
        await emptied(soak, name);
        await remove();
      } else {
        await breaks(soak, { backends: [name] }, remove);
      }
      return goes(soak, name, how, asks ? 'after its clients' : 'with what they have');
    },
  },
  {
    name: 'drain',
    weight: 3,
    async run(soak, random) {
      const name = anyWhenAllRun(soak, random);
      if (!name) return undefined;
      const { node } = MOVING[name];
      // Node 1 has the backend that stays.
      const names = node > 1 && random.chance(0.3) ? movingOn(node).filter((each) => !soak.out.has(each)) : [name];
      const targets = names.length > 1 ? [{ node: `n${node}` }] : idsOf(name).map((endpoint) => ({ endpoint }));
      const asked = targets.map((target) => post(soak, name, '/v1/drain', { ...target, timeoutMs: DRAIN_MS }));
      for (const each of names) await until(`${each} drains`, () => is(soak, each, 'draining'), 20_000);
      await tellAll(soak);
      await turn(soak);
      for (const each of names) await emptied(soak, each);
      for (const { left, applied } of await Promise.all(asked))
        if (left > 0 || !applied) throw new Error(`${left} connections are left where there are none, ${applied}`);
      for (const each of names) goes(soak, each, 'drained', '');
      return `${names} as ${JSON.stringify(targets)}`;
    },
  },
  {
    name: 'deadline',
    weight: 1,
    async run(soak, random) {
      const name = await drained(soak, random);
      if (!name) return undefined;
      const timeoutMs = random.int(300);
      await breaks(soak, { backends: [name] }, async () => {
        await Promise.all(idsOf(name).map((endpoint) => post(soak, name, '/v1/drain', { endpoint, timeoutMs })));
        await until(`the time of ${name} is up`, () => is(soak, name, 'over'), 20_000);
        await tellAll(soak);
      });
      return goes(soak, name, 'drained', `for ${timeoutMs} ms, then cut`);
    },
  },
];

/** What is drained takes connections again, as far as the operator has a say. */
export async function undrain(soak: Services, name: Moving): Promise<void> {
  for (const endpoint of [...idsOf(name), ...probedIdsOf(name)]) {
    const { applied } = await post(soak, name, '/v1/undrain', { endpoint, timeoutMs: LEAVE_MS });
    if (!applied) throw new Error(`undrain of ${endpoint} was not applied`);
  }
}

const post = ({ mesh }: Services, name: Moving, path: string, body: object): Promise<Drained> =>
  mesh.api(MOVING[name].node).post<Drained>(path, JSON.stringify(body));

/** Is a backend drained, or its time up, on both networks? */
async function is({ mesh }: Services, name: Moving, what: 'draining' | 'over'): Promise<boolean> {
  const shown = idsOf(name).map(async (id) => {
    const { status } = await mesh
      .api(MOVING[name].node)
      .get<{ status: { drain?: { over: boolean } } }>(`/v1/endpoints/${encodeURIComponent(id)}`);
    return status.drain !== undefined && (what === 'draining' || status.drain.over);
  });
  return (await Promise.all(shown)).every(Boolean);
}

/** Nobody is sent to it any more: its clients are told to leave, and do. */
async function emptied(soak: Services, name: Moving): Promise<void> {
  const left = await server(soak, name).leave(TARGET, LEAVE_MS);
  if (left > 0) throw new Error(`${left} connections with ${name} are left, all of whose clients were told to leave`);
}

/** It is away, and what it knew of its clients with it. */
function goes(soak: Services, name: Moving, how: 'unhealthy' | 'disconnected' | 'drained', said: string): string {
  void server(soak, name).renew(TARGET);
  soak.out.set(name, how);
  soak.flaps++;
  return `${name}: ${how} ${said}`;
}
