import { patient } from '../support/lab.js';
import { appAddress, ingressAddress, type MeshLab, type NodeNumber, TARGET } from '../support/mesh-lab.js';
import type { Traffic } from '../support/traffic-port.js';
import type { Wrk } from '../support/wrk.js';
import { ControlPlane } from './control-plane.js';
import { type Breach, Judge } from './judge.js';
import type { Random } from './random.js';
import { load } from './services-load.js';
import { PLAIN } from './services-ports.js';
import { alive, type Cluster } from './soak.js';

/*
 * The mesh of the kernel tests under load. Backend b1 of service web stays; those of MOVING come and go while web is called
 * from everywhere. Around it services and backends that nobody calls change without any order (services-noise.ts).
 */

/** Backends of web that move: their nodes and the last byte of their addresses. Nodes 2 and 3 may die. */
export const MOVING = {
  b2: { node: 1, host: 22 },
  b3: { node: 2, host: 23 },
  f2: { node: 2, host: 24 },
  f3: { node: 3, host: 25 },
} as const satisfies Record<string, { node: NodeNumber; host: number }>;
export type Moving = keyof typeof MOVING;
const MOVING_NAMES = Object.keys(MOVING) as Moving[];

export const WAIT = `wait=applied&timeoutMs=${patient(60_000)}`;

export type Row = Record<string, unknown>;
export type Out = 'unhealthy' | 'disconnected' | 'drained';

export interface Services extends Cluster {
  mesh: MeshLab;
  judge: Judge;
  /** Clients, each in a namespace of its own. */
  callers: Traffic[];
  wrks: Wrk[];
  balancer: 'nft' | 'ipvs';
  /** What service web asks for, besides its VIPs. */
  web: Row;
  /** Backends of web that are taken away, and how. */
  out: Map<Moving, Out>;
  /** Backends of the service that is probed that do not answer. */
  ill: Set<string>;
  /** Nodes that are said to be dead. */
  buried: Set<NodeNumber>;
  /** Changes of backends so far. */
  flaps: number;
}

/** A running mesh, with its load. @param gapMs that clients rest between two turns */
export async function servicesWorld(mesh: MeshLab, gapMs: number): Promise<Services> {
  await mesh.network();
  await mesh.up();
  const { lab } = mesh;
  const { balancer } = await mesh.api(1).get<{ balancer: 'nft' | 'ipvs' }>('/v1/status');
  const soak: Services = {
    ...{ lab, mesh, plane: new ControlPlane(lab.nodes), dead: new Set<number>(), balancer, web: { publish: PLAIN } },
    ...{ judge: new Judge(), callers: [], wrks: [], out: new Map(), ill: new Set(), buried: new Set(), flaps: 0 },
  };
  for (const name of ['f2', 'f3'] as const) {
    const { node } = MOVING[name];
    await mesh.wish(node, { sandboxes: { [name]: {} }, endpoints: endpointsOf(name) });
    await server(soak, name).serve(TARGET);
  }
  for (const node of lab.nodes) soak.plane.hear(node);
  await tellAll(soak);
  await load(soak, gapMs);
  return soak;
}

/** The process that serves in a backend. */
export const server = ({ mesh }: Services, name: Moving): Traffic =>
  mesh.traffic(name, mesh.pin(MOVING[name].node, name));

/** States service web with these changes, on all nodes; all agents have to run. */
export async function changeWeb(soak: Services, changes: Row): Promise<void> {
  soak.web = { ...soak.web, ...changes };
  await soak.mesh.service(soak.web);
}

const endpointsOf = (name: Moving, changes: Row = {}): Record<string, Row> => {
  const { host } = MOVING[name];
  return {
    [`${name}:app`]: { addresses: [appAddress(host, 4), appAddress(host, 6)], service: 'web', ...changes },
    [`${name}:ingress`]: { addresses: [ingressAddress(host, 4), ingressAddress(host, 6)], service: 'web', ...changes },
  };
};

/** Changes a backend of web at its node; the others hear of it by gossip, whenever that comes. @param wait or `WAIT` */
export async function change({ mesh }: Services, name: Moving, changes: Row, wait = ''): Promise<void> {
  const endpoints = endpointsOf(name, changes);
  await mesh.api(MOVING[name].node).put(`/v1/wish?prune=false&${wait}`, { endpoints });
}

export const idsOf = (name: Moving): string[] => Object.keys(endpointsOf(name));

export async function disconnect({ mesh }: Services, name: Moving): Promise<void> {
  for (const id of idsOf(name))
    await mesh.api(MOVING[name].node).delete(`/v1/endpoints/${encodeURIComponent(id)}?${WAIT}`);
}

/** One that is there, where every agent runs: what is said then reaches all nodes in this step. */
export const anyWhenAllRun = (soak: Services, random: Random): Moving | undefined =>
  soak.dead.size > 0 ? undefined : anyMoving(soak, random, 'in');

/** One of the backends that move, whose agent runs; `is` says whether it is to be there or taken away. */
export function anyMoving({ dead, out }: Services, random: Random, is: 'in' | 'out'): Moving | undefined {
  return random.pick(MOVING_NAMES.filter((name) => !dead.has(MOVING[name].node) && out.has(name) === (is === 'out')));
}

export const movingOn = (node: NodeNumber): Moving[] => MOVING_NAMES.filter((name) => MOVING[name].node === node);

/** Every node knows all that every other has to say, and its kernel shows it. All agents have to run. */
export async function tellAll(soak: Services): Promise<void> {
  for (const node of soak.lab.nodes) await soak.plane.snapshot(node, alive(soak));
}

/**
 * Breaks connections. The time in which they may break ends when the clients have been heard: what was answered before is
 * by then taken by them as such, however slow the machine is.
 */
export async function breaks(soak: Services, breach: Breach, change: () => Promise<void>): Promise<void> {
  await soak.judge.during(breach, async () => {
    await change();
    await turn(soak);
  });
}

/** Waits until no exchange is under way any more that was before. */
export async function turn({ callers }: Services): Promise<void> {
  await Promise.all(callers.map((caller) => caller.turn()));
}
