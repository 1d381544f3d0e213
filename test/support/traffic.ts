import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/*
 * Servers and clients of one network namespace in one long-lived process: starting one costs most of a second in a guest.
 * Reads a request a line from standard input and answers it with a line; test/support/traffic-port.ts is the other end.
 */

export type Proto = 'tcp' | 'udp';

export type TrafficRequest =
  /** Answer `NAME CLIENT-ADDRESS` on a TCP and a UDP port; a TCP client that sends `big N` gets N bytes. */
  | { do: 'serve'; name: string; port: number }
  | { do: 'deafen'; port: number }
  /** `times` new flows, one after the other. */
  | { do: 'ask'; proto: Proto; host: string; port: number; times: number; timeoutMs: number }
  /** A flow that stays. */
  | { do: 'open'; flow: string; proto: Proto; host: string; port: number }
  | { do: 'say'; flow: string; timeoutMs: number; bytes?: number }
  | { do: 'close'; flow: string }
  | { do: 'download'; host: string; port: number; bytes: number; timeoutMs: number }
  /** New flows all the time, and one that stays, until `relax`. */
  | { do: 'load'; proto: Proto; host: string; port: number; gapMs: number }
  | { do: 'relax' };

/** How often each answer came; a refusal or timeout is an answer too, under its errno. */
export type Tally = Record<string, number>;

export interface TrafficAnswer {
  tally?: Tally;
  text?: string;
  bytes?: number;
  /** Milliseconds the whole took. */
  ms?: number;
  /** Milliseconds the slowest exchange of a load took: a lost SYN is sent again after 1000 and then succeeds. */
  longestMs?: number;
}

/**
 * Each flow has a local port of its own: where a port is drawn twice, UDP finds the flow of before and its backend.
 * Below the ephemeral ports (32768), so that nothing else is there. Processes begin apart: callers of one node's containers
 * and of the node itself look the same to a backend.
 */
let nextPort = Number(process.argv[2]);
const localPort = (): number => nextPort++;

const servers = new Map<number, { tcp: net.Server; udp: dgram.Socket[]; connections: Set<net.Socket> }>();
const flows = new Map<string, Flow>();
const loads: Load[] = [];

class Timeout extends Error {
  readonly code = 'ETIMEDOUT';
}

/** One flow of a client. */
class Flow {
  #socket: net.Socket | dgram.Socket | undefined;
  #failure: Error | undefined;
  #wake: () => void = () => {};
  #received: Buffer[] = [];

  constructor(
    readonly proto: Proto,
    readonly host: string,
    readonly port: number,
  ) {}

