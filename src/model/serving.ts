import { z } from 'zod';
import { name } from './scalars.js';

/** Services that one endpoint may be a backend of: each costs its sandbox a rule a VIP and one a published port. */
const SERVICES_MAX = 64;

/** The service that an endpoint is a backend of, or several. */
export const serving = z
  .union([z.string(), z.array(z.string()).min(1).max(SERVICES_MAX)])
  .superRefine((service, context) => {
    const names = servicesOf({ service });
    // A name's own words and code, which an issue of a union would hide.
    for (const text of names)
      for (const issue of name.safeParse(text).error?.issues ?? []) context.addIssue({ ...issue });
    const twice = names.find((id, i) => names.indexOf(id) !== i);
    if (twice !== undefined) context.addIssue({ code: 'custom', message: `"${twice}" is named twice` });
  });

/** What says of itself which services it serves: an endpoint, here or elsewhere. */
export interface Serving {
  service?: string | readonly string[] | undefined;
}

/** Services that an endpoint, here or elsewhere, is a backend of, as it names them. */
export function servicesOf({ service }: Serving): readonly string[] {
  if (service === undefined) return [];
  return typeof service === 'string' ? [service] : service;
}

export const serves = (spec: Serving, service: string): boolean => servicesOf(spec).includes(service);
