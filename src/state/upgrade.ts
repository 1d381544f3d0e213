import type { z } from 'zod';
import type { Peer } from '../model/peer.js';
import { BODIES, type Stored, TABLES, type Table } from '../model/registry.js';
import { keptPeer, shared } from './defaults.js';

/** Fields of each table that have a value where nothing is given, or parts that have. */
const FIELDS = Object.fromEntries(
  TABLES.map((table) => [
    table,
    Object.entries(BODIES[table].shape as Record<string, z.ZodType>).map(([field, schema]) => {
      const { success, data } = schema.safeParse(undefined);
      return { field, schema, hasDefault: success && data !== undefined };
    }),
  ]),
) as Record<Table, { field: string; schema: z.ZodType; hasDefault: boolean }[]>;

/**
 * A stored object with the defaults of fields that its version did not know, also inside lists (published ports). What it
 * says stays as it is: a value that would be refused today was accepted once and is in the kernel.
 */
export function upgraded(stored: Stored): Stored {
  const spec = stored.spec as unknown as Record<string, unknown>;
  const filled: Record<string, unknown> = {};
  for (const { field, schema, hasDefault } of FIELDS[stored.table]) {
    const value = spec[field];
    if (value === undefined ? !hasDefault : typeof value !== 'object') continue;
    const { success, data } = schema.safeParse(value);
    if (success) filled[field] = data;
  }
  const whole = { ...spec, ...filled } as unknown as Stored['spec'];
  if (stored.table !== 'peers') return { ...stored, spec: whole };
  const { node } = stored;
  return { ...stored, spec: keptPeer(whole as Peer), ...(node !== undefined && { node: shared.text(node) }) };
}
