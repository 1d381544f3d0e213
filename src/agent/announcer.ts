import type { Ip, Mac } from '../base/ip.js';
import { announcement } from '../codec/announcement.js';
import type { Spaces } from '../kernel/real/spaces.js';
import type { Wish } from '../model/registry.js';
import type { Change } from '../network/affected.js';
import { type Announcement, announcements } from '../network/announce.js';
import { networkNs, type World } from '../network/world.js';
import type { Ns } from '../objects/kind.js';
import type { Neighbour } from '../objects/neighbour.js';
import type { Op } from '../reconcile/plan.js';

/** RFC 5227 section 1.1, ANNOUNCE_NUM: everything is said twice, for one may be lost or find a port not yet up. */
const AGAIN_MS = 1000;
/** Caches of containers know an address for a minute at most; rows that went longer ago need no correction. */
const REMEMBERED_MS = 600_000;
/** Of each kind: as many as a large network has endpoints. */
const REMEMBERED = 20_000;

/** Tells containers where addresses are, after a pass has changed it. */
export class Announcer {
  /** MACs of rows that went, by namespace and address. */
  readonly #last = new Map<string, { mac: Mac; at: number }>();
  #again: Announcement[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(
    readonly spaces: Spaces,
    readonly onTrouble: (error: unknown) => void,
  ) {}

  /** The wish changed: an endpoint that goes from here may come to life elsewhere, with another MAC. */
  changed(mutations: readonly Change[], before: Wish): void {
    for (const { table, id } of mutations) {
      const spec = table === 'endpoints' ? before.endpoints.get(id)?.spec : undefined;
      if (spec) for (const ip of spec.addresses) this.#remember(networkNs(spec.network), ip, spec.mac);
    }
  }

  /** Operations were done in a pass. The namespaces must be in use (`Spaces.begin`). */
  passed(world: World, done: readonly Op[]): void {
    const due = announcements(world, done, (ns, ip) => this.#lastMac(ns, ip));
    for (const op of done) {
      if (op.kind !== 'neighbour' || op.verb !== 'remove') continue;
      const { ip, mac } = op.have as Neighbour;
      this.#remember(op.ns, ip, mac);
    }
    if (due.length === 0) return;
    this.#send(due);
    const said = new Set(due.map(idOf));
    this.#again = [...this.#again.filter((a) => !said.has(idOf(a))), ...due];
    this.#timer ??= setTimeout(() => this.#repeat(), AGAIN_MS).unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #repeat(): void {
    this.#timer = undefined;
    this.spaces.begin();
    try {
      this.#send(this.#again.splice(0));
    } finally {
      this.spaces.passed();
    }
  }

  #send(due: readonly Announcement[]): void {
    const segments = new Map<string, { ns: Ns; dev: string; frames: Buffer[] }>();
    for (const { ns, dev, ip, mac } of due) {
      const id = `${ns} ${dev}`;
      const segment = segments.get(id) ?? { ns, dev, frames: [] };
      segment.frames.push(announcement(ip, mac));
      segments.set(id, segment);
    }
    for (const { ns, dev, frames } of segments.values()) {
      const space = this.spaces.open(ns);
      if (!space) continue;
      try {
        space.sendFrames(dev, frames);
      } catch (error) {
        // The interface went in the meantime, or is down: nobody is there to hear it.
        if (!['ENODEV', 'ENETDOWN', 'ENXIO'].includes((error as NodeJS.ErrnoException).code ?? ''))
          this.onTrouble(error);
      }
    }
  }

  #lastMac(ns: Ns, ip: Ip): Mac | undefined {
    const last = this.#last.get(`${ns} ${ip}`);
    return last && Date.now() - last.at < REMEMBERED_MS ? last.mac : undefined;
  }

  #remember(ns: Ns, ip: Ip, mac: Mac): void {
    const id = `${ns} ${ip}`;
    this.#last.delete(id);
    this.#last.set(id, { mac, at: Date.now() });
    const [oldest] = this.#last.keys();
    if (this.#last.size > REMEMBERED && oldest !== undefined) this.#last.delete(oldest);
  }
}

const idOf = ({ ns, dev, ip }: Announcement): string => `${ns} ${dev} ${ip}`;
