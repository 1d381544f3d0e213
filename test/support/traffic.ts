import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, exchange, Flow, type Proto } from './flow.js';
import { count, type Failure, Load, type Tally, type Target, together } from './load.js';

/*
 * Servers and clients of one network namespace in one long-lived process: starting one costs most of a second in a guest.
 * Reads a request a line from standard input and answers it with a line; test/support/traffic-port.ts is the other end.
 */

export type TrafficRequest =
  /**
   * Answer `NAME CLIENT-ADDRESS` on a TCP and a UDP port; a TCP client that sends `big N` gets N bytes. HTTP/1.1 is spoken
   * too: `GET /N` asks for N bytes, `GET /` for the answer and a line feed. Where it sends `end` the server closes.
   */
  | { do: 'serve'; name: string; port: number }
  | { do: 'deafen'; port: number }
  /**
   * As a server does before it ends: TCP clients are told to leave with their next answer (` bye`, `Connection: close`).
   * Answers when none has a connection any more, or with how many have when the time is up.
   */
  | { do: 'leave'; port: number; timeoutMs: number }
  /** Begins anew: no connection of before is known, and nobody has to leave. */
  | { do: 'renew'; port: number }
  /** `times` new flows, one after the other. */
  | { do: 'ask'; proto: Proto; host: string; port: number; times: number; timeoutMs: number; anyPort?: boolean }
  /** A flow that stays. Several may share a local port, if they lead elsewhere. */
  | { do: 'open'; flow: string; proto: Proto; host: string; port: number; localPort?: number }
  | { do: 'say'; flow: string; timeoutMs: number; bytes?: number }
  | { do: 'close'; flow: string }
  /** Without a word to the other side but RST. */
  | { do: 'reset'; flow: string }
  /** The server ends the connection, and is the one who remembers it. */
  | { do: 'end'; flow: string; timeoutMs: number }
  | { do: 'download'; host: string; port: number; bytes: number; timeoutMs: number }
  /** New flows all the time, and one that is kept for so many exchanges, or for good, until `relax`. */
  | ({ do: 'load' } & Target)
  /** Answers when no exchange of a load is under way any more that was before. */
  | { do: 'turn' }
  /** What the loads have seen since this was asked last. */
  | { do: 'report' }
  | { do: 'relax' };

export interface TrafficAnswer {
  tally?: Tally;
  failures?: Failure[];
  text?: string;
  bytes?: number;
  connections?: number;
  /** Milliseconds the whole took. */
  ms?: number;
  /** Milliseconds the slowest exchange of a load took: a lost SYN is sent again after 1000 and then succeeds. */
  longestMs?: number;
}

/**
 * Each flow that is asked for has a local port of its own: where a port is drawn twice, UDP finds the flow of before and its backend.
 * Below the ephemeral ports (32768), so that nothing else is there. Processes begin apart: callers of one node's containers
 * and of the node itself look the same to a backend.
 */
let nextPort = Number(process.argv[2]);
const localPort = (): number => nextPort++;

interface Server {
  name: string;
  tcp?: net.Server;
  udp: dgram.Socket[];
  connections: Set<net.Socket>;
  leaving: boolean;
}

const servers = new Map<number, Server>();
const flows = new Map<string, Flow>();
const loads: Load[] = [];

async function serve(name: string, port: number): Promise<void> {
  const server: Server = { name, udp: [], connections: new Set(), leaving: false };
  const { connections } = server;
  server.tcp = net.createServer({ noDelay: true }, (socket) => {
    connections.add(socket);
    socket.on('error', () => {}).on('close', () => connections.delete(socket));
    socket.on('data', (bytes) => answer(server, socket, bytes.toString('latin1')));
  });
  server.tcp.listen({ host: '::', port, backlog: 512 });
  await once(server.tcp, 'listening');
  server.udp = await Promise.all((['udp4', 'udp6'] as const).map((type) => answering(name, type, port)));
  servers.set(port, server);
}

