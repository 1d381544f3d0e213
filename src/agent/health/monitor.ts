import type { EndpointHealth } from '../../api/agent.js';
import { toWeftError, type WeftError } from '../../base/errors.js';
import type { Ip } from '../../base/ip.js';
import type { Health } from '../../model/health.js';
import type { Stored, Wish } from '../../model/registry.js';
import { servicesOf } from '../../model/serving.js';
import type { Mutation } from '../../state/wish.js';

/** Probes under way at a time; others wait for their turn. */
const PROBES_MAX = 32;
/** Seconds until another look at an endpoint that the kernel does not show yet. */
const PENDING_SECONDS = 0.2;

/** What the monitor needs of the agent. */
export interface MonitorPort {
  wish: () => Wish;
  /** Is what the wish says of an endpoint still on its way into the kernel? */
  isPending: (endpoint: Stored<'endpoints'>) => boolean;
  /** One probe. @throws WeftError for one that failed */
  probe: (sandbox: string, ip: Ip, health: Health) => Promise<void>;
  /** Takes an endpoint out of balancing, or lets it back; durable. */
  judge: (endpoint: string, unhealthy: boolean) => void;
  /** It was taken out, with the reason, or let back. */
  tell: (endpoint: string, reason: string | undefined) => void;
  trouble: (error: WeftError) => void;
}

/** An endpoint that is probed. */
interface Patient {
  health: Health;
  sandbox: string;
  ip: Ip;
  /** Of the last probes, in a row. */
  passed: number;
  failed: number;
  reason?: string;
  /** Milliseconds since 1970: the last probe's end. */
  at?: number;
  timer?: NodeJS.Timeout;
}

/**
 * Probes the backends of this node whose services ask for it. What it finds is kept beside the endpoint in the wish, so a
 * new agent begins with the verdicts of the last; a backend that was never judged is healthy until its probes fail, and its
 * first probe waits for its address.
 */
export class HealthMonitor {
  readonly #patients = new Map<string, Patient>();
  readonly #waiting: string[] = [];
  #running = 0;
  #stopped = false;

  constructor(readonly port: MonitorPort) {}

  start(): void {
    this.#follow();
  }

  stop(): void {
    this.#stopped = true;
    for (const { timer } of this.#patients.values()) clearTimeout(timer);
  }

  changed(mutations: readonly Mutation[]): void {
    if (mutations.some(({ table }) => table === 'endpoints' || table === 'services')) this.#follow();
  }

  /** How an endpoint does; undefined where nobody asked. */
  of({ id, unhealthy }: Stored<'endpoints'>): EndpointHealth | undefined {
    const patient = this.#patients.get(id);
    if (!patient) return undefined;
    const { at, reason } = patient;
    const state = unhealthy ? 'unhealthy' : at === undefined ? 'unknown' : 'healthy';
    const last = at === undefined ? {} : { probed: new Date(at).toISOString() };
    return { state, ...last, ...(reason !== undefined && { reason }) };
  }

  #follow(): void {
    const { endpoints, services } = this.port.wish();
    const gone = new Set(this.#patients.keys());
    for (const { id, spec, unhealthy } of endpoints.values()) {
      // A task is well or not as a whole: of several services the first that has a probe says how.
      const [health] = servicesOf(spec).flatMap((service) => services.get(service)?.spec.health ?? []);
      const [ip] = spec.addresses;
      if (health && ip !== undefined) {
        gone.delete(id);
        this.#admit(id, { health, sandbox: spec.sandbox, ip });
      } else if (unhealthy) setImmediate(() => this.#judge(id, false));
    }
    for (const id of gone) {
      clearTimeout(this.#patients.get(id)?.timer);
      this.#patients.delete(id);
    }
  }

  /** Probed the same way as before it goes on; else from the beginning. */
  #admit(id: string, how: Pick<Patient, 'health' | 'sandbox' | 'ip'>): void {
    const before = this.#patients.get(id);
    if (before && before.ip === how.ip && JSON.stringify(before.health) === JSON.stringify(how.health)) return;
    clearTimeout(before?.timer);
    const patient: Patient = { ...how, passed: 0, failed: 0 };
    this.#patients.set(id, patient);
    // Spread over the interval: a node that comes up does not ask all at once.
    this.#schedule(id, patient, how.health.interval * Math.random());
  }

  #schedule(id: string, patient: Patient, seconds: number): void {
    if (this.#stopped || this.#patients.get(id) !== patient) return;
    patient.timer = setTimeout(() => this.#queue(id), seconds * 1000).unref();
  }

  #queue(id: string): void {
    this.#waiting.push(id);
    this.#next();
  }

  #next(): void {
    while (this.#running < PROBES_MAX && !this.#stopped) {
      const id = this.#waiting.shift();
      if (id === undefined) return;
      const patient = this.#patients.get(id);
      if (!patient) continue;
      this.#running++;
      void this.#examine(id, patient).finally(() => {
        this.#running--;
        this.#next();
      });
    }
  }

  async #examine(id: string, patient: Patient): Promise<void> {
    const { sandbox, ip, health, at } = patient;
    const stored = this.port.wish().endpoints.get(id);
    // Later changes of an endpoint leave what is there in place: only the first one has nothing to be asked.
    if (at === undefined && stored && this.port.isPending(stored)) return this.#schedule(id, patient, PENDING_SECONDS);
    const reason = await this.port.probe(sandbox, ip, health).then(
      () => undefined,
      (error) => toWeftError(error).message,
    );
    patient.at = Date.now();
    patient.passed = reason === undefined ? patient.passed + 1 : 0;
    patient.failed = reason === undefined ? 0 : patient.failed + 1;
    delete patient.reason;
    if (reason !== undefined) patient.reason = reason;
    if (this.#patients.get(id) === patient) this.#conclude(id, patient);
    this.#schedule(id, patient, health.interval);
  }

  #conclude(id: string, { health, passed, failed, reason }: Patient): void {
    const stored = this.port.wish().endpoints.get(id);
    if (!stored || this.#stopped) return;
    if (stored.unhealthy ? passed < health.healthy : failed < health.unhealthy) return;
    if (this.#judge(id, !stored.unhealthy)) this.port.tell(id, reason);
  }

  /** What cannot be written down is tried again with the next probe. */
  #judge(id: string, unhealthy: boolean): boolean {
    try {
      this.port.judge(id, unhealthy);
      return true;
    } catch (error) {
      this.port.trouble(toWeftError(error));
      return false;
    }
  }
}
