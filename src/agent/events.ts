import type { AgentEvent } from '../api/agent.js';

/** Events kept for readers that resume. */
const KEPT = 1000;

/** What happened lately, numbered; readers follow or resume. */
export class Events {
  readonly #past: AgentEvent[] = [];
  readonly #listeners = new Set<(event: AgentEvent) => void>();
  #revision = 0;

  add(event: Omit<AgentEvent, 'revision' | 'time'>): void {
    const full: AgentEvent = { revision: ++this.#revision, time: new Date().toISOString(), ...event };
    this.#past.push(full);
    if (this.#past.length > KEPT) this.#past.shift();
    for (const listener of this.#listeners) listener(full);
  }

  since(revision: number): AgentEvent[] {
    return this.#past.filter((event) => event.revision > revision);
  }

  listen(listener: (event: AgentEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
