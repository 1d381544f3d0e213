#!/usr/bin/env node
// One replica of the demo's service. usage: replica.mjs NAME PORT
// Answers every request with "NAME ADDRESS-OF-THE-CLIENT". SIGTERM ends it the way servers end that are being replaced:
// it goes on answering, asks each client to close ("Connection: close"), and ends when no connection is left. Exit
// status 1 when some were still open after DEADLINE_MS.
import http from 'node:http';

const DEADLINE_MS = 10_000;
/** A connection may have come out of the kernel's queue after the last one was gone. */
const QUIET_MS = 300;

const [name, port] = process.argv.slice(2);
const connections = new Set();
let ending = false;

const server = http.createServer((request, response) => {
  if (ending) response.setHeader('connection', 'close');
  response.end(`${name} ${request.socket.remoteAddress}\n`);
});
// Only the replica's end closes a connection: a client that reuses one while it is being closed would see a reset.
server.keepAliveTimeout = 120_000;
server.on('connection', (socket) => {
  connections.add(socket);
  socket.once('close', () => connections.delete(socket));
});
server.listen({ port: Number(port), host: '0.0.0.0', backlog: 1024 }, () => console.log('listening'));

process.once('SIGTERM', () => {
  ending = true;
  const deadline = Date.now() + DEADLINE_MS;
  let quiet = 0;
  const timer = setInterval(() => {
    quiet = connections.size === 0 ? quiet + 50 : 0;
    if (quiet < QUIET_MS && Date.now() < deadline) return;
    clearInterval(timer);
    console.log(`${connections.size} connections left`);
    process.exit(connections.size === 0 ? 0 : 1);
  }, 50);
});
