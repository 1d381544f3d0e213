// The demo's agents, the command line as a user types it, and a stand-in for the control plane.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { inNetns, NODES } from './lab.mjs';
import { RunError, run, until } from './run.mjs';

const program = (name) => fileURLToPath(new URL(`../../dist/${name}.js`, import.meta.url));

/** A process start costs a guest 10 times what it costs the host. */
export const GUEST = process.env.WEFT_GUEST !== undefined;

/** How long an agent may take to be ready, and a change to be in its kernel. */
const START_MS = GUEST ? 120_000 : 20_000;

/** Agents by node name. */
const agents = new Map();

/** What an agent says when its first pass has ended. */
const ADOPTED = /adopted (\d+) objects, (\d+) changes/;

/**
 * Starts the agent of a node and waits until it is ready.
 * @returns {Promise<{ adopted: number, changes: number, ms: number }>} what its first pass found, and how long that took
 */
export async function startAgent(node, lb) {
  fs.mkdirSync(node.runDir, { recursive: true });
  const log = fs.openSync(node.log, 'a');
  const from = fs.fstatSync(log).size;
  const options = ['--node', node.name, '--advertise', node.address, '--lb', lb];
  const places = ['--run-dir', node.runDir, '--state-dir', node.stateDir];
  console.log(`${node.name}$ weftd ${[...options, ...places].join(' ')} &`);
  const argv = inNetns(node.netns, [process.execPath, program('weftd'), ...options, ...places]);
  const began = Date.now();
  const agent = spawn(argv[0], argv.slice(1), { detached: true, stdio: ['ignore', log, log] });
  fs.closeSync(log);
  agents.set(node.name, agent);
  const said = await until(`weftd of ${node.name} is ready`, START_MS, async () => {
    const text = fs.readFileSync(node.log).subarray(from).toString();
    if (agent.exitCode !== null) throw new RunError(`weftd of ${node.name} ended: ${text.trim()}`);
    return text.includes('"ready"') ? text : undefined;
  });
  const [, adopted, changes] = ADOPTED.exec(said) ?? [];
  return { adopted: Number(adopted), changes: Number(changes), ms: Date.now() - began };
}

/** Ends the agent of a node: SIGKILL to show that nothing depends on its last words, SIGTERM as an administrator does. */
export async function endAgent(node, signal) {
  const agent = agents.get(node.name);
  console.log(`${node.name}$ kill -${signal === 'SIGKILL' ? 9 : 15} ${agent.pid}`);
  agents.delete(node.name);
  const ended = once(agent, 'exit');
  agent.kill(signal);
  await ended;
}

/** `weft` against a node's agent, printed like a line at a prompt. */
export async function weft(node, args, options) {
  const given = options?.input === undefined ? '' : `echo ${shellWord(options.input)} | `;
  console.log(`${node.name}$ ${given}weft ${shellLine(args)}`);
  return run(weftArgv(args), { ...options, env: { ...process.env, WEFT_SOCKET: node.socket } });
}

/** The same for a program that goes on running; its caller starts it with the environment of `weftEnvironment`. */
export const weftArgv = (args) => [process.execPath, program('weft'), ...args];
export const weftEnvironment = (node) => ({ ...process.env, WEFT_SOCKET: node.socket });

/** Words as a shell reads them. */
export const shellLine = (words) => words.map(shellWord).join(' ');
const shellWord = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** The namespace of a sandbox that an agent made. */
export const sandboxNetns = (node, sandbox) => `${node.runDir}/netns/${sandbox}`;

/** A row of a listing, or an object, over the agent's socket. */
export const ask = async (node, path) => JSON.parse(await talk(node, 'GET', path));

const TABLES = ['networks', 'services', 'nodes', 'peers'];

/**
 * What an orchestrator's gossip does: tells every agent all rows of the others, as one snapshot, and returns when every
 * kernel shows them. By hand: `weft gossip own` on one node, `weft gossip push -f -` on another.
 */
export async function spread() {
  const own = await Promise.all(NODES.map(async (node) => lines(await talk(node, 'GET', '/v1/gossip?follow=false'))));
  const wait = `wait=applied&timeoutMs=${START_MS}`;
  await Promise.all(
    NODES.map((node, i) => {
      const others = own.flatMap((rows, j) => (i === j ? [] : rows));
      const snapshot = TABLES.flatMap((table) => [
        JSON.stringify({ table, op: 'snapshot-begin' }),
        ...others.filter((row) => JSON.parse(row).table === table),
        JSON.stringify({ table, op: 'snapshot-end' }),
      ]);
      return talk(node, 'POST', `/v1/gossip?${wait}`, `${snapshot.join('\n')}\n`);
    }),
  );
}

const lines = (text) => text.split('\n').filter((line) => line !== '');

/** One request to an agent's socket. @throws {RunError} with the agent's own words */
function talk(node, method, path, body = '') {
  return new Promise((resolve, reject) => {
    const failed = (why) => reject(new RunError(`${node.name}: ${method} ${path}: ${why}`));
    const request = http.request({ socketPath: node.socket, method, path }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      response.once('end', () => (response.statusCode < 300 ? resolve(text) : failed(text)));
      response.once('error', (cause) => failed(cause.message));
    });
    request.once('error', (cause) => failed(cause.message));
    request.end(body);
  });
}
