import { z } from 'zod';
import { ip, mac, name } from './scalars.js';

export const backendState = z.enum(['active', 'draining', 'unhealthy']);
export type BackendState = z.output<typeof backendState>;

/** Body of `PUT /v1/endpoints/SANDBOX:NETWORK`: a sandbox on a network. */
export const endpointBody = z
  .strictObject({
    addresses: z.array(ip).max(2).default([]).describe('at most one a family; allocated where the agent may'),
    mac: mac.optional().describe('derived from the first address when not given'),
    ifname: z
      .string()
      .regex(/^[a-zA-Z0-9_.-]{1,15}$/, 'an interface name has 1-15 characters')
      .optional()
      .describe('ethN in the order of connection when not given'),
    aliases: z.array(name).default([]).describe('further names of the endpoint on this network'),
    service: name.optional().describe('service this endpoint is a backend of'),
    weight: z.int().min(0).max(65535).default(1),
    state: backendState.default('active'),
  })
  .meta({ id: 'Endpoint' });

/** An endpoint as stored: addresses, MAC and interface name are filled in, and the id is split. */
export type Endpoint = Omit<z.output<typeof endpointBody>, 'mac' | 'ifname'> & {
  sandbox: string;
  network: string;
  mac: string;
  ifname: string;
};
