// weft itself: an agent on each of two nodes, driven over its socket, and what the benches need of it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { APP, HOST, INGRESS, NUMBER, nodeAddress, PUBLISHED, TARGET, VIP } from './addresses.mjs';
import { DIST } from './dist.mjs';
import { pathOf } from './run.mjs';
import { plugHost } from './underlay.mjs';

const READY_MS = 60_000;
/** A request that is answered when the kernel shows it. */
export const APPLIED = '?wait=applied&timeoutMs=120000';

/** An agent in its node's namespace. */
export class Agent {
  /**
   * @param {string} node @param {string} vtep @param {string} directory @param {number[]} cpus it may run on
   * @param {'nft' | 'ipvs'} balancer
   */
  constructor(node, vtep, directory, cpus, balancer = 'nft') {
    this.node = node;
    this.vtep = vtep;
    this.run = path.join(directory, node);
    this.log = path.join(directory, `${node}.log`);
    const socket = path.join(this.run, 'weft.sock');
    const out = fs.openSync(this.log, 'w');
    const pinned = cpus.length > 0 ? ['taskset', '-c', cpus.join(',')] : [];
    const argv = [`--net=${pathOf(node)}`, ...pinned, process.execPath, path.join(DIST, 'weftd.js')];
    argv.push('--node', node, '--advertise', vtep, '--lb', balancer, '--run-dir', this.run);
    argv.push('--state-dir', path.join(directory, `${node}-state`), '--socket', socket);
    this.child = spawn('nsenter', argv, { stdio: ['ignore', out, out] });
    fs.closeSync(out);
    this.socket = socket;
  }

  /** Answers once the agent does. @param {new (socket: string) => any} ApiClient */
  async ready(ApiClient) {
    this.api = new ApiClient(this.socket);
    for (const end = Date.now() + READY_MS; Date.now() < end && this.child.exitCode === null; await sleep(50)) {
      if (!fs.existsSync(this.socket)) continue;
      const { phase } = await this.api.get('/v1/status');
      if (phase === 'ready') return;
    }
    throw new Error(`agent ${this.node} does not come up:\n${fs.readFileSync(this.log, 'utf8')}`);
  }

  put(where, body) {
    return this.api.put(`/v1/${where}${APPLIED}`, body);
  }

  /** A container's namespace. @param {string} sandbox */
  box(sandbox) {
    return path.join(this.run, 'netns', sandbox);
  }

  async own() {
    const lines = [];
    for await (const line of this.api.lines('/v1/gossip?follow=false')) lines.push(line);
    return lines.join('\n');
  }

  async stop() {
    if (this.child.exitCode !== null) return;
    this.child.kill('SIGTERM');
    await once(this.child, 'exit');
  }
}

/** What talks to agents. */
export const apiClient = async () => (await import(path.join(DIST, 'api/client.js'))).ApiClient;

/**
 * @param {string} directory for their state @param {number[]} cpus where the agents may run
 * @returns namespaces of a client on the first node, and of a plain container and a backend on the second; the first
 *   node's address
 */
export async function plugWeft(directory, cpus) {
  const ApiClient = await apiClient();
  const agents = HOST.weft.map((number, i) => {
    const node = `n${i + 1}`;
    return new Agent(node, plugHost(node, number), directory, cpus);
  });
  await Promise.all(agents.map((agent) => agent.ready(ApiClient)));
  await Promise.all(agents.map((agent, i) => everywhere(agent, nodeAddress(i + 1))));
  const [here, there] = agents;
  await container(here, 'c1', [[APP, NUMBER.client]]);
  await container(there, 'plain', [[APP, NUMBER.plain]]);
  const both = [APP, INGRESS].map((network) => [network, NUMBER.backend]);
  await container(there, 'b1', both, 'web');
  for (const [from, to] of [agents, [...agents].reverse()]) {
    await to.api.post(`/v1/gossip${APPLIED}`, await from.own());
  }
  for (const agent of agents) await sound(agent);
  return {
    client: here.box('c1'),
    plain: there.box('plain'),
    backend: there.box('b1'),
    node: here.vtep,
    flowMemory: (await here.api.get('/v1/status')).flowMemory,
    stop: () => Promise.all(agents.map((agent) => agent.stop())),
  };
}

async function everywhere(agent, address) {
  for (const { name, vni, prefix } of [APP, INGRESS]) {
    const ingress = name === INGRESS.name;
    await agent.put(`networks/${name}`, { subnets: [`${prefix}.0/24`], vni, ingress });
  }
  await agent.put(`nodes/${agent.node}`, { vtep: agent.vtep, addresses: { [INGRESS.name]: [address] } });
  await agent.put('services/web', {
    networks: [APP.name],
    vips: { [APP.name]: [VIP] },
    publish: [{ published: PUBLISHED, target: TARGET }],
  });
}

async function container(agent, sandbox, places, service) {
  await agent.put(`sandboxes/${sandbox}`, {});
  for (const [{ name, prefix }, number] of places) {
    const body = { addresses: [`${prefix}.${number}`], ...(service !== undefined && { service }) };
    await agent.put(`endpoints/${sandbox}:${name}`, body);
  }
}

/** A figure of a half-applied path is worth nothing. */
async function sound(agent) {
  const { operations } = await agent.api.get('/v1/plan');
  const { phase, troubles } = await agent.api.get('/v1/status');
  if (phase === 'ready' && operations.length === 0) return;
  throw new Error(`agent ${agent.node} is ${phase}: ${JSON.stringify({ troubles, operations }, null, 1)}`);
}
