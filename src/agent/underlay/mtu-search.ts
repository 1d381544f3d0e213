/**
 * Finds the largest packet that passes a path, one size at a time. Where nothing is wrong it takes one: the full size.
 * Where a smaller size was found before, that and the next larger one are tried after it; else it halves.
 */
export class MtuSearch {
  /** Largest size that is known to pass; 0 while none is. */
  #low = 0;
  /** Smallest that did not. */
  #high = Number.POSITIVE_INFINITY;
  readonly #failed = new Set<number>();

  constructor(
    /** Bytes of a whole IP packet: what the route promises. */
    readonly full: number,
    /** The smallest size worth knowing. */
    readonly floor: number,
    /** What an earlier search found. */
    readonly hint?: number,
  ) {}

  /** The next size to try; undefined when the result is known. */
  next(): number | undefined {
    const { full, floor, hint } = this;
    if (this.#low >= full) return undefined;
    if (!this.#failed.has(full)) return full;
    if (this.#low === 0) return [hint, floor].find((size) => size !== undefined && size < this.#high);
    if (this.#high - this.#low <= 1) return undefined;
    if (this.#low === hint) return hint + 1;
    return this.#low + Math.floor((this.#high - this.#low) / 2);
  }

  /** A packet of that size got through. */
  passed(size: number): void {
    this.#low = Math.max(this.#low, size);
    // A larger one that did not was lost by chance, or its answer came late.
    if (this.#low >= this.#high) this.#high = Math.min(Number.POSITIVE_INFINITY, ...this.#larger());
  }

  failed(size: number): void {
    this.#failed.add(size);
    if (size > this.#low) this.#high = Math.min(this.#high, size);
  }

  /** The largest size that passes; undefined where not even the smallest does: nobody answers. */
  get result(): number | undefined {
    return this.#low === 0 ? undefined : Math.min(this.#low, this.full);
  }

  #larger(): number[] {
    return [...this.#failed].filter((size) => size > this.#low);
  }
}
