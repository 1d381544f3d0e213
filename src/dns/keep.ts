import { HEADER_BYTES, OPT_BYTES } from './constants.js';
import type { Counters } from './counters.js';
import { be16, type Query } from './query.js';

/** Counters of queries that are answered out of what is kept, in the order in which the thread numbers them. */
export const HIT_OUTCOMES = ['answered', 'nodata', 'nxdomain', 'cached'] as const satisfies (keyof Counters)[];
export type HitOutcome = (typeof HIT_OUTCOMES)[number];

/** Under which terms the next one that asks the same, byte for byte but for id and case, may be given the same answer. */
export interface Terms {
  /** What such an answer counts as. */
  outcome: HitOutcome;
  /** Offset behind the question's name: up to there letters match in either case, and are answered as they came. */
  foldEnd: number;
  /** What makes it void when it changes: see `tags.ts`. */
  tags: readonly number[];
  /** Equal parts, one behind the other from an offset on: each answer begins with the next one. */
  rotation?: { at: number; width: number; count: number };
  /** Milliseconds from now for which it holds; for ever where not given. */
  expiresMs?: number;
  /** Offsets of 32-bit numbers of seconds in the answer that count down while it is kept. */
  ttlAt?: readonly number[];
}

/** Gives an answer to be kept. What changed since the query came makes it void at once, so that it may be called late. */
export type Keep = (answer: Uint8Array, terms: Terms) => void;

/** Does a query have nothing but a question and an OPT record without options? A cookie would make each its only one. */
export function isPlain(query: Query): boolean {
  return query.bytes.length === query.questionEnd + (query.edns ? OPT_BYTES : 0);
}

/** Behind the name of a query's question stand type and class. */
export const foldEnd = (query: Query): number => query.questionEnd - 4;

/**
 * How the addresses of a reply take turns; undefined where there are none to.
 * @param reply of `addressReply`
 */
export function rotationOf(query: Query, reply: Uint8Array): Terms['rotation'] | undefined {
  const count = be16(reply, 6);
  if (count < 2) return undefined;
  const bytes = reply.length - query.questionEnd - (query.edns ? OPT_BYTES : 0);
  return { at: query.questionEnd, width: bytes / count, count };
}

/** Octets of a message that may be kept, header included: the longest name, and more than is asked. */
export const ASKED_MAX = HEADER_BYTES + 500;
