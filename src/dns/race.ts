import { setMaxListeners } from 'node:events';
import type { Health } from './health.js';
import { isGood, type Response } from './response.js';
import type { Server } from './server-address.js';

/** How long a server is waited for alone, before the next one is asked too: most answers of the farthest take less. */
const PATIENCE_MS = 400;
/** When all have been asked and are silent, packets may have been lost: they are asked once more. */
const RESEND_MS = 1000;
/** All servers together. A stub resolver asks again after 5 s (resolv.conf(5), `timeout`): later answers find nobody. */
const DEADLINE_MS = 5000;
/** How long one that was dead may take to show that it lives. */
const PROBE_MS = 2000;

/** Asks one server. @throws where it does not reply */
export type AskOne = (server: Server, deadline: number, signal: AbortSignal) => Promise<Response>;

interface Running {
  server: Server;
  began: number;
}

/** One query on its way to several servers: in turn, each a little after the one before, and the first good answer wins. */
export class Race {
  readonly #over = new AbortController();
  readonly #running = new Set<Running>();
  /** Servers that have said something, or cannot be reached: they are not asked twice. */
  readonly #heard = new Set<Server>();
  #waiting: Server[] = [];
  #again: Server[] = [];
  #worse: Response | undefined;
  #timer: NodeJS.Timeout | undefined;
  #deadline = 0;
  #finish: (response: Response | undefined) => void = () => {};

  constructor(
    readonly health: Health,
    readonly askOne: AskOne,
  ) {
    // Every server asked listens, each up to twice.
    setMaxListeners(0, this.#over.signal);
  }

  run(servers: readonly Server[]): Promise<Response | undefined> {
    const now = performance.now();
    const { inTurn, beside, allDown } = this.health.order(servers, now);
    this.#deadline = now + DEADLINE_MS;
    this.#waiting = [...inTurn];
    this.#again = [...inTurn];
    return new Promise((resolve) => {
      const end = setTimeout(() => this.#finish(this.#worse), DEADLINE_MS);
      this.#finish = (response) => {
        this.#finish = () => {};
        clearTimeout(end);
        clearTimeout(this.#timer);
        this.#judge();
        this.#over.abort();
        resolve(response);
      };
      for (const server of beside) this.#probe(server);
      if (allDown) this.#beginAll();
      else this.#next();
    });
  }

  /** Asks the next server now, and the one behind it later; when there is none, those that are silent once more. */
  #next(): void {
    clearTimeout(this.#timer);
    if (this.#over.signal.aborted) return;
    const server = this.#waiting.shift();
    if (server) {
      this.#begin(server);
      this.#timer = setTimeout(() => this.#next(), this.#waiting.length > 0 ? PATIENCE_MS : RESEND_MS);
      return;
    }
    const silent = this.#again.splice(0).filter((one) => !this.#heard.has(one));
    for (const one of silent) this.#begin(one);
    if (this.#running.size === 0) this.#finish(this.#worse);
  }

  #beginAll(): void {
    for (const server of this.#waiting.splice(0)) this.#begin(server);
    this.#timer = setTimeout(() => this.#next(), RESEND_MS);
  }

  #begin(server: Server): void {
    const running = { server, began: performance.now() };
    this.#running.add(running);
    void this.askOne(server, this.#deadline, this.#over.signal).then(
      (response) => this.#ended(running, response),
      () => this.#ended(running, undefined),
    );
  }

  #ended(running: Running, response: Response | undefined): void {
    const { server } = running;
    if (!this.#running.delete(running)) return;
    if (response) this.health.answered(server);
    else this.health.failed(server, performance.now());
    if (response && isGood(response)) {
      this.#finish(response);
      return;
    }
    this.#heard.add(server);
    this.#worse ??= response;
    // Nobody waits for the others' patience to end where this one has nothing more to say.
    if (this.#waiting.length > 0) this.#next();
    else if (this.#running.size === 0) this.#next();
  }

  /** It is over: those that had their time and said nothing are remembered. */
  #judge(): void {
    const now = performance.now();
    const silent = [...this.#running].filter(({ began }) => now - began >= PATIENCE_MS);
    for (const server of new Set(silent.map((one) => one.server))) this.health.failed(server, now);
    this.#running.clear();
  }

  /** Its answer counts like any other's, and it is waited for when the race is over. */
  #probe(server: Server): void {
    const limit = AbortSignal.timeout(PROBE_MS);
    void this.askOne(server, performance.now() + PROBE_MS, limit).then(
      (response) => {
        this.health.answered(server);
        if (isGood(response)) this.#finish(response);
      },
      () => this.health.failed(server, performance.now()),
    );
  }
}
