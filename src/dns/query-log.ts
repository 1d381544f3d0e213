import { createWriteStream, type WriteStream } from 'node:fs';
import { HEADER_BYTES } from './constants.js';
import { readName } from './name.js';
import type { Query, Transport } from './query.js';
import type { QueryOutcome } from './tally.js';

/** Of what waits for a slow disk; queries do not wait for it, and lines beyond are lost. */
const WAITING_BYTES = 8 * 1024 * 1024;

/** Writes a line of JSON for each query to a file, where one is named. It is appended to, and may be truncated at any time. */
export class QueryLog {
  #path: string | undefined;
  #file: WriteStream | undefined;

  /** @param trouble is told why the file cannot be written */
  constructor(readonly trouble: (message: string) => void) {}

  get isOn(): boolean {
    return this.#file !== undefined;
  }

  follow(path: string | undefined): void {
    if (path === this.#path) return;
    void this.close();
    this.#path = path;
    this.#file = path === undefined ? undefined : this.#open(path);
  }

  /** Writes what is left, and ends. */
  close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    if (!file) return Promise.resolve();
    return new Promise((resolve) => {
      file.once('close', resolve);
      file.end();
    });
  }

  /** @param seconds from the reading of the query to its answer */
  add(sandbox: string, query: Query, transport: Transport, outcome: QueryOutcome, seconds: number): void {
    const file = this.#file;
    if (!file || file.writableLength > WAITING_BYTES) return;
    const name = readName(query.bytes, HEADER_BYTES)?.text;
    const ms = Math.round(seconds * 1e6) / 1e3;
    const line = { time: new Date().toISOString(), sandbox, name, type: query.type, transport, outcome, ms };
    file.write(`${JSON.stringify(line)}\n`);
  }

  #open(path: string): WriteStream {
    const file = createWriteStream(path, { flags: 'a', mode: 0o640 });
    file.on('error', (error) => {
      this.trouble(`query log ${path} is given up: ${error.message}`);
      if (this.#file === file) this.#file = undefined;
    });
    return file;
  }
}
