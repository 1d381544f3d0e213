import type { Proto } from './flow.js';
import type { Caller } from './mesh-callers.js';
import type { MeshLab } from './mesh-lab.js';
import type { Traffic } from './traffic-port.js';

/** What a flow that stays was told, and whose it is. */
export interface Said {
  name: string;
  proto: Proto;
  text: string;
}

/** Flows that stay, some of each caller and protocol. */
export class Standing {
  readonly #flows: { name: string; from: Traffic; id: string; proto: Proto }[] = [];

  constructor(
    readonly lab: MeshLab,
    /** Tells these flows from others of the same callers. */
    readonly kind = '',
  ) {}

  async open(callers: readonly Caller[], each: number, protos: readonly Proto[] = ['tcp', 'udp']): Promise<void> {
    for (const caller of callers) {
      for (const proto of protos) {
        for (let i = 0; i < each; i++) {
          const id = `${this.kind}${caller.name} ${proto} ${i}`;
          const from = caller.from(this.lab);
          await from.open(id, proto, caller.host, caller.port);
          this.#flows.push({ name: id, from, id, proto });
        }
      }
    }
  }

  /** One exchange on each: what each was told. */
  async say(): Promise<Said[]> {
    const out = [];
    for (const { name, from, id, proto } of this.#flows) out.push({ name, proto, text: await from.say(id) });
    return out;
  }

  async close(): Promise<void> {
    for (const { from, id } of this.#flows.splice(0)) await from.close(id);
  }
}
