import type { Failure } from '../support/load.js';

/** Backends were taken away at that time, so that what was with them had to break. Times are those of Date.now(). */
interface Removal {
  backends: ReadonlySet<string>;
  /** Whether they were active until then: a connection that was just being made breaks too. */
  sudden: boolean;
  from: number;
  to: number;
}

const RESET = new Set(['ECONNRESET', 'EPIPE']);

/**
 * Tells what had to break from what must not. A TCP connection ends, by a reset, with the backend it is with; anything else
 * is a failure: a datagram finds another backend, and nobody waits in vain or is refused while there is a backend.
 */
export class Judge {
  readonly #removals: Removal[] = [];

  /** Backends are taken away while `change` runs. @param change is over when every node does without them */
  async during(backends: readonly string[], sudden: boolean, change: () => Promise<void>): Promise<void> {
    const removal = { backends: new Set(backends), sudden, from: Date.now(), to: Number.POSITIVE_INFINITY };
    this.#removals.push(removal);
    await change();
    removal.to = Date.now();
  }

  /** Each failure that nothing excuses, in words. */
  faults(failures: readonly Failure[]): string[] {
    return failures.filter((failure) => !this.#removals.some((removal) => excuses(removal, failure))).map(inWords);
  }
}

function excuses({ backends, sudden, from, to }: Removal, failure: Failure): boolean {
  if (failure.proto === 'udp' || !RESET.has(failure.code)) return false;
  if (failure.from > to || failure.to < from) return false;
  return failure.flow === 'new' ? sudden : failure.backend !== undefined && backends.has(failure.backend);
}

function inWords({ flow, proto, host, port, code, backend, from, to }: Failure): string {
  const times = [from, to].map((at) => new Date(at).toISOString().slice(11, 23)).join(' to ');
  return `${flow} ${proto} flow to ${host} ${port}${backend ? `, with ${backend}` : ''}: ${code}, ${times}`;
}
