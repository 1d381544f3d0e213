import { nameWire } from './name.js';

/**
 * Writes a DNS message of at most `limit` bytes. Past the limit nothing is written and `full` says so: a caller marks
 * the position before each record and rewinds to it, which is how a reply is truncated at a record's boundary without
 * computing sizes first.
 */
export class MessageWriter {
  #bytes: Buffer;
  /** Where each name suffix, as its wire bytes, was written first. Exact case, so that compression preserves case. */
  readonly #suffixes = new Map<string, number>();
  at = 0;
  full = false;

  constructor(readonly limit: number) {
    this.#bytes = Buffer.allocUnsafe(Math.min(limit, 512));
  }

  #room(n: number): number {
    const at = this.at;
    if (this.full || at + n > this.limit) {
      this.full = true;
      return -1;
    }
    if (at + n > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.min(this.limit, Math.max(this.#bytes.length * 2, at + n)));
      this.#bytes.copy(grown, 0, 0, at);
      this.#bytes = grown;
    }
    this.at = at + n;
    return at;
  }

  u8(n: number): this {
    const at = this.#room(1);
    if (at >= 0) this.#bytes.writeUInt8(n, at);
    return this;
  }
  u16(n: number): this {
    const at = this.#room(2);
    if (at >= 0) this.#bytes.writeUInt16BE(n, at);
    return this;
  }
  u32(n: number): this {
    const at = this.#room(4);
    if (at >= 0) this.#bytes.writeUInt32BE(n >>> 0, at);
    return this;
  }
  raw(bytes: Uint8Array): this {
    const at = this.#room(bytes.length);
    if (at >= 0) this.#bytes.set(bytes, at);
    return this;
  }

  /** @param compress false for names inside RDATA that must stay whole, such as SRV targets (RFC 2782) */
  name(text: string, compress = true): this {
    const wire = Buffer.from(nameWire(text));
    let from = 0;
    while (wire[from] !== 0) {
      const suffix = wire.toString('latin1', from);
      const seen = this.#suffixes.get(suffix);
      if (compress && seen !== undefined) {
        return this.raw(wire.subarray(0, from)).u16(0xc000 | seen);
      }
      // A pointer has 14 bits.
      if (seen === undefined && this.at + from <= 0x3fff) this.#suffixes.set(suffix, this.at + from);
      from += (wire[from] as number) + 1;
    }
    return this.raw(wire);
  }

  /** Overwrite 16 bits at an earlier position: counts and lengths known only afterwards. */
  patch16(at: number, n: number): this {
    if (at + 2 <= this.at) this.#bytes.writeUInt16BE(n, at);
    return this;
  }

  /** Forget everything written since `at`, names that would serve as compression targets included. */
  rewind(at: number): void {
    this.at = at;
    this.full = false;
    for (const [suffix, offset] of this.#suffixes) if (offset >= at) this.#suffixes.delete(suffix);
  }

  /** A view of what was written. */
  done(): Buffer {
    return this.#bytes.subarray(0, this.at);
  }
}
