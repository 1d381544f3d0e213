import type { Response } from './response.js';

/** All answers together, of all sandboxes: some 40,000 of usual size. */
const CACHE_BYTES = 32 * 1024 * 1024;
/** What an entry takes beside its key and its message, as measured: objects, numbers, a slot of a map. */
const ENTRY_BYTES = 700;
/** How long an answer that has run out is kept for the case that nobody answers: RFC 8767 section 5 says one to three days. */
const STALE_SECONDS = 86_400;

/** An answer that is kept. Times are milliseconds of `performance.now()`. */
export interface Kept {
  readonly key: string;
  readonly since: number;
  readonly expires: number;
  /** Once it has run out: before this time it is of no use to ask again (RFC 8767 section 5, failure recheck timer). */
  recheck: number;
  readonly rest: Omit<Response, 'bytes'>;
  /** A character for each byte: a buffer would take three times as much. */
  readonly text: string;
  readonly bytes: number;
  readonly share: Share;
  /** Neighbours in the order of use. */
  older: Kept | undefined;
  newer: Kept | undefined;
}

/** What one sandbox asked for, in the order of use: a list, as a map takes 30 µs to move one of 40,000 to its end. */
interface Share {
  readonly owner: string;
  bytes: number;
  oldest: Kept | undefined;
  newest: Kept | undefined;
}

/**
 * Answers of name servers, for as long as they are true and some time longer. Shared by all sandboxes that ask the same
 * servers. Where room is short, the sandbox that filled most of it gives up what it has not used for longest: one that
 * asks for random names displaces its own.
 */
export class Cache {
  readonly #entries = new Map<string, Kept>();
  readonly #shares = new Map<string, Share>();
  #bytes = 0;

  constructor(readonly limit: number = CACHE_BYTES) {}

  get bytes(): number {
    return this.#bytes;
  }

  get entries(): number {
    return this.#entries.size;
  }

  /** What is kept under a key, be it run out. */
  get(key: string, now: number): Kept | undefined {
    const kept = this.#entries.get(key);
    if (!kept) return undefined;
    if (now >= kept.expires + STALE_SECONDS * 1000) {
      this.#remove(kept);
      return undefined;
    }
    if (kept.newer) {
      unlink(kept);
      append(kept);
    }
    return kept;
  }

  /** @param seconds for which it is true */
  put(key: string, owner: string, { bytes: message, ...rest }: Response, seconds: number, now: number): void {
    const old = this.#entries.get(key);
    if (old) this.#remove(old);
    const bytes = ENTRY_BYTES + key.length + message.length;
    if (bytes > this.limit) return;
    let share = this.#shares.get(owner);
    if (!share) {
      share = { owner, bytes: 0, oldest: undefined, newest: undefined };
      this.#shares.set(owner, share);
    }
    const times = { since: now, expires: now + seconds * 1000, recheck: 0 };
    const text = message.toString('latin1');
    const kept: Kept = { key, ...times, rest, text, bytes, share, older: undefined, newer: undefined };
    append(kept);
    share.bytes += bytes;
    this.#entries.set(key, kept);
    this.#bytes += bytes;
    while (this.#bytes > this.limit) this.#displace();
  }

  #displace(): void {
    let largest: Share | undefined;
    for (const share of this.#shares.values()) if (!largest || share.bytes > largest.bytes) largest = share;
    if (largest?.oldest) this.#remove(largest.oldest);
  }

  #remove(kept: Kept): void {
    const { key, share, bytes } = kept;
    unlink(kept);
    share.bytes -= bytes;
    if (!share.oldest) this.#shares.delete(share.owner);
    this.#entries.delete(key);
    this.#bytes -= bytes;
  }
}

/** The answer as it was put. */
export const responseOf = ({ rest, text }: Kept): Response => ({ ...rest, bytes: Buffer.from(text, 'latin1') });

function append(kept: Kept): void {
  const { share } = kept;
  kept.older = share.newest;
  if (share.newest) share.newest.newer = kept;
  else share.oldest = kept;
  share.newest = kept;
}

function unlink(kept: Kept): void {
  const { share, older, newer } = kept;
  if (older) older.newer = newer;
  else share.oldest = newer;
  if (newer) newer.older = older;
  else share.newest = older;
  kept.older = undefined;
  kept.newer = undefined;
}
