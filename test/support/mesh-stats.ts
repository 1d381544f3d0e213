import type { Test } from 'tap';
import type { ServiceStats } from '../../src/api/agent.js';
import type { Family } from '../../src/base/ip.js';
import { withPort } from '../../src/base/ip.js';
import { patient, until } from './lab.js';
import { appAddress, METRICS_PORT, type MeshLab, REPLICA_NAMES, REPLICAS, TARGET, VIP } from './mesh-lab.js';

/** A node with no replica: what its balancer counts on network app is what its container sends. */
const NODE = 3;
type Sent = Record<'packets' | 'bytes' | 'connections', number>;

const sum = (rows: readonly Sent[]): Sent => ({
  packets: rows.reduce((n, row) => n + row.packets, 0),
  bytes: rows.reduce((n, row) => n + row.bytes, 0),
  connections: rows.reduce((n, row) => n + row.connections, 0),
});

async function web(lab: MeshLab): Promise<ServiceStats> {
  const { items } = await lab.api(NODE).get<{ items: ServiceStats[] }>('/v1/stats?service=web');
  return items[0] as ServiceStats;
}

const ofBackend = (stats: ServiceStats, ip: string) =>
  stats.backends.find(({ network, backend }) => network === 'app' && backend === ip);

/** What the kernel has counted towards backends on network app, told by programs that are not ours. */
function witnessed(lab: MeshLab, of: Family): Sent {
  const ns = lab.pin(NODE, 'net-app');
  if (lab.lb === 'ipvs') {
    const rows = lab.sh(ns, 'ipvsadm -Ln --stats --exact').split('\n');
    const servers = rows.filter((row) => REPLICA_NAMES.some((name) => row.includes(serverText(name, of))));
    return sum(
      servers.map((row) => {
        const [connections, packets, , bytes] = row.trim().split(/\s+/).slice(2).map(Number) as [
          number,
          number,
          number,
          number,
        ];
        return { connections, packets, bytes };
      }),
    );
  }
  const counters = (map: string) =>
    [...lab.sh(ns, `nft list map bridge weft ${map}${of}`).matchAll(/counter packets (\d+) bytes (\d+)/g)].map(
      ([, packets, bytes]) => ({ packets: Number(packets), bytes: Number(bytes), connections: 0 }),
    );
  const begun = [...lab.sh(ns, `nft list set bridge weft begun${of}`).matchAll(/counter packets (\d+)/g)];
  const connections = begun.reduce((n, [, packets]) => n + Number(packets), 0);
  return { ...sum([...counters('live'), ...counters('drain')]), connections };
}

const serverText = (name: (typeof REPLICA_NAMES)[number], of: Family): string =>
  `-> ${withPort(appAddress(REPLICAS[name].host, of), 0)} `;

/** `GET path` by curl: over the socket, or of a URL. */
const curl = (lab: MeshLab, args: string): string => lab.sh(lab.netns(NODE), `curl -sSf ${args}`);

/** A service's and its backends' counts, by both balancers; three replicas are active before and after. */
export async function countsWhatItSends(t: Test, lab: MeshLab, of: Family): Promise<void> {
  const caller = lab.container(NODE);
  const before = await web(lab);
  for (const proto of ['tcp', 'udp'] as const) await caller.ask(proto, VIP[of], TARGET, 30);
  // IPVS brings its counters up to date every two seconds, and last packets of closed connections may be on their way.
  const settled = async () => {
    const stats = await web(lab);
    const ours = sum(stats.backends.filter(({ network }) => network === 'app'));
    const same = JSON.stringify(ours) === JSON.stringify(witnessed(lab, of));
    return same && stats.connections - before.connections === 60;
  };
  await until('each flow is a connection, and the kernel’s own listing has the same', settled, patient(10_000));
  const after = await web(lab);
  for (const name of REPLICA_NAMES) {
    const ip = appAddress(REPLICAS[name].host, of);
    const [was, is] = [ofBackend(before, ip), ofBackend(after, ip)];
    t.equal((is?.connections ?? 0) - (was?.connections ?? 0), 20, `${name} got a third of them`);
    t.ok((is?.packets ?? 0) - (was?.packets ?? 0) >= 60, `${name}: ${is?.packets} packets`);
  }
  await caller.open('counted', 'tcp', VIP[of], TARGET);
  await caller.say('counted');
  const active = async () => {
    const stats = await web(lab);
    return stats.active > before.active && stats.connections === after.connections + 1;
  };
  await until('an established connection is active', active, patient(10_000));
  await caller.close('counted');
  const ended = async () => (await web(lab)).active <= before.active;
  if (lab.lb === 'ipvs') await until('a closed one is not', ended, patient(10_000));
  await comesAndGoes(t, lab, of);
  scrapes(t, lab);
}

/** What a backend had is in its service's total when it has gone; an agent that restarts finds what the kernel kept. */
async function comesAndGoes(t: Test, lab: MeshLab, of: Family): Promise<void> {
  const ip = appAddress(REPLICAS.b2.host, of);
  const before = await web(lab);
  await lab.change('b2', { state: 'draining' });
  const draining = await web(lab);
  t.equal(ofBackend(draining, ip)?.state, 'draining');
  await lab.disconnect('b2');
  const gone = await web(lab);
  t.equal(ofBackend(gone, ip), undefined, 'it is no backend any more');
  await lab.change('b2', {});
  const back = await web(lab);
  for (const [what, stats] of Object.entries({ draining, gone, back })) {
    t.equal(stats.connections, before.connections, `${what}: no connection is forgotten`);
    t.ok(stats.packets >= before.packets, `${what}: no packet is: ${stats.packets} of ${before.packets}`);
  }
  await lab.lab.node(NODE).restart();
  const { backends } = await web(lab);
  const theirs = witnessed(lab, of);
  const ours = sum(backends.filter(({ network }) => network === 'app'));
  t.equal(ours.connections, theirs.connections, 'a restart takes over the counters that are there');
  t.ok(ours.connections >= 40, 'those of the replicas that stayed');
  t.same((await lab.api(NODE).get<{ operations: unknown[] }>('/v1/plan')).operations, [], 'counters are no drift');
}

function scrapes(t: Test, lab: MeshLab): void {
  const { socket } = lab.lab.node(NODE);
  const bySocket = curl(lab, `--unix-socket ${socket} http://weft/metrics`);
  const byPort = curl(lab, `http://127.0.0.1:${METRICS_PORT}/metrics`);
  for (const text of [bySocket, byPort]) {
    t.match(text, /^weft_service_connections_total\{service="web"\} [1-9]\d*$/m);
    t.match(text, /^weft_backend_packets_total\{service="web",network="app",backend="[^"]+"\} [1-9]\d*$/m);
    t.match(text, /^weft_objects\{table="services"\} 1$/m);
    t.match(text, /^weft_passes_total [1-9]\d*$/m);
    t.match(text, /^process_cpu_seconds_total [\d.]+$/m);
  }
  t.throws(() => curl(lab, `http://127.0.0.1:${METRICS_PORT}/v1/status`), /404/, 'the port serves nothing else');
}
