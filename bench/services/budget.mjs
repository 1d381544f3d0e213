#!/usr/bin/env node
// What a node pays for services: `sudo node bench/services/budget.mjs [budget] [ports]`, after a build. Prints tables; see
// docs/benchmarks.md. A node with 100 sandboxes among 10 or 1,000 services of ten backends, on 2 or 50 nodes; and a node
// that publishes 2, 1,000 or 5,000 ports.
import { setTimeout as sleep } from 'node:timers/promises';
import '../../scripts/system-path.mjs';
import { chooseCpus } from '../cpus.mjs';
import { enclosed } from '../enclosed.mjs';
import { plugHost, plugSwitch } from '../lab/underlay.mjs';
import { Agent, APPLIED, apiClient } from '../lab/weft.mjs';
import { cpuOf, residentKiB } from '../peers/agents.mjs';
import { machine } from '../report.mjs';
import { interleave, median } from '../rounds.mjs';
import { buildTool, Traffic } from '../traffic.mjs';
import { heard, SANDBOXES, wish } from './cluster.mjs';
import { inNetwork, inNode, inSandbox } from './counts.mjs';
import { portsSides } from './ports.mjs';

const SIZES = [
  [10, 2],
  [10, 50],
  [1000, 2],
  [1000, 50],
];
const PORTS = [2, 1000, 5000];
const ROUNDS = 21;
/** What a load leaves behind is collected by then. */
const REST_MS = 10_000;
const PASSES = 5;

const PARTS = {
  async budget(directory) {
    const ApiClient = await apiClient();
    const columns = [];
    for (const [i, [services, nodes]] of SIZES.entries()) {
      const name = `node${i}`;
      const agent = new Agent(name, plugHost(name, 10 + i), directory, []);
      try {
        await agent.ready(ApiClient);
        columns.push({ services, nodes, ...(await filled(agent, services, nodes)) });
      } finally {
        await agent.stop();
      }
    }
    print(columns);
  },

  async ports(directory) {
    const [{ cpu, other, rest }, ApiClient] = [await chooseCpus(), await apiClient()];
    buildTool();
    plugHost('outside', 200);
    const traffic = new Traffic({ cpu, other });
    const made = [];
    try {
      for (const [i, count] of PORTS.entries())
        made.push(await portsSides(`ports${i}`, 20 + i, count, { directory, cpus: rest, ApiClient }, traffic));
      const samples = await interleave(Object.assign({}, ...made.map(({ sides }) => sides)), ROUNDS);
      const few = samples[`${PORTS[0]} first`];
      print(
        PORTS.map((count) => {
          const [first, last, node] = ['first', 'last', 'node'].map((which) => samples[`${count} ${which}`]);
          const ratio = (a, b) => median(a.map((value, i) => value / b[i])).toFixed(3);
          return {
            'ports (TCP, and as many UDP)': count,
            'connect to the first, us': median(first).toFixed(1),
            'connect to the last, us': median(last).toFixed(1),
            'last / first': ratio(last, first),
            'last / first of 2': ratio(last, few),
            'round trip to the node itself, us': median(node).toFixed(1),
            'node / node of 2': ratio(node, samples[`${PORTS[0]} node`]),
          };
        }),
      );
    } finally {
      traffic.stop();
      for (const { stop } of made) await stop();
    }
  },
};

/** Fills an agent and says what that took and what there is then. */
async function filled(agent, services, nodes) {
  const { api } = agent;
  const began = performance.now();
  await api.put(`/v1/wish${APPLIED}&prune=false`, wish(agent, services));
  const stated = performance.now();
  await api.post(`/v1/gossip${APPLIED}`, heard(services, nodes));
  const loaded = performance.now();
  await sleep(REST_MS);
  const before = [performance.now(), cpuOf(agent)];
  for (let i = 0; i < PASSES; i++) await api.post('/v1/reconcile');
  const [elapsed, cpu] = [performance.now() - before[0], cpuOf(agent) - before[1]].map((ms) => ms / PASSES);
  const labelled = (where, counts) =>
    Object.fromEntries(Object.entries(counts).map(([what, n]) => [`${where}: ${what}`, n]));
  return {
    [`wish with ${SANDBOXES} sandboxes, ms`]: Math.round(stated - began),
    'backends by gossip, ms': Math.round(loaded - stated),
    'pass without a change, ms': Math.round(elapsed),
    'its processor time, ms': Math.round(cpu),
    'resident memory, MB': Math.round(residentKiB(agent) / 1000),
    ...labelled('sandbox', inSandbox(agent.box('b0'))),
    ...labelled('net-app', inNetwork(agent.box('net-app'))),
    ...labelled('net-ingress', inNetwork(agent.box('net-ingress'))),
    ...labelled('node', inNode(agent.node)),
  };
}

/** A column each, as rows of a Markdown table. */
function print(columns) {
  const rows = Object.keys(columns[0]).map((what) => [what, ...columns.map((column) => column[what])]);
  for (const [i, row] of rows.entries()) {
    console.log(`| ${row.join(' | ')} |`);
    if (i === 0) console.log(`|${row.map(() => '---').join('|')}|`);
  }
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !Object.hasOwn(PARTS, name));
if (unknown.length > 0) {
  console.error(`budget: there is no ${unknown.join(', ')}; there are ${Object.keys(PARTS).join(', ')}`);
  process.exit(2);
}
await enclosed(async (directory) => {
  console.log(JSON.stringify(machine()));
  plugSwitch();
  for (const name of asked.length > 0 ? asked : Object.keys(PARTS)) await PARTS[name](directory);
}).catch((cause) => {
  console.error(`budget: ${cause.message}`);
  process.exit(1);
});
