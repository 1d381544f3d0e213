import { endpointMac } from '../base/mac.js';
import { BODIES, TABLES, type Table, type Wish } from '../model/registry.js';
import { parseWith } from '../model/scalars.js';
import { keptAddresses } from './allocate.js';
import type { Mutation } from './wish.js';

/** A whole wish as it is stated: bodies by table and id. */
export type Bodies = Partial<Record<Table, Record<string, unknown>>>;

/** Objects that others refer to come first. */
export const ORDER: readonly Table[] = ['networks', 'sandboxes', 'nodes', 'services', 'endpoints', 'peers'];
if (ORDER.length !== TABLES.length) throw new Error('ORDER must name every table');

/** Bodies that state addresses or subnets come before those that leave the choice to the agent. */
export function explicitFirst(bodies: Record<string, unknown>): [string, unknown][] {
  const states = ([, body]: [string, unknown]) => Number(hasAddresses(body));
  return Object.entries(bodies).sort((a, b) => states(b) - states(a));
}

function hasAddresses(body: unknown): boolean {
  const { addresses, subnets, vips } = (body ?? {}) as { addresses?: unknown[]; subnets?: unknown[]; vips?: object };
  return (addresses?.length ?? 0) > 0 || (subnets?.length ?? 0) > 0 || Object.keys(vips ?? {}).length > 0;
}

/**
 * Objects of the wish that are stated again, with what others could want of them (addresses, ports) as it will be:
 * two endpoints may swap their addresses in one wish.
 */
export function restated(wish: Wish, bodies: Bodies): Mutation[] {
  const out: Mutation[] = [];
  for (const [id, stated] of Object.entries(bodies.endpoints ?? {})) {
    const before = wish.endpoints.get(id);
    if (!before) continue;
    const body = parseWith(BODIES.endpoints, stated, `endpoint "${id}"`);
    const addresses = keptAddresses(body.addresses, before.spec.addresses);
    const [first] = addresses;
    // Networks of drivers that make no interface have neither.
    const mac = body.mac ?? (first === undefined ? '' : endpointMac(first));
    const { service: _before, ...kept } = before.spec;
    const serving = { state: body.state, ...(body.service !== undefined && { service: body.service }) };
    const spec = { ...kept, ...serving, addresses, mac, ifname: body.ifname ?? before.spec.ifname };
    out.push({ table: 'endpoints', id, stored: { ...before, spec } });
  }
  for (const [id, body] of Object.entries(bodies.sandboxes ?? {})) {
    const before = wish.sandboxes.get(id);
    if (!before) continue;
    const { ports } = parseWith(BODIES.sandboxes, body, `sandbox "${id}"`);
    out.push({ table: 'sandboxes', id, stored: { ...before, spec: { ...before.spec, ports } } });
  }
  for (const [id, body] of Object.entries(bodies.services ?? {})) {
    const before = wish.services.get(id);
    if (!before) continue;
    const { publish, vips } = parseWith(BODIES.services, body, `service "${id}"`);
    out.push({
      table: 'services',
      id,
      stored: { ...before, spec: { ...before.spec, publish, vips: { ...before.spec.vips, ...vips } } },
    });
  }
  return out;
}
