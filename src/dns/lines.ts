import { WeftError } from '../base/errors.js';

/** A view of 10,000 services is a few MiB; this only stops a peer that never ends its line. */
const LINE_BYTES_MAX = 256 * 1024 * 1024;
const NEWLINE = 0x0a;

/** Cuts a byte stream into NDJSON lines. */
export class Lines {
  #pending: Uint8Array[] = [];
  #bytes = 0;

  /**
   * @returns the lines that this chunk completes, in order, without their newline
   * @throws WEFT_TOO_LARGE
   */
  push(chunk: Uint8Array): string[] {
    const lines: string[] = [];
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      this.#pending.push(chunk.subarray(from, end));
      lines.push(Buffer.concat(this.#pending).toString());
      this.#pending = [];
      this.#bytes = 0;
      from = end + 1;
    }
    this.#bytes += chunk.length - from;
    if (this.#bytes > LINE_BYTES_MAX)
      throw new WeftError('WEFT_TOO_LARGE', `a line has more than ${LINE_BYTES_MAX} bytes`);
    if (from < chunk.length) this.#pending.push(chunk.subarray(from));
    return lines;
  }
}
