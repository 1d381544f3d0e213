import { createHash } from 'node:crypto';

/** Slots that turns are dealt from, where weights differ: a share is kept to one in so many. */
export const SLOTS_MAX = 256;

/**
 * Sizes of tables for consistent hashing; primes, so that every step visits every entry. Ten entries a backend keep
 * their shares within some percent of each other.
 */
const TABLE_SIZES = [251, 1021, 4093, 16_381, 65_521] as const;
const ENTRIES_EACH = 10;

/** 2^32 over the golden ratio: its multiples modulo 2^32 lie as evenly as any (Knuth, TAOCP volume 3, 6.4). */
const GOLDEN = 0x9e3779b1;

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/**
 * Weights as small numbers in the same proportion: without their common divisor, and where they come to more than `most`
 * in sum, scaled down to that, with at least 1 each. (There may be more weights than `most`: then they are 1 each.)
 * @param weights above 0
 */
export function sharesOf(weights: readonly number[], most = SLOTS_MAX): number[] {
  const divisor = weights.reduce(gcd, 0);
  const reduced = weights.map((weight) => weight / divisor);
  const total = sum(reduced);
  if (total <= most) return reduced;
  const exact = reduced.map((weight) => (weight * most) / total);
  const shares = exact.map((share) => Math.max(1, Math.floor(share)));
  // What rounding left over goes to those it took most from.
  const byLoss = exact.map((share, i) => [i, share - (shares[i] as number)] as const).sort(([, a], [, b]) => b - a);
  let left = most - sum(shares);
  for (const [i] of byLoss) if (left-- > 0) (shares[i] as number)++;
  // What the smallest have too much, the largest give.
  for (let over = sum(shares) - most; over > 0; over--) {
    const largest = shares.reduce((a, share, i) => (share > (shares[a] as number) ? i : a), 0);
    if (shares[largest] === 1) break;
    (shares[largest] as number)--;
  }
  return shares;
}

/**
 * The order of turns: who has more than one is spread over the round (smooth weighted round robin). It begins at a place
 * drawn from who takes part and when that was last changed: counters of the kernel begin anew with every change of the
 * number of turns, and where changes come faster than connections the same backend would get them all.
 * @param ids of the backends, 32 bits each
 * @param weights above 0
 * @param revision of the last change; places of revisions that follow each other lie evenly over the round
 * @returns indexes of backends
 */
export function turnsOf(ids: readonly number[], weights: readonly number[], revision: number): number[] {
  const turns = roundOf(sharesOf(weights));
  const drawn = ids.reduce((hash, id) => Math.imul(hash ^ id, GOLDEN), 0) + Math.imul(revision, GOLDEN);
  const start = Math.floor(((drawn >>> 0) / 2 ** 32) * turns.length);
  return [...turns.slice(start), ...turns.slice(0, start)];
}

function roundOf(shares: readonly number[]): number[] {
  // Alike, as most are: of 10,000 services this is asked again and again.
  if (shares.every((share) => share === 1)) return shares.map((_, i) => i);
  const total = sum(shares);
  const credit = shares.map(() => 0);
  const turns: number[] = [];
  for (let turn = 0; turn < total; turn++) {
    let next = 0;
    for (const [i, share] of shares.entries()) {
      credit[i] = (credit[i] as number) + share;
      if ((credit[i] as number) > (credit[next] as number)) next = i;
    }
    credit[next] = (credit[next] as number) - total;
    turns.push(next);
  }
  return turns;
}

/**
 * The table of Maglev (Eisenbud et al., NSDI 2016, section 3.4): backends fill it in turn, each by its own permutation of
 * the entries, as many at a time as its share. When one comes or goes, few entries of others change. A pure function of
 * names and weights: every node has the same.
 * @param names of the backends
 * @param weights above 0
 * @returns the index of a backend for each entry
 */
export function tableOf(names: readonly string[], weights: readonly number[]): number[] {
  const size = TABLE_SIZES.find((entries) => entries >= names.length * ENTRIES_EACH) ?? TABLE_SIZES[4];
  const shares = sharesOf(weights, size);
  const walks = names.map((name) => {
    const digest = createHash('sha256').update(name).digest();
    return { next: digest.readUInt32BE(0) % size, step: 1 + (digest.readUInt32BE(4) % (size - 1)) };
  });
  const table: number[] = new Array(size).fill(-1);
  for (let filled = 0; filled < size; ) {
    for (const [i, walk] of walks.entries()) {
      for (let n = 0; n < (shares[i] as number) && filled < size; n++, filled++) {
        while (table[walk.next] !== -1) walk.next = (walk.next + walk.step) % size;
        table[walk.next] = i;
      }
    }
  }
  return table;
}
