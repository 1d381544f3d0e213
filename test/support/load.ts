import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, exchange, Flow, type Proto } from './flow.js';

/** How often each answer came; a refusal or timeout is an answer too, under its errno. */
export type Tally = Record<string, number>;

/** An exchange that failed. Times are those of Date.now(). */
export interface Failure {
  /** On a flow of its own, or on the one that stays. */
  flow: 'new' | 'steady';
  proto: Proto;
  host: string;
  port: number;
  code: string;
  /** Who answered last on the flow that stays. */
  backend?: string;
  /** When it began; of the flow that stays, when it was last answered. */
  from: number;
  to: number;
}

/** What a load has seen since it was asked last. */
export interface LoadReport {
  tally: Tally;
  failures: Failure[];
  /** Milliseconds the slowest new flow took. */
  longestMs: number;
}

export function count(tally: Tally, word: string): void {
  tally[word] = (tally[word] ?? 0) + 1;
}

/** Generous: a slow machine is no failure. */
const TIMEOUT_MS = process.env.WEFT_GUEST === undefined ? 20_000 : 60_000;

export interface Target {
  proto: Proto;
  host: string;
  port: number;
  /** Milliseconds between two turns. */
  gapMs: number;
  /** So many exchanges on the flow that is kept, then its client opens another; never another when not given. */
  kept?: number;
  /** Address of the client that servers shall see, where it matters: another is a failure, `EOTHER`. */
  seen?: string;
}

/** A client that never rests: in each turn one exchange on a flow that is kept until it is told to leave, one on a flow of its own. */
export class Load {
  #report: LoadReport = { tally: {}, failures: [], longestMs: 0 };
  #stopped = false;
  #waiting: (() => void)[] = [];
  #steady: { flow: Flow; backend?: string; answered: number; exchanges: number } | undefined;
  readonly #done: Promise<void>;

  constructor(readonly target: Target) {
    this.#done = this.#run();
  }

  stop(): Promise<void> {
    this.#stopped = true;
    return this.#done;
  }

  /** Resolves when no exchange is under way any more that was when this was called. */
  turn(): Promise<void> {
    return this.#stopped ? this.#done : new Promise((resolve) => this.#waiting.push(resolve));
  }

  report(): LoadReport {
    const report = this.#report;
    this.#report = { tally: {}, failures: [], longestMs: 0 };
    return report;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await this.#stay();
      await this.#begin();
      for (const resolve of this.#waiting.splice(0)) resolve();
      await sleep(this.target.gapMs);
    }
    this.#steady?.flow.close();
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** A flow that broke is opened anew with the next turn. */
  async #stay(): Promise<void> {
    const from = Date.now();
    try {
      if (!this.#steady) {
        this.#steady = { flow: this.#flow(), answered: from, exchanges: 0 };
        await this.#steady.flow.open(TIMEOUT_MS);
      }
      const answer = await this.#steady.flow.say(Buffer.from('x'), TIMEOUT_MS);
      const [backend, seen, bye] = answer.split(' ');
      this.#steady.backend = backend as string;
      this.#steady.answered = Date.now();
      if (!this.#isSeen(seen)) throw other(answer);
      count(this.#report.tally, 'ok');
      if (++this.#steady.exchanges < (this.target.kept ?? Number.POSITIVE_INFINITY) && !bye) return;
      this.#steady.flow.close();
      this.#steady = undefined;
    } catch (error) {
      const { flow, backend, answered = from } = this.#steady ?? {};
      this.#fail({ flow: 'steady', code: codeOf(error), from: answered, ...(backend && { backend }) });
      flow?.close();
      this.#steady = undefined;
    }
  }

  async #begin(): Promise<void> {
    const from = Date.now();
    const answer = await exchange(this.#flow(), TIMEOUT_MS);
    this.#report.longestMs = Math.max(this.#report.longestMs, Date.now() - from);
    if (/^E/.test(answer)) this.#fail({ flow: 'new', code: answer, from });
    else if (!this.#isSeen(answer.split(' ')[1])) this.#fail({ flow: 'new', code: codeOf(other(answer)), from });
    else count(this.#report.tally, 'ok');
  }

  #isSeen(address: string | undefined): boolean {
    return this.target.seen === undefined || this.target.seen === address;
  }

  #flow(): Flow {
    const { proto, host, port } = this.target;
    return new Flow(proto, host, port);
  }

  #fail(failure: Omit<Failure, 'proto' | 'host' | 'port' | 'to'>): void {
    const { proto, host, port } = this.target;
    this.#report.failures.push({ ...failure, proto, host, port, to: Date.now() });
    count(this.#report.tally, failure.flow === 'steady' ? `steady ${failure.code}` : failure.code);
  }
}

/** An answer that is not what it should be. */
const other = (answer: string): Error => Object.assign(new Error(answer), { code: `EOTHER ${answer}` });

/** All of several loads. */
export function together(reports: readonly LoadReport[]): LoadReport {
  const tally: Tally = {};
  for (const report of reports)
    for (const [word, n] of Object.entries(report.tally)) tally[word] = (tally[word] ?? 0) + n;
  return {
    tally,
    failures: reports.flatMap(({ failures }) => failures),
    longestMs: Math.max(...reports.map(({ longestMs }) => longestMs)),
  };
}
