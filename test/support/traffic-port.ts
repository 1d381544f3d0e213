import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Proto } from './flow.js';
import type { LoadReport, Tally, Target } from './load.js';
import type { TrafficAnswer, TrafficRequest } from './traffic.js';

const PROGRAM = fileURLToPath(new URL('traffic.js', import.meta.url));

/** Milliseconds to wait for an answer where none is expected to be long in coming; guests are slow. */
export const PATIENCE_MS = process.env.WEFT_GUEST === undefined ? 1500 : 5000;

/** Where the local ports of a process begin; the next one's begin that much later, and no test has more than 15. */
const FIRST_PORT = 10_000;
const PORTS_EACH = 1500;
let processes = 0;

/** Servers and clients in one namespace. */
export class Traffic {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: TrafficAnswer) => void>();
  #next = 1;

  /** @param netns path of the namespace */
  constructor(
    readonly name: string,
    netns: string,
  ) {
    const first = String(FIRST_PORT + PORTS_EACH * (processes++ % 15));
    this.#child = spawn('nsenter', [`--net=${netns}`, process.execPath, ...process.execArgv, PROGRAM, first], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream });
    lines.on('line', (line) => {
      const { id, ...answer } = JSON.parse(line) as TrafficAnswer & { id: number };
      this.#waiting.get(id)?.(answer);
      this.#waiting.delete(id);
    });
  }

  send(request: TrafficRequest): Promise<TrafficAnswer> {
    const id = this.#next++;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#child.stdin?.write(`${JSON.stringify({ id, ...request })}\n`);
    });
  }

  /** @param name what the answers say */
  async serve(port: number, name = this.name): Promise<void> {
    await this.send({ do: 'serve', name, port });
  }

  async deafen(port: number): Promise<void> {
    await this.send({ do: 'deafen', port });
  }

  /** Clients of TCP are told to leave, as a server does before it ends. @returns how many have not when the time is up */
  async leave(port: number, timeoutMs: number): Promise<number> {
    return (await this.send({ do: 'leave', port, timeoutMs })).connections ?? Number.POSITIVE_INFINITY;
  }

  /** The server begins anew, without connections. */
  async renew(port: number): Promise<void> {
    await this.send({ do: 'renew', port });
  }

  /** Answers of `times` new flows: how often each came. */
  async ask(proto: Proto, host: string, port: number, times: number, timeoutMs = PATIENCE_MS): Promise<Tally> {
    return (await this.timed(proto, host, port, times, timeoutMs)).tally;
  }

  async timed(
    proto: Proto,
    host: string,
    port: number,
    times: number,
    timeoutMs = PATIENCE_MS,
  ): Promise<{ tally: Tally; ms: number }> {
    const { tally = {}, ms = 0 } = await this.send({ do: 'ask', proto, host, port, times, timeoutMs });
    return { tally, ms };
  }

  /** Quick ones that are all refused: from whatever ports, for none of them is remembered. */
  async refused(proto: Proto, host: string, port: number, times: number): Promise<Tally> {
    const request = { do: 'ask', proto, host, port, times, timeoutMs: PATIENCE_MS, anyPort: true } as const;
    return (await this.send(request)).tally ?? {};
  }

  /** @param localPort where it matters; else one of its own */
  async open(flow: string, proto: Proto, host: string, port: number, localPort?: number): Promise<void> {
    await this.send({ do: 'open', flow, proto, host, port, ...(localPort && { localPort }) });
  }

  /** One exchange on a flow that stays: the answer, or the errno. */
  async say(flow: string, bytes = 1, timeoutMs = PATIENCE_MS): Promise<string> {
    return (await this.send({ do: 'say', flow, bytes, timeoutMs })).text ?? '';
  }

  async close(flow: string): Promise<void> {
    await this.send({ do: 'close', flow });
  }

  /** Closes a flow with RST. */
  async reset(flow: string): Promise<void> {
    await this.send({ do: 'reset', flow });
  }

  /** Has the server close a connection first. @returns ENDED */
  async end(flow: string): Promise<string> {
    return (await this.send({ do: 'end', flow, timeoutMs: PATIENCE_MS })).text ?? '';
  }

  /** Bytes that arrive of a download from a server of `serve`. */
  async download(host: string, port: number, bytes: number, timeoutMs = 4 * PATIENCE_MS): Promise<number> {
    return (await this.send({ do: 'download', host, port, bytes, timeoutMs })).bytes ?? 0;
  }

  /** @param more how long a flow is kept, and who servers shall see; as `Target` of load.ts */
  async load(
    proto: Proto,
    host: string,
    port: number,
    gapMs: number,
    more: Pick<Target, 'kept' | 'seen'> = {},
  ): Promise<void> {
    await this.send({ do: 'load', proto, host, port, gapMs, ...more });
  }

  /** Waits until no exchange of a load is under way any more that was before. */
  async turn(): Promise<void> {
    await this.send({ do: 'turn' });
  }

  /** What the loads have seen since this was asked last. */
  report(): Promise<LoadReport> {
    return this.#told('report');
  }

  /** Ends every load and tells how it went: `ok` and errnos. */
  relax(): Promise<LoadReport> {
    return this.#told('relax');
  }

  async #told(what: 'report' | 'relax'): Promise<LoadReport> {
    const { tally = {}, failures = [], longestMs = Number.POSITIVE_INFINITY } = await this.send({ do: what });
    return { tally, failures, longestMs };
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}
