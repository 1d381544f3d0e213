import type { Failure } from '../support/load.js';
import { CONNECTIONS, type WrkRun } from '../support/wrk.js';

/** What breaks connections that have to break. */
export interface Breach {
  /** Backends that are taken away with their connections. */
  backends: readonly string[];
  /** They were active until then: a connection that was just being made breaks too. */
  sudden?: boolean;
}

/** Times are those of Date.now(). */
interface Timed extends Breach {
  from: number;
  to: number;
}

/** Requests of a run of wrk that only a connection which did not wait for the machine makes: it could make twice as many. */
const OFTEN = 50;

/** How a connection ends that its balancer breaks, or its server as the last it does. */
const BROKEN = new Set(['ECONNRESET', 'EPIPE', 'ENDED']);

/**
 * Tells what had to break from what must not. A TCP connection ends, with the backend it is with; anything else
 * is a failure: a datagram finds another backend, and nobody waits in vain or is refused while there is a backend.
 */
export class Judge {
  readonly #breaches: Timed[] = [];

  /** Connections break while `change` runs, and with their next packet. @param change is over when every node does without */
  async during(breach: Breach, change: () => Promise<void>): Promise<void> {
    const timed = { ...breach, from: Date.now(), to: Number.POSITIVE_INFINITY };
    this.#breaches.push(timed);
    await change();
    timed.to = Date.now();
  }

  /** Each failure that nothing excuses, in words. */
  faults(failures: readonly Failure[]): string[] {
    return failures.filter((failure) => !this.#breaches.some((breach) => excuses(breach, failure))).map(inWords);
  }

  /** What is wrong with a run of wrk, in words. */
  faultsOf(run: WrkRun): string[] {
    const breaches = this.#breaches.filter(({ from, to }) => from <= run.to && to >= run.from);
    // A connection that broke is made anew, and may be with the next that is taken away.
    const breaks = CONNECTIONS * breaches.reduce((sum, { backends }) => sum + backends.length, 0);
    const broke = run.connect + run.read + run.write;
    // The others were answered often: this one did not wait for the machine.
    const isSilent = run.silent > 0 && breaches.length === 0 && run.requests > OFTEN;
    const isWrong = run.wrong > 0 || run.status > 0 || run.failed !== undefined;
    return isWrong || broke > breaks || isSilent ? [`${JSON.stringify(run)}, of which ${breaks} had to break`] : [];
  }
}

function excuses(breach: Timed, failure: Failure): boolean {
  if (failure.from > breach.to || failure.to < breach.from) return false;
  const concerns = failure.backend === undefined ? breach.sudden : breach.backends.includes(failure.backend);
  return concerns === true && failure.proto === 'tcp' && BROKEN.has(failure.code);
}

function inWords({ flow, proto, host, port, code, backend, from, to }: Failure): string {
  const times = [from, to].map((at) => new Date(at).toISOString().slice(11, 23)).join(' to ');
  return `${flow} ${proto} flow to ${host} ${port}${backend ? `, with ${backend}` : ''}: ${code}, ${times}`;
}
