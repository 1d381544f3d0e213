/**
 * Runs work on request: at once, and then not again before a rest. Requests during the work or the rest are one, and are
 * answered after it.
 */
export class Paced {
  #due = false;
  #busy = false;
  #stopped = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    /** Must not reject. */
    readonly work: () => Promise<void>,
    readonly restMs: number,
  ) {}

  request(): void {
    this.#due = true;
    if (!this.#busy) void this.#run();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #run(): Promise<void> {
    if (!this.#due || this.#stopped) return;
    this.#due = false;
    this.#busy = true;
    await this.work();
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#busy = false;
      void this.#run();
    }, this.restMs).unref();
  }
}
