// Real agents with many services: what the load, one more backend and the memory cost, and what a first packet waits.
import { setTimeout as sleep } from 'node:timers/promises';
import { plugHost } from '../lab/underlay.mjs';
import { Agent, APPLIED } from '../lab/weft.mjs';
import { residentKiB } from '../peers/agents.mjs';
import { BACKENDS, backendRow, container, gossip, NETWORK, NOBODY, vip } from './rows.mjs';

const [FEW, SOME, MANY] = [10, 1000, 10_000];
/** Services in one body of gossip: 32 MiB is the limit of other bodies, and what a control plane sends is smaller. */
const IN_ONE = 1000;
/** What a load leaves behind is collected by then. */
const REST_MS = 10_000;
/** Single backends a measurement. */
const TIMES = 5;
/** Single services a measurement: of a hundred the slowest is the 99th percentile. */
const PUTS = 100;

/** An agent on a host of its own, with a container on the network of the services. */
async function agentWith(name, number, n, { directory, cpus, ApiClient }, balancer = 'nft') {
  const agent = new Agent(name, plugHost(name, number), directory, cpus, balancer);
  await agent.ready(ApiClient);
  await agent.put(`networks/${NETWORK.name}`, { subnets: [NETWORK.subnet], vni: NETWORK.vni });
  await agent.put('sandboxes/c1', {});
  await agent.put(`endpoints/c1:${NETWORK.name}`, { addresses: [container(n)] });
  return agent;
}

async function tell(agent, first, count) {
  for (let n = first; n < first + count; n += IN_ONE) {
    const last = n + IN_ONE >= first + count;
    await agent.api.post(`/v1/gossip${last ? APPLIED : ''}`, gossip(n, Math.min(IN_ONE, first + count - n)));
  }
}

async function timed(work) {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** @returns sides of an agent that is filled anew each time, and of one that stays filled */
export async function fullSides(setting) {
  const filling = await agentWith('filling', 215, 0, setting);
  const filled = await agentWith('filled', 216, 0, setting);
  await tell(filled, 0, MANY);
  let next = 0;
  return {
    sides: {
      'weft.full': {
        scale: 'ms',
        most: 5,
        async measure() {
          await filling.api.post(`/v1/gossip${APPLIED}`, NOBODY);
          return timed(() => tell(filling, 0, MANY));
        },
      },
      'weft.one': {
        scale: 'ms',
        most: 5,
        async measure() {
          const each = [];
          // The eleventh backend of services here and there.
          for (let i = 0; i < TIMES; i++) {
            const row = backendRow((next++ * 97) % MANY, BACKENDS);
            each.push(await timed(() => filled.api.post(`/v1/gossip${APPLIED}`, row)));
          }
          return each.sort((a, b) => a - b)[TIMES >> 1];
        },
      },
      'weft.rss': {
        scale: 'MB',
        most: 1,
        async measure() {
          await sleep(REST_MS);
          return residentKiB(filled) / 1000;
        },
      },
    },
    stop: () => Promise.all([filling, filled].map((agent) => agent.stop())),
  };
}

/** @returns sides of an agent with 1,000 services of which one at a time is put, and the kernel waited for */
export async function appliedSides(setting) {
  const agent = await agentWith('applied', 219, 0, setting);
  await tell(agent, 0, SOME);
  let next = 0;
  return {
    sides: {
      'weft.applied': {
        scale: 'ms',
        most: 5,
        async measure() {
          const each = [];
          for (let i = 0; i < PUTS; i++) {
            // A few services, each with another VIP every time.
            const body = { networks: [NETWORK.name], vips: { [NETWORK.name]: [vip(MANY + (next++ % MANY))] } };
            each.push(await timed(() => agent.put(`services/put${i % FEW}`, body)));
          }
          return Math.max(...each);
        },
      },
    },
    stop: () => agent.stop(),
  };
}

/**
 * @param {'nft' | 'ipvs'} balancer @param {number} many
 * @returns sides of a client among ten services, and of one among many; both have the same server
 */
export async function lookupSides(setting, traffic, balancer = 'nft', many = MANY) {
  const sides = {};
  const agents = [];
  for (const [name, number, count] of [
    ['few', 217, FEW],
    ['many', 218, many],
  ]) {
    const agent = await agentWith(name, number, 0, setting, balancer);
    agents.push(agent);
    await tell(agent, 0, count);
    // The last service has its only backend in a second container of the node.
    await agent.put(`services/here`, { networks: [NETWORK.name], vips: { [NETWORK.name]: [vip(MANY)] } });
    await agent.put('sandboxes/b1', {});
    await agent.put(`endpoints/b1:${NETWORK.name}`, { addresses: [container(1)], service: 'here' });
    await traffic.serve(agent.box('b1'));
    sides[`${balancer}.${name}`] = { scale: 'us', measure: () => traffic.connect(agent.box('c1'), vip(MANY)) };
  }
  return { sides, stop: () => Promise.all(agents.map((agent) => agent.stop())) };
}