  async open(timeoutMs: number): Promise<void> {
    const fail = (error: Error) => {
      this.#failure ??= error;
      this.#wake();
    };
    const take = (bytes: Buffer) => {
      this.#received.push(bytes);
      this.#wake();
    };
    if (this.proto === 'tcp') {
      const socket = net.connect({ host: this.host, port: this.port, localPort: localPort(), noDelay: true });
      this.#socket = socket.on('error', fail).on('data', take);
      socket.on('end', () => fail(Object.assign(new Error('ended'), { code: 'ENDED' })));
      socket.on('connect', () => this.#wake());
      await this.#until(() => !socket.connecting, timeoutMs);
    } else {
      const socket = dgram.createSocket(net.isIPv6(this.host) ? 'udp6' : 'udp4');
      this.#socket = socket.on('error', fail).on('message', take);
      socket.bind(localPort());
      await once(socket, 'listening');
      socket.connect(this.port, this.host);
      await once(socket, 'connect');
    }
  }

  /** Sends and returns what comes back. @throws the flow's error */
  async say(bytes: Buffer, timeoutMs: number): Promise<string> {
    if (this.#failure) throw this.#failure;
    const socket = this.#socket as net.Socket & dgram.Socket;
    if (this.proto === 'tcp') socket.write(bytes);
    else socket.send(bytes);
    await this.#until(() => this.#received.length > 0, timeoutMs);
    return Buffer.concat(this.#received.splice(0)).toString();
  }

  async receive(count: number, timeoutMs: number): Promise<number> {
    const length = () => this.#received.reduce((sum, part) => sum + part.length, 0);
    await this.#until(() => length() >= count, timeoutMs).catch((error) => {
      if (!(error instanceof Timeout)) throw error;
    });
    return length();
  }

  close(): void {
    if (this.#socket instanceof net.Socket) this.#socket.destroy();
    else this.#socket?.close();
  }

  async #until(done: () => boolean, timeoutMs: number): Promise<void> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, timeoutMs);
    try {
      while (!done()) {
        if (this.#failure) throw this.#failure;
        if (late) throw new Timeout('no answer');
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      if (this.#failure && !done()) throw this.#failure;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** A client that never rests. */
class Load {
  readonly tally: Tally = {};
  longestMs = 0;
  #stopped = false;
  readonly #done: Promise<void>;

  constructor(
    readonly proto: Proto,
    readonly host: string,
    readonly port: number,
    gapMs: number,
  ) {
    this.#done = this.#run(gapMs);
  }

  stop(): Promise<void> {
    this.#stopped = true;
    return this.#done;
  }

  async #run(gapMs: number): Promise<void> {
    const steady = new Flow(this.proto, this.host, this.port);
    await steady.open(5000).catch((error) => count(this.tally, `steady ${codeOf(error)}`));
    while (!this.#stopped) {
      await steady.say(Buffer.from('x'), 5000).then(
        () => count(this.tally, 'ok'),
        (error) => count(this.tally, `steady ${codeOf(error)}`),
      );
      const started = performance.now();
      const answer = await exchange(this.proto, this.host, this.port, 5000);
      this.longestMs = Math.max(this.longestMs, Math.round(performance.now() - started));
      count(this.tally, /^E/.test(answer) ? answer : 'ok');
      await sleep(gapMs);
    }
    steady.close();
  }
}

function count(tally: Tally, word: string): void {
  tally[word] = (tally[word] ?? 0) + 1;
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error);

async function exchange(proto: Proto, host: string, port: number, timeoutMs: number): Promise<string> {
  const flow = new Flow(proto, host, port);
  try {
    await flow.open(timeoutMs);
    return await flow.say(Buffer.from('x'), timeoutMs);
  } catch (error) {
    return codeOf(error);
  } finally {
    flow.close();
  }
}

async function serve(name: string, port: number): Promise<void> {
  const connections = new Set<net.Socket>();
  const tcp = net.createServer({ noDelay: true }, (socket) => {
    connections.add(socket);
    socket.on('error', () => {}).on('close', () => connections.delete(socket));
    socket.on('data', (bytes) => {
      const big = /^big (\d+)/.exec(bytes.toString('latin1'));
      const seen = socket.remoteAddress?.replace('::ffff:', '');
      socket.write(big ? Buffer.alloc(Number(big[1])) : `${name} ${seen}`);
    });
  });
  tcp.listen({ host: '::', port, backlog: 512 });
  await once(tcp, 'listening');
  const udp = await Promise.all((['udp4', 'udp6'] as const).map((type) => answering(name, type, port)));
  servers.set(port, { tcp, udp, connections });
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
  server?.tcp.close();
  for (const socket of server?.udp ?? []) socket.close();
  for (const connection of server?.connections ?? []) connection.destroy();
}

async function ask(request: Extract<TrafficRequest, { do: 'ask' }>): Promise<TrafficAnswer> {
  const tally: Tally = {};
  for (let i = 0; i < request.times; i++) {
    count(tally, await exchange(request.proto, request.host, request.port, request.timeoutMs));
  }
  return { tally };
}

async function download(request: Extract<TrafficRequest, { do: 'download' }>): Promise<TrafficAnswer> {
  const flow = new Flow('tcp', request.host, request.port);
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
    case 'ask':
      return ask(request);
    case 'open': {
      const flow = new Flow(request.proto, request.host, request.port);
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
    case 'download':
      return download(request);
    case 'load':
      loads.push(new Load(request.proto, request.host, request.port, request.gapMs));
      return {};
    case 'relax': {
      await Promise.all(loads.map((load) => load.stop()));
      const tally: Tally = {};
      const longestMs = Math.max(...loads.map((load) => load.longestMs));
      for (const load of loads.splice(0)) {
        for (const [word, n] of Object.entries(load.tally)) tally[word] = (tally[word] ?? 0) + n;
      }
      return { tally, longestMs };
    }
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
