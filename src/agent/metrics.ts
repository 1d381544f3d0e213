import { readdirSync, readFileSync } from 'node:fs';
import type { ServiceStats } from '../api/agent.js';

import { exposition, histogramSamples, type Metric, type Sample } from '../api/exposition.js';
import type { Status as ResolverStatus } from '../dns/protocol.js';
import { BOUNDS, OTHERS, WAYS } from '../dns/tally.js';

import { type FlowMemory, flowMemories } from './flow-memory.js';

import { guardState } from './guard-state.js';
import { type StatusBook, TABLES } from './status.js';

/** Columns of a service's and a backend's stats: key, what it is called, and its type. */
const COUNTED = [
  ['packets', 'packets_total', 'counter', 'Packets sent towards'],
  ['bytes', 'bytes_total', 'counter', 'Bytes of IP packets sent towards'],
  ['connections', 'connections_total', 'counter', 'Flows given to'],
  ['active', 'active_connections', 'gauge', 'Established TCP connections to'],
  ['inactive', 'inactive_connections', 'gauge', 'Other flows remembered (half open, closing, UDP) to'],
] as const;

/** The text of `GET /metrics`. Names and units follow Prometheus's conventions. */
export async function metricsText(stats: readonly ServiceStats[], status: StatusBook): Promise<string> {
  const { startedAt, names } = status.parts;
  const dns = await names.resolver.counts();
  return exposition([
    ...balanced(stats),
    ...(await agentMetrics(status)),
    ...(dns ? resolverMetrics(dns) : []),
    ...processMetrics(startedAt),
  ]);
}

const one = (name: string, type: Metric['type'], help: string, value: number, labels = {}): Metric => {
  return { name: `weft_${name}`, type, help, samples: [{ labels, value }] };
};

async function agentMetrics(status: StatusBook): Promise<Metric[]> {
  const { options, store, loop, spaces, underlay, chosen } = status.parts;
  const { balancer, nftInet } = chosen();
  const guard = await guardState(spaces, nftInet);
  const paths = underlay.summary();
  const { passes, operations, drifts } = loop.counters;
  const rows = TABLES.map((table) => ({ labels: { table }, value: store.wish[table].size }));
  return [
    one('agent', 'gauge', 'The agent: always 1.', 1, { node: options.node, balancer: balancer.name }),
    { name: 'weft_objects', type: 'gauge', help: 'Objects of the wish.', samples: rows },
    one('revision', 'gauge', 'Revision of the wish.', store.revision),
    one(
      'applied_revision',
      'gauge',
      'Revision that a pass has come to; what failed on the way is in the status.',
      loop.appliedRevision,
    ),
    one('passes_total', 'counter', 'Passes over the kernel.', passes),
    one('operations_total', 'counter', 'Changes of kernel objects that passes made.', operations),
    one('drifts_total', 'counter', 'Changes by others that were found and put back.', drifts),
    one(
      'held_objects',
      'gauge',
      'Kernel objects that nothing wishes and that may not be removed yet.',
      loop.held.length,
    ),
    one('troubles', 'gauge', 'What is not as wished.', status.troubles().length),
    ...(guard.on
      ? [one('guard_dropped_packets_total', 'counter', 'Packets dropped at the data path port.', guard.dropped)]
      : []),
    ...memoryMetrics(await flowMemories(spaces, store.wish, balancer)),
    one('small_paths', 'gauge', 'Paths to other nodes that carry less than their route says.', paths.small.length),
    one('silent_paths', 'gauge', 'Nodes whose agent does not answer the path probe.', paths.silent.length),
  ];
}

