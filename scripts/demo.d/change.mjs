// Second half of the demo: changes under traffic.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { check } from './checks.mjs';
import { endAgent, GUEST, spread, startAgent, weft } from './cluster.mjs';
import { CLIENT, inNetns, NODES } from './lab.mjs';
import { callPorts, inSandbox, PORT, replicas, startReplica, VIP } from './mesh.mjs';
import { RunError } from './run.mjs';

const [n1, n2] = NODES;

/**
 * Milliseconds between two requests of a client, and until an answer is late. A guest has one processor: traffic that
 * filled it would only make everything else wait.
 */
const LOAD = GUEST ? { pause: 150, timeout: 15_000 } : { pause: 3, timeout: 3000 };
/** How long traffic goes on with no agent, and how long after the last change. */
const ALONE_MS = GUEST ? 5000 : 2000;
const AFTER_MS = GUEST ? 1500 : 500;

/** Two programs that ask without end: one in container c1, by name and VIP, one outside, through every node's port. */
class Traffic {
  #loads;

  constructor() {
    const load = fileURLToPath(new URL('load.mjs', import.meta.url));
    const words = (targets) => [process.execPath, load, `${LOAD.pause}`, `${LOAD.timeout}`, ...targets];
    const inside = inSandbox('c1', words(['by name=http://web/', `by VIP=http://${VIP}/`]));
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

  /** Until every client has had some answers, or fails: then the counts will say so. */
  async flows() {
    const few = (rows) => rows.every((row) => row.failed === 0) && rows.some((row) => row.answered < 5);
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

/** Both clients of every way in were answered between two counts, and no request failed at all. */
function checkTraffic(what, before, after) {
  const answered = (row) =>
    row.answered - before.find(({ label, client }) => label === row.label && client === row.client).answered;
  for (const label of new Set(after.map((row) => row.label))) {
    const rows = after.filter((row) => row.label === label);
    const failed = rows.reduce((sum, row) => sum + row.failed, 0);
    const shown = rows.map((row) => `${answered(row)} ${row.client}`).join(', ');
    const ok = failed === 0 && rows.every((row) => answered(row) > 0);
    check(`${what}: ${label}`, '0 failed', `${failed} failed; ${shown}`, ok);
    for (const row of rows) for (const error of row.errors) console.log(`         ${row.client}: ${error}`);
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
  await sleep(AFTER_MS);
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
  await Promise.all(NODES.map((node) => endAgent(node, 'SIGKILL')));
  const dead = await traffic.counts();
  await sleep(ALONE_MS);
  checkTraffic('no agent runs', dead, await traffic.counts());
  const alone = await traffic.counts();
  for (const node of NODES) {
    const { adopted, changes, ms } = await startAgent(node, lb);
    check(`restart of ${node.name}, which adopts ${adopted} objects in ${ms} ms`, '0 changes', `${changes} changes`);
  }
  await sleep(AFTER_MS);
  checkTraffic('agents restarted', alone, await traffic.end());
}
