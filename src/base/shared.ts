/** Different texts that are remembered: more nodes, services and networks than any cluster of one agent has. */
const LIMIT = 16_384;

/** Keeps one copy of texts that come again and again, each time read anew from JSON: 32 bytes less for each row. */
export class Shared {
  readonly #known = new Map<string, string>();

  /** The first copy that was seen of this text. */
  text(text: string): string {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    // Who sends a new text every time shall not fill the memory.
    if (this.#known.size >= LIMIT) this.#known.clear();
    this.#known.set(text, text);
    return text;
  }
}
