import { TYPE } from './constants.js';
import type { Rdata } from './record.js';
import type { Server } from './server-address.js';
import type { NameEntry } from './view.js';

/** What a sandbox is told. */
export type Outcome =
  /** Sets of packed addresses of one type, one a network, none of them empty. */
  | { kind: 'addresses'; type: typeof TYPE.A | typeof TYPE.AAAA; sets: Uint8Array[] }
  | { kind: 'pointer'; target: string }
  /** Records under the name that was asked for, and others that whoever asks will want next. */
  | { kind: 'records'; answers: Rdata[]; additionals: { name: string; data: Rdata }[] }
  | Negative
  | { kind: 'forward'; servers: readonly Server[] };

/**
 * `nodata`: the name exists, or names below it do, and it has nothing of this type. `nxdomain`: it does not exist.
 * `zone` is how many of the name's last labels are the name of the zone that says so; 0 is the root.
 */
export interface Negative {
  kind: 'nodata' | 'nxdomain';
  zone: number;
}

/** What entries have of a type. ANY is answered with one of the types that there are (RFC 8482 section 4.1). */
export function ofType(found: readonly NameEntry[], type: number): Outcome | undefined {
  if (type === TYPE.ANY) return ofType(found, TYPE.A) ?? ofType(found, TYPE.AAAA) ?? ofType(found, TYPE.TXT);
  if (type === TYPE.TXT) {
    const texts = found.flatMap(({ txt }) => txt ?? []);
    return texts.length > 0 ? { kind: 'records', answers: texts, additionals: [] } : undefined;
  }
  if (type !== TYPE.A && type !== TYPE.AAAA) return undefined;
  const sets = found.map((entry) => (type === TYPE.A ? entry.a : entry.aaaa)).filter((set) => set.length > 0);
  return sets.length > 0 ? { kind: 'addresses', type, sets } : undefined;
}