function answer({ name, leaving }: Server, socket: net.Socket, asked: string): void {
  const text = `${name} ${socket.remoteAddress?.replace('::ffff:', '')}`;
  const [, path, big] = /^(?:GET \/(\d*)|big (\d+))/.exec(asked) ?? [];
  if (asked === 'end') socket.end();
  else if (big) socket.write(Buffer.alloc(Number(big)));
  else if (path === undefined) socket.write(leaving ? `${text} bye` : text);
  else {
    const body = path === '' ? Buffer.from(`${text}\n`) : Buffer.alloc(Number(path));
    const closes = leaving || /^connection: *close/im.test(asked);
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${closes ? 'Connection: close\r\n' : ''}\r\n`);
    if (closes) socket.end(body);
    else socket.write(body);
  }
}

/** A plain UDP server: it answers from the address that the route to the client prefers, not from the one it was asked at. */
async function answering(name: string, type: 'udp4' | 'udp6', port: number): Promise<dgram.Socket> {
  const udp = dgram.createSocket({ type, ipv6Only: type === 'udp6' });
  udp.on('message', (bytes, from) => {
    const text = `${name} ${from.address}`;
    udp.send(bytes.length > text.length ? `${text} ${bytes.length}` : text, from.port, from.address);
  });
  udp.bind(port);
  await once(udp, 'listening');
  return udp;
}

function deafen(port: number): void {
  const server = servers.get(port);
  servers.delete(port);
  server?.tcp?.close();
  for (const socket of server?.udp ?? []) socket.close();
  for (const connection of server?.connections ?? []) connection.destroy();
}

/** Milliseconds between two looks at who has left. A connection that is being made shows with the second at the latest. */
const LOOK_MS = 50;

async function leave(port: number, timeoutMs: number): Promise<TrafficAnswer> {
  const server = servers.get(port) as Server;
  server.leaving = true;
  const end = Date.now() + timeoutMs;
  for (let empty = 0; empty < 2 && Date.now() < end; ) {
    await sleep(LOOK_MS);
    empty = server.connections.size === 0 ? empty + 1 : 0;
  }
  return { connections: server.connections.size };
}

function renew(port: number): void {
  const server = servers.get(port) as Server;
  server.leaving = false;
  for (const connection of server.connections) connection.destroy();
}

async function ask(request: Extract<TrafficRequest, { do: 'ask' }>): Promise<TrafficAnswer> {
  const tally: Tally = {};
  for (let i = 0; i < request.times; i++) {
    const from = request.anyPort ? 0 : localPort();
    count(tally, await exchange(new Flow(request.proto, request.host, request.port, from), request.timeoutMs));
  }
  return { tally };
}

async function download(request: Extract<TrafficRequest, { do: 'download' }>): Promise<TrafficAnswer> {
  const flow = new Flow('tcp', request.host, request.port, localPort());
  try {
    await flow.open(request.timeoutMs);
    await flow.say(Buffer.from('x'), request.timeoutMs);
    const first = (await flow.say(Buffer.from(`big ${request.bytes}`), request.timeoutMs)).length;
    return { bytes: first + (await flow.receive(request.bytes - first, request.timeoutMs)) };
  } catch (error) {
    return { bytes: 0, text: codeOf(error) };
  } finally {
    flow.close();
  }
}

async function obey(request: TrafficRequest): Promise<TrafficAnswer> {
  switch (request.do) {
    case 'serve':
      await serve(request.name, request.port);
      return {};
    case 'deafen':
      deafen(request.port);
      return {};
    case 'leave':
      return leave(request.port, request.timeoutMs);
    case 'renew':
      renew(request.port);
      return {};
    case 'ask':
      return ask(request);
    case 'open': {
      const flow = new Flow(request.proto, request.host, request.port, request.localPort ?? localPort());
      flows.set(request.flow, flow);
      await flow.open(5000);
      return {};
    }
    case 'say': {
      const payload = Buffer.alloc(request.bytes ?? 1, 'x');
      const flow = flows.get(request.flow) as Flow;
      return { text: await flow.say(payload, request.timeoutMs).catch(codeOf) };
    }
    case 'close':
      flows.get(request.flow)?.close();
      flows.delete(request.flow);
      return {};
    case 'reset':
      flows.get(request.flow)?.reset();
      flows.delete(request.flow);
      return {};
    case 'end': {
      const text = await flows.get(request.flow)?.say(Buffer.from('end'), request.timeoutMs).catch(codeOf);
      flows.get(request.flow)?.close();
      flows.delete(request.flow);
      return { text: text ?? '' };
    }
    case 'download':
      return download(request);
    case 'load':
      loads.push(new Load(request));
      return {};
    case 'turn':
      await Promise.all(loads.map((load) => load.turn()));
      return {};
    case 'report':
      return { ...together(loads.map((load) => load.report())) };
    case 'relax':
      await Promise.all(loads.map((load) => load.stop()));
      return { ...together(loads.splice(0).map((load) => load.report())) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, ...request } = JSON.parse(line) as TrafficRequest & { id: number };
  const started = performance.now();
  // Not awaited: a long request must not keep the next one waiting.
  void obey(request as TrafficRequest)
    .catch((error) => ({ text: codeOf(error) }))
    .then((answer) => {
      const ms = Math.round(performance.now() - started);
      process.stdout.write(`${JSON.stringify({ id, ...answer, ms })}\n`);
    });
}
process.exit(0);
