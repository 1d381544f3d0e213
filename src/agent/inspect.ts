import type { Listing } from '../api/agent.js';
import { WeftError } from '../base/errors.js';
import { conntrack } from './inspect/flows.js';
import { ipvs } from './inspect/ipvs.js';
import type { Look, View } from './inspect/look.js';
import { fdb, neighbours, vteps } from './inspect/plain.js';
import { ports } from './inspect/ports.js';
import { rules } from './inspect/rules.js';
import { vips } from './inspect/vips.js';

/** Listings of the kernel by the name they have in `GET /v1/inspect/…`. */
const VIEWS: Readonly<Record<string, View>> = { vips, vteps, fdb, neighbours, ipvs, rules, conntrack, ports };

export const inspectable = (): string[] => Object.keys(VIEWS);

/** Rows of a view as the kernel has them now, each compared with the wish; what is wished and missing is a row too. */
export async function inspect(look: Look, what: string): Promise<Listing> {
  const view = VIEWS[what];
  if (!view) throw new WeftError('WEFT_NOT_FOUND', `there is no view "${what}"`);
  look.kernel.begin();
  try {
    const found = await view(look);
    return Array.isArray(found) ? { items: found } : found;
  } finally {
    look.kernel.passed();
  }
}