function memoryMetrics(memories: readonly FlowMemory[]): Metric[] {
  const of = (key: 'entries' | 'limit' | 'unremembered') =>
    memories.flatMap(({ network, ...memory }: FlowMemory & Partial<Record<typeof key, number>>) => {
      const value = memory[key];
      return value === undefined ? [] : [{ labels: { network }, value }];
    });
  return [
    { name: 'weft_flow_entries', type: 'gauge', help: 'Flows that are tracked in a network.', samples: of('entries') },
    { name: 'weft_flow_limit', type: 'gauge', help: 'How many can be.', samples: of('limit') },
    {
      name: 'weft_unremembered_packets_total',
      type: 'counter',
      help: 'Packets of new flows for which the flow memory of a network had no room.',
      samples: of('unremembered'),
    },
  ];
}

function resolverMetrics({ counters, tally }: Pick<ResolverStatus, 'counters' | 'tally'>): Metric[] {
  const { udp, tcp, ...outcomes } = counters;
  const by = (label: string, values: Record<string, number>) =>
    Object.entries(values).map(([name, value]) => ({ labels: { [label]: name }, value }));
  return [
    {
      name: 'weft_resolver_queries_total',
      type: 'counter',
      help: 'Queries of sandboxes to the resolver.',
      samples: by('transport', { udp, tcp }),
    },
    {
      name: 'weft_resolver_outcomes_total',
      type: 'counter',
      help: 'What became of them.',
      samples: by('outcome', outcomes),
    },
    {
      name: 'weft_resolver_sandbox_queries_total',
      type: 'counter',
      help: 'Queries of a sandbox, by what became of them; of sandboxes beyond the thousandth together, without a name.',
      samples: Object.entries(tally.sandboxes).flatMap(([sandbox, counts]) =>
        Object.entries(counts).map(([outcome, value]) => ({
          labels: { ...(sandbox !== OTHERS && { sandbox }), outcome },
          value,
        })),
      ),
    },
    {
      name: 'weft_resolver_seconds',
      type: 'histogram',
      help: 'From the reading of a query to its answer, but for repeated ones that are answered in microseconds.',
      samples: WAYS.flatMap((way) => histogramSamples({ way }, BOUNDS, tally.ways[way])),
    },
  ];
}

/** By service, and by backend. A backend that nothing was ever sent to is left out: most of 100,000 may be such. */
function balanced(stats: readonly ServiceStats[]): Metric[] {
  const backends = stats.flatMap(({ service, backends }) =>
    backends.map((b) => ({ counts: b, labels: { service, network: b.network, backend: b.backend } })),
  );
  const used = backends.filter(({ counts }) => COUNTED.some(([key]) => counts[key] > 0));
  return COUNTED.flatMap(([key, name, type, help]): Metric[] => {
    const samples: Sample[] = stats.map((s) => ({ labels: { service: s.service }, value: s[key] }));
    const each: Sample[] = used.map(({ labels, counts }) => ({ labels, value: counts[key] }));
    return [
      { name: `weft_service_${name}`, type, help: `${help} a service, by this node.`, samples },
      { name: `weft_backend_${name}`, type, help: `${help} a backend of a service, by this node.`, samples: each },
    ];
  });
}

/** Names that Prometheus's own client libraries have for the process. */
function processMetrics(startedAt: number): Metric[] {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  const own = (name: string, type: Metric['type'], help: string, value: number): Metric => {
    return { name, type, help, samples: [{ value }] };
  };
  return [
    own('process_cpu_seconds_total', 'counter', 'CPU time of the agent, user and system.', (user + system) / 1e6),
    own('process_resident_memory_bytes', 'gauge', 'Resident memory of the agent.', rss),
    own('process_start_time_seconds', 'gauge', 'When the agent started, since the epoch.', startedAt / 1000),
    own('process_open_fds', 'gauge', 'Open file descriptors of the agent.', readdirSync('/proc/self/fd').length),
    own('process_max_fds', 'gauge', 'File descriptors that the agent may open.', maxDescriptors()),
    own('nodejs_heap_size_used_bytes', 'gauge', 'Memory in use in the heap of the agent.', heapUsed),
  ];
}

/** The soft limit; `unlimited` is no number, and infinite. */
function maxDescriptors(): number {
  const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  return soft === undefined ? Number.MAX_SAFE_INTEGER : Number(soft);
}
