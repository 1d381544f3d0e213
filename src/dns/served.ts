/** Backends of a service on one network and the ports by which they are asked for: what SRV tells of. As JSON. */
export interface ServedJson {
  /** In the order of their addresses; `weight` is 1 and `priority` 0 when not given (RFC 2782). */
  backends: { a?: string; aaaa?: string; weight?: number; priority?: number }[];
  /** Ports that lead to another than their own number, or have a name; the first that fits counts. */
  ports?: ServedPort[];
}

/** Numbers `from` to `to` lead to `target` and the numbers behind it. */
export interface ServedPort {
  proto: string;
  from: number;
  to: number;
  target: number;
  name?: string;
}

export interface Served {
  backends: Backends;
  ports: readonly ServedPort[];
}

/** Addresses in network order; it has one at least. */
export interface Backend {
  priority: number;
  weight: number;
  a: Uint8Array | undefined;
  aaaa: Uint8Array | undefined;
}

/** Families, priority, weight, IPv4 and IPv6 address. */
const BACKEND_BYTES = 24;

/** Backends, packed: 100,000 are 2.4 MB, and ten times that as objects. */
export class Backends {
  readonly #bytes: Buffer;

  constructor(backends: readonly Backend[]) {
    this.#bytes = Buffer.alloc(backends.length * BACKEND_BYTES);
    for (const [i, { priority, weight, a, aaaa }] of backends.entries()) {
      const at = i * BACKEND_BYTES;
      this.#bytes.writeUInt8((a ? 1 : 0) | (aaaa ? 2 : 0), at);
      this.#bytes.writeUInt8(priority, at + 1);
      this.#bytes.writeUInt16BE(weight, at + 2);
      if (a) this.#bytes.set(a, at + 4);
      if (aaaa) this.#bytes.set(aaaa, at + 8);
    }
  }

  *[Symbol.iterator](): Generator<Backend> {
    for (let at = 0; at < this.#bytes.length; at += BACKEND_BYTES) {
      const families = this.#bytes.readUInt8(at);
      yield {
        priority: this.#bytes.readUInt8(at + 1),
        weight: this.#bytes.readUInt16BE(at + 2),
        a: families & 1 ? this.#bytes.subarray(at + 4, at + 8) : undefined,
        aaaa: families & 2 ? this.#bytes.subarray(at + 8, at + 24) : undefined,
      };
    }
  }
}
