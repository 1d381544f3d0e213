import { createHash } from 'node:crypto';

/** Host end of an endpoint's veth: `wf` and 11 hex digits of the id's SHA-256 (names have 15 bytes at most). */
export function hostEndName(endpointId: string): string {
  return `wf${createHash('sha256').update(endpointId).digest('hex').slice(0, 11)}`;
}
