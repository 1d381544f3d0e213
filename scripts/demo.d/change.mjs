// Second half of the demo: changes under traffic.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { check } from './checks.mjs';
import { endAgent, PATIENCE, spread, startAgent, weft } from './cluster.mjs';
import { CLIENT, inNetns, NODES } from './lab.mjs';
import { callPorts, inSandbox, LOAD, PORT, replicas, startReplica, VIP } from './mesh.mjs';
import { RunError } from './run.mjs';

const [n1, n2] = NODES;

/** Two programs that ask without end: one in container c1, by name and VIP, one outside, through every node's port. */
class Traffic {
  #loads;

  constructor() {
    const load = fileURLToPath(new URL('load.mjs', import.meta.url));
    const words = (targets) => [process.execPath, load, `${LOAD.pause}`, `${LOAD.timeout}`, ...targets];
    const inside = inSandbox('c1', words([`name=http://web/`, `VIP=http://${VIP}/`]));
    const ports = NODES.map((node) => `port of ${node.name}=http://${node.address}:${PORT}/`);
    const outside = { argv: inNetns(CLIENT.netns, words(ports)), env: process.env };
    this.#loads = [inside, outside].map(({ argv, env }) => {
      const child = spawn(argv[0], argv.slice(1), { detached: true, stdio: ['pipe', 'pipe', 'inherit'], env });
      return { child, answers: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
    });
  }

  /** The counts so far, one row for each kind of client. */
  async counts() {
    const rows = [];
    for (const { child, answers } of this.#loads) {
      child.stdin.write('\n');
      const { value, done } = await answers.next();
      if (done) throw new RunError('a program that makes traffic ended too early');
      rows.push(...JSON.parse(value));
    }
    return rows;
  }

  /** Until every client has had (or missed) some answers. */
  async flows() {
    const few = (rows) => rows.some((row) => row.answered + row.failed < 5);
    while (few(await this.counts())) await sleep(50);
  }

  async end() {
    const rows = await this.counts();
    for (const { child } of this.#loads) {
      const ended = once(child, 'exit');
      child.stdin.end();
      await ended;
    }
    return rows;
  }
}

/** Every kind of client was answered between two counts, and none failed at all. */
function checkTraffic(what, before, after) {
  for (const [i, row] of after.entries()) {
    const answered = row.answered - (before[i]?.answered ?? 0);
    const ok = answered > 0 && row.failed === 0;
    check(`${what}: ${row.label}`, '0 failed', `${row.failed} failed, ${answered} answered`, ok);
    for (const error of row.errors) console.log(`         ${error}`);
  }
}

/** Replaces replica after replica: the new one joins, the old one drains, ends its connections, and goes. */
export async function rollingUpdate() {
  const traffic = new Traffic();
  await traffic.flows();
  const before = await traffic.counts();
  await replace('r1', n1, 'r4', 14);
  await replace('r2', n1, 'r5', 15);
  await replace('r3', n2, 'r6', 16);
  await sleep(500 * PATIENCE);
  const after = await traffic.end();
  checkTraffic('rolling update', before, after);
  const met = new Set(after.flatMap((row) => Object.keys(row.replicas)));
  check('rolling update: replicas that answered', 'r1 r2 r3 r4 r5 r6', [...met].sort().join(' '));
  await callPorts();
}

async function replace(old, node, name, host) {
  await startReplica(node, name, host);
  await spread();
  const draining = { service: 'web', state: 'draining' };
  const wish = { endpoints: { [`${old}:app`]: draining, [`${old}:ingress`]: draining } };
  console.log(`         # ${JSON.stringify(wish)}`);
  await weft(node, ['apply', '-f', '-', '--wait'], { input: JSON.stringify(wish) });
  await spread();
  const { child } = replicas.get(old);
  replicas.delete(old);
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const [status] = await ended;
  check(`rolling update: ${old} ended, its last connection closed`, 'yes', status === 0 ? 'yes' : 'no');
  await weft(node, ['disconnect', old, 'ingress']);
  await weft(node, ['disconnect', old, 'app']);
  await weft(node, ['sandbox', 'rm', old, '--wait']);
  await spread();
}

/** Kills every agent at once, leaves the nodes without one for a while, and starts them again. */
export async function crash(lb) {
  const traffic = new Traffic();
  await traffic.flows();
  console.log('all nodes$ kill -9 $(pidof weftd)');
  await Promise.all(NODES.map((node) => endAgent(node, 'SIGKILL')));
  const dead = await traffic.counts();
  await sleep(1500 * PATIENCE);
  checkTraffic('no agent runs', dead, await traffic.counts());
  const alone = await traffic.counts();
  for (const node of NODES) {
    console.log(`${node.name}$ weftd --node ${node.name} --advertise ${node.address} &`);
    const { adopted, changes, ms } = await startAgent(node, lb);
    check(`restart of ${node.name}, which adopts ${adopted} objects in ${ms} ms`, '0 changes', `${changes} changes`);
  }
  await sleep(500 * PATIENCE);
  checkTraffic('agents restarted', alone, await traffic.end());
}
