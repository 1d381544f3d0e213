import type { Response } from './response.js';

/** All answers together, of all sandboxes: some 45,000 of usual size. */
const CACHE_BYTES = 32 * 1024 * 1024;
/** What an entry takes beside its key's and its message's bytes: objects, the places of its TTLs, two slots of maps. */
const ENTRY_BYTES = 600;
/** How long an answer that has run out is kept for the case that nobody answers: RFC 8767 section 5 says one to three days. */
const STALE_SECONDS = 86_400;

/** An answer that is kept. Times are milliseconds of `performance.now()`. */
export interface Kept {
  readonly response: Response;
  readonly since: number;
  readonly expires: number;
  /** Once it has run out: before this time it is of no use to ask again (RFC 8767 section 5, failure recheck timer). */
  recheck: number;
  readonly owner: string;
  readonly bytes: number;
}

/** Keys of one sandbox's entries, the one longest unused first. */
interface Share {
  bytes: number;
  entries: Map<string, Kept>;
}

/**
 * Answers of name servers, for as long as they are true and some time longer. Shared by all sandboxes that ask the same
 * servers. Where room is short, the sandbox that filled most of it gives up what it has not used for longest: one that
 * asks for random names displaces its own.
 */
export class Cache {
  readonly #ownerOf = new Map<string, string>();
  readonly #shares = new Map<string, Share>();
  #bytes = 0;

  constructor(readonly limit: number = CACHE_BYTES) {}

  get bytes(): number {
    return this.#bytes;
  }

  get entries(): number {
    return this.#ownerOf.size;
  }

  /** What is kept under a key, be it run out. */
  get(key: string, now: number): Kept | undefined {
    const owner = this.#ownerOf.get(key);
    if (owner === undefined) return undefined;
    const { entries } = this.#shares.get(owner) as Share;
    const kept = entries.get(key) as Kept;
    if (now >= kept.expires + STALE_SECONDS * 1000) {
      this.#remove(key, kept);
      return undefined;
    }
    entries.delete(key);
    entries.set(key, kept);
    return kept;
  }

  /** @param seconds for which it is true */
  put(key: string, owner: string, response: Response, seconds: number, now: number): void {
    const old = this.get(key, now);
    if (old) this.#remove(key, old);
    const bytes = ENTRY_BYTES + key.length + response.bytes.length;
    if (bytes > this.limit) return;
    const kept: Kept = { response, since: now, expires: now + seconds * 1000, recheck: 0, owner, bytes };
    let share = this.#shares.get(owner);
    if (!share) {
      share = { bytes: 0, entries: new Map() };
      this.#shares.set(owner, share);
    }
    share.entries.set(key, kept);
    share.bytes += bytes;
    this.#ownerOf.set(key, owner);
    this.#bytes += bytes;
    while (this.#bytes > this.limit) this.#displace();
  }

  #displace(): void {
    let largest: Share | undefined;
    for (const share of this.#shares.values()) if (!largest || share.bytes > largest.bytes) largest = share;
    const [oldest] = largest?.entries ?? [];
    if (oldest) this.#remove(...oldest);
  }

  #remove(key: string, kept: Kept): void {
    const share = this.#shares.get(kept.owner) as Share;
    share.entries.delete(key);
    share.bytes -= kept.bytes;
    if (share.entries.size === 0) this.#shares.delete(kept.owner);
    this.#ownerOf.delete(key);
    this.#bytes -= kept.bytes;
  }
}
