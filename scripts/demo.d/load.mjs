#!/usr/bin/env node
// Asks without end and counts. usage: load.mjs PAUSE-MS TIMEOUT-MS LABEL=URL…
// Two clients for each URL, one with a new connection for every request, one that keeps its connection. Prints one JSON
// line for each line on standard input: the counts so far, by label and by client (`new`, `kept`). Ends with the end of standard input.
import http from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const [pauseMs, timeoutMs, ...targets] = process.argv.slice(2);
const clients = [];
let running = true;

/** The answer's text. Rejects on anything but a whole answer with status 200. */
function ask(url, agent) {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { agent, timeout: Number(timeoutMs) }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.once('error', reject);
      response.once('end', () =>
        response.statusCode === 200 ? resolve(text) : reject(new Error(`status ${response.statusCode}`)),
      );
    });
    request.once('timeout', () => request.destroy(new Error(`no answer in ${timeoutMs} ms`)));
    request.once('error', reject);
  });
}

async function ceaselessly({ url, agent, counts }) {
  while (running) {
    try {
      const [replica] = (await ask(url, agent)).split(' ');
      counts.replicas[replica] = (counts.replicas[replica] ?? 0) + 1;
      counts.answered++;
    } catch (error) {
      counts.failed++;
      if (counts.errors.length < 5) counts.errors.push(`${new Date().toISOString()} ${error.code ?? error.message}`);
    }
    await sleep(Number(pauseMs));
  }
}

for (const target of targets) {
  const at = target.indexOf('=');
  for (const keepAlive of [false, true]) {
    const client = keepAlive ? 'kept' : 'new';
    const counts = { label: target.slice(0, at), client, answered: 0, failed: 0, errors: [], replicas: {} };
    clients.push({ url: target.slice(at + 1), agent: new http.Agent({ keepAlive, maxSockets: 1 }), counts });
  }
}
const working = clients.map(ceaselessly);
for await (const _line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(clients.map(({ counts }) => counts)));
}
running = false;
await Promise.all(working);
process.exit(0);
