import { z } from 'zod';

/** A day: who needs longer states it by the state of the endpoint. */
const LONGEST_MS = 86_400_000;

/** Body of `POST /v1/drain` and `/v1/undrain`: one of the three, and how long to wait. */
export const drainBody = z
  .strictObject({
    endpoint: z.string().optional().describe('SANDBOX:NETWORK, or the key of a peer'),
    service: z.string().optional().describe('all its backends, here and elsewhere; they go on serving others'),
    node: z.string().optional().describe('all backends on that node'),
    timeoutMs: z
      .int()
      .min(0)
      .max(LONGEST_MS)
      .optional()
      .describe('drain: what is left then is cut; the longest `drain` of the services when not given'),
  })
  .meta({ id: 'Drain' });
