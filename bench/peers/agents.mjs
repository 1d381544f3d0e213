// Real agents with many peers: what the load, one more, a pass and the memory cost.
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { plugHost } from '../lab/underlay.mjs';
import { Agent, APPLIED } from '../lab/weft.mjs';
import { gossip, NETWORK, NOBODY } from './rows.mjs';

const FEW = 10_000;
const MANY = 50_000;
/** What a load leaves behind is collected by then. */
const REST_MS = 10_000;
/** Passes, and single peers, a measurement. */
const TIMES = 5;

/** An agent on a host of its own, with a container on the network of the peers. */
export async function agentWith(name, number, { directory, cpus, ApiClient }) {
  const agent = new Agent(name, plugHost(name, number), directory, cpus);
  await agent.ready(ApiClient);
  await agent.put(`networks/${NETWORK.name}`, { subnets: [NETWORK.subnet], vni: NETWORK.vni });
  await agent.put('sandboxes/c1', {});
  await agent.put(`endpoints/c1:${NETWORK.name}`, { addresses: ['10.21.0.1'] });
  return agent;
}

const tell = (agent, rows) => agent.api.post(`/v1/gossip${APPLIED}`, rows);

async function timed(work) {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** Processor time of all its threads so far, in milliseconds (schedstat of proc(5), in nanoseconds). */
export function cpuOf({ child: { pid } }) {
  const tasks = fs.readdirSync(`/proc/${pid}/task`);
  const used = (task) => Number(fs.readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  return tasks.reduce((sum, task) => sum + used(task), 0) / 1e6;
}

/** Resident memory of an agent. */
export const residentKiB = ({ child: { pid } }) =>
  Number(/^VmRSS:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);

/** @returns sides of an agent that is loaded anew each time, of one that stays loaded, and of one that starts each time */
export async function agentSides(setting) {
  const loading = await agentWith('loading', 211, setting);
  const loaded = await agentWith('loaded', 212, setting);
  await tell(loaded, gossip(1, FEW));
  let next = FEW;
  let started = 0;
  return {
    sides: {
      'weft.full': {
        scale: 'ms',
        async measure() {
          await tell(loading, NOBODY);
          const took = await timed(() => tell(loading, gossip(1, FEW)));
          // What it does afterwards (a snapshot, a collection) would meet the side that comes next.
          await sleep(REST_MS);
          return took;
        },
      },
      'weft.one': {
        scale: 'ms',
        async measure() {
          const each = [];
          for (let i = 0; i < TIMES; i++) each.push(await timed(() => tell(loaded, gossip(++next, 1))));
          return each.sort((a, b) => a - b)[TIMES >> 1];
        },
      },
      'weft.pass': {
        scale: 'ms',
        async measure() {
          const before = cpuOf(loaded);
          for (let i = 0; i < TIMES; i++) await loaded.api.post('/v1/reconcile');
          return (cpuOf(loaded) - before) / TIMES;
        },
      },
      'weft.rss': {
        scale: 'KiB',
        most: 5,
        async measure() {
          const agent = await agentWith(`fresh${++started}`, 213 + started, setting);
          try {
            await tell(agent, gossip(1, FEW));
            await sleep(REST_MS);
            const few = residentKiB(agent);
            await tell(agent, gossip(FEW + 1, MANY - FEW));
            await sleep(REST_MS);
            return (residentKiB(agent) - few) / (MANY - FEW);
          } finally {
            await agent.api.post('/v1/down');
            await agent.stop();
          }
        },
      },
    },
    stop: () => Promise.all([loading, loaded].map((agent) => agent.stop())),
  };
}
