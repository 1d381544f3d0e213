import { z } from 'zod';
import { port } from './scalars.js';

/** Seconds. */
const seconds = (min: number, max: number) => z.number().min(min).max(max);
const times = z.int().min(1).max(100);

/** How the nodes that host a service's backends see whether these do their work. */
export const healthSpec = z
  .strictObject({
    type: z.enum(['tcp', 'http']).describe('tcp: it accepts a connection; http: it answers a GET with 200 to 399'),
    port: port.describe('port in the task'),
    path: z
      .string()
      .regex(/^\/[\x21-\x7e]*$/, 'a path begins with / and has no spaces')
      .optional()
      .describe('of http; / when not given'),
    interval: seconds(0.1, 3600).default(10).describe('seconds between the end of a probe and the next'),
    timeout: seconds(0.1, 600).default(5).describe('seconds after which a probe has failed'),
    healthy: times.default(2).describe('probes that have to pass in a row to be let back'),
    unhealthy: times.default(3).describe('probes that have to fail in a row to be taken out'),
  })
  .refine(({ type, path }) => type === 'http' || path === undefined, 'only http has a path')
  .meta({ id: 'Health' });

export type Health = z.output<typeof healthSpec>;
