import type { Logger } from 'pino';
import { toWeftError } from '../base/errors.js';
import type { Ip } from '../base/ip.js';
import type { Events } from './events.js';

/** Says what happened: to the log, and to the readers of events. */
export class Notices {
  constructor(
    readonly log: Logger,
    readonly events: Events,
  ) {}

  report(type: 'drift' | 'trouble', object: string, message: string, hint?: string): void {
    this.log.warn({ object, ...(hint !== undefined && { hint }) }, `${type}: ${message}`);
    this.events.add({ type, object, message, ...(hint !== undefined && { details: { hint } }) });
  }

  /** What went wrong with an object, or with the node as a whole. */
  failed(error: unknown, object = ''): void {
    const { message, hint } = toWeftError(error);
    this.report('trouble', object, message, hint);
  }

  /** Work that nobody waits for: what fails is told, and the next notification or sweep tries again. */
  async attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.failed(error);
    }
  }

  /** A path to another node carries `mtu` bytes where its route promises more; undefined: as many again. */
  path(vtep: Ip, mtu: number | undefined, promised: number): void {
    const details = { vtep, mtu: mtu ?? promised, route: promised };
    const message =
      mtu === undefined
        ? `the path to ${vtep} carries ${promised} bytes again`
        : `the path to ${vtep} carries ${mtu} bytes, its route promises ${promised}: senders are told`;
    this.log.warn(details, message);
    this.events.add({ type: mtu === undefined ? 'recovered' : 'trouble', message, details });
  }

  /** A backend was taken out because its probes fail, or let back. */
  health(object: string, reason: string | undefined): void {
    if (reason !== undefined) {
      this.report('trouble', object, `unhealthy, taken out of balancing: ${reason}`);
      return;
    }
    this.log.info({ object }, 'healthy again');
    this.events.add({ type: 'recovered', object, message: 'healthy, back in balancing' });
  }

  /** A range of addresses is nearly used up; undefined: no more. */
  pool(object: string, warning: string | undefined): void {
    if (warning === undefined) this.events.add({ type: 'recovered', object, message: 'addresses are free again' });
    else this.report('trouble', object, warning, 'widen --ip-range, or free endpoints');
  }
}
