import { withPort } from '../../src/base/ip.js';
import type { LoadReport } from '../support/load.js';
import { together } from '../support/load.js';
import {
  appAddress,
  CLIENT,
  NODES,
  type NodeNumber,
  PUBLISHED,
  REPLICAS,
  TARGET,
  underlay,
  VIP,
} from '../support/mesh-lab.js';
import { Wrk, type WrkRun } from '../support/wrk.js';
import type { Services } from './services-world.js';

/**
 * Everybody calls web, TCP and UDP, in both families: containers beside a backend and without, a backend, a client outside
 * through every node; and wrk, with connections that stay and with one for each request.
 */
export async function load(soak: Services, gapMs: number): Promise<void> {
  const { mesh } = soak;
  const inside = [
    { from: mesh.container(1), host: 11 },
    { from: mesh.container(3), host: 13 },
    { from: mesh.replica('b1'), host: REPLICAS.b1.host },
  ];
  soak.callers.push(...inside.map(({ from }) => from), mesh.outside);
  for (const proto of ['tcp', 'udp'] as const) {
    for (const of of mesh.families) {
      for (const { from, host } of inside)
        await from.load(proto, VIP[of], TARGET, gapMs, { seen: appAddress(host, of) });
      for (const i of NODES) await mesh.outside.load(proto, underlay(i, of), PUBLISHED, gapMs, { seen: CLIENT[of] });
    }
  }
  const byVip = (node: NodeNumber, of: 4 | 6) => ({
    ...{ netns: mesh.pin(node, `c${node}`), seen: appAddress(10 + node, of) },
    url: `http://${withPort(VIP[of], TARGET)}/`,
  });
  const byPort = (node: NodeNumber, of: 4 | 6) => ({
    ...{ netns: mesh.netns('client'), seen: CLIENT[of] },
    url: `http://${withPort(underlay(node, of), PUBLISHED)}/`,
  });
  soak.wrks.push(
    new Wrk('c1, kept', { ...byVip(1, 4), keepAlive: true }),
    new Wrk('c3, each anew', { ...byVip(3, 6), keepAlive: false }),
    new Wrk('through n3, kept', { ...byPort(3, 6), keepAlive: true }),
    new Wrk('through n1, each anew', { ...byPort(1, 4), keepAlive: false }),
  );
}

export interface Seen {
  own: LoadReport;
  wrk: Pick<WrkRun, 'requests' | 'connect' | 'read' | 'write' | 'slow'>;
}

/** What the loads have seen since this was asked last. @throws where a request failed that had not to */
export async function judged(soak: Services, ends: boolean): Promise<Seen> {
  if (ends) await Promise.all(soak.wrks.map((wrk) => wrk.stop()));
  const runs = soak.wrks.flatMap((wrk) => wrk.runs());
  const each = await Promise.all(
    soak.callers.map(async (caller) => ({
      name: caller.name,
      report: await (ends ? caller.relax() : caller.report()),
    })),
  );
  const faults = [
    ...each.flatMap(({ name, report }) => soak.judge.faults(report.failures).map((text) => `${name}: ${text}`)),
    ...runs.flatMap((run) => soak.judge.faultsOf(run).map((text) => `wrk: ${text}`)),
  ];
  if (faults.length > 0) throw new Error(`${faults.length} requests failed:\n  ${faults.slice(0, 30).join('\n  ')}`);
  const sum = (what: keyof Seen['wrk']) => runs.reduce((n, run) => n + run[what], 0);
  return {
    own: together(each.map(({ report }) => report)),
    wrk: {
      ...{ requests: sum('requests'), connect: sum('connect'), read: sum('read'), write: sum('write') },
      slow: sum('slow'),
    },
  };
}

/** How much was asked, and how it went. */
export function inWords(seen: readonly Seen[]): string {
  const tally = JSON.stringify(together(seen.map(({ own }) => own)).tally);
  const sum = (what: keyof Seen['wrk']) => seen.reduce((n, { wrk }) => n + wrk[what], 0);
  const broke = sum('connect') + sum('read') + sum('write');
  return `own ${tally}, wrk ${sum('requests')} requests and ${broke} connections that had to break`;
}
