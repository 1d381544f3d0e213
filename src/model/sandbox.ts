import { z } from 'zod';
import { ip, name } from './scalars.js';

/** A line of resolv.conf is made of these; `.` alone stands for "none" there (resolv.conf(5)). */
const searchDomain = z
  .string()
  .regex(
    /^(\.|[a-zA-Z0-9_-]{1,63}(\.[a-zA-Z0-9_-]{1,63})*\.?)$/,
    'a search domain has labels of letters, digits, - and _',
  );

/** Body of `PUT /v1/sandboxes/NAME`. Without netns and pid weft makes a namespace of its own, pinned in its run dir. */
export const sandboxBody = z
  .strictObject({
    netns: z.string().startsWith('/').optional().describe('path of an existing network namespace'),
    pid: z.int().positive().optional().describe('process whose network namespace to use'),
    hostname: name.optional(),
    dns: z.array(ip).default([]).describe('resolvers for names that weft does not know; the node’s when empty'),
    dnsSearch: z.array(searchDomain).default([]).describe('search domains of its resolv.conf'),
    labels: z.record(z.string(), z.string()).default({}),
  })
  .refine((body) => body.netns === undefined || body.pid === undefined, {
    message: 'netns and pid exclude each other',
  })
  .meta({ id: 'Sandbox' });

export type Sandbox = z.output<typeof sandboxBody>;
