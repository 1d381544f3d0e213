import { type Server, serverText } from './server-address.js';

/** Queries in a row that a server must leave without an answer to be taken for dead: one may be a lost packet. */
const SILENT_TO_BE_DOWN = 2;
/** How long a dead server is left alone, in milliseconds: doubled each time it is found dead again. */
const PAUSE_MS = 1000;
const PAUSE_MAX_MS = 30_000;
/** How long it is remembered what a server cannot do: it may be replaced by one that can. */
const LACK_MS = 600_000;

/** Servers of which something is remembered at one time. */
const STATES_MAX = 4096;

/** What a server was found to lack: answers in the case of the question, EDNS. */
export type Lack = 'case' | 'edns';

interface State {
  silent: number;
  pause: number;
  /** Time until which nobody waits for it. */
  downUntil: number;
  readonly lacks: Map<Lack, number>;
}

/** Who is asked of some servers: in this order one after the other, and beside the first, to see whether they live again. */
export interface Order {
  inTurn: readonly Server[];
  beside: readonly Server[];
  /** None is known to live: nothing is lost by asking all at once. */
  allDown: boolean;
}

/** What is remembered of name servers from query to query. Times are milliseconds of `performance.now()`. */
export class Health {
  readonly #states = new Map<string, State>();

  order(servers: readonly Server[], now: number): Order {
    const up = servers.filter((server) => !this.#isDown(server));
    if (up.length === 0) return { inTurn: servers, beside: [], allDown: servers.length > 0 };
    const down = servers.filter((server) => this.#isDown(server));
    const beside = down.filter((server) => (this.#states.get(nameOf(server)) as State).downUntil <= now);
    // One query at a time is enough.
    for (const server of beside) this.#pause(this.#state(server), now);
    return { inTurn: [...up, ...down.filter((server) => !beside.includes(server))], beside, allDown: false };
  }

  answered(server: Server): void {
    const state = this.#states.get(nameOf(server));
    if (!state) return;
    state.silent = 0;
    state.pause = 0;
    if (state.lacks.size === 0) this.#states.delete(nameOf(server));
  }

  /** It did not answer in time, or cannot be reached. */
  failed(server: Server, now: number): void {
    const state = this.#state(server);
    if (++state.silent >= SILENT_TO_BE_DOWN && state.downUntil <= now) this.#pause(state, now);
  }

  found(server: Server, lack: Lack, now: number): void {
    this.#state(server).lacks.set(lack, now + LACK_MS);
  }

  lacks(server: Server, lack: Lack, now: number): boolean {
    return (this.#states.get(nameOf(server))?.lacks.get(lack) ?? 0) > now;
  }

  #isDown(server: Server): boolean {
    return (this.#states.get(nameOf(server))?.silent ?? 0) >= SILENT_TO_BE_DOWN;
  }

  #pause(state: State, now: number): void {
    state.pause = Math.min(state.pause === 0 ? PAUSE_MS : state.pause * 2, PAUSE_MAX_MS);
    state.downUntil = now + state.pause;
  }

  #state(server: Server): State {
    const name = nameOf(server);
    let state = this.#states.get(name);
    if (!state) {
      // Servers come and go with sandboxes: what is lost is learnt again.
      if (this.#states.size >= STATES_MAX) this.#states.clear();
      state = { silent: 0, pause: 0, downUntil: 0, lacks: new Map() };
      this.#states.set(name, state);
    }
    return state;
  }
}

/** One address is another server in another namespace. */
export const nameOf = (server: Server): string => `${serverText(server)} ${server.netns ?? ''}`;
