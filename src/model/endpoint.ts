import { z } from 'zod';
import { cidr, ip, mac, name } from './scalars.js';
import { serving } from './serving.js';

export const backendState = z.enum(['active', 'draining', 'unhealthy']);
export type BackendState = z.output<typeof backendState>;

/** A static route of an endpoint, in its sandbox. */
export const endpointRoute = z
  .strictObject({
    dst: cidr,
    via: ip.optional().describe('next hop; directly on the interface when not given'),
    metric: z.int().min(0).max(0xffffffff).optional(),
    type: z.enum(['unicast', 'blackhole', 'unreachable', 'prohibit']).default('unicast'),
  })
  .meta({ id: 'EndpointRoute' });

/** Bits a second; a limit below 8 kbit/s is taken for a slip of units. */
const rate = z.int().min(8_000).max(1e12);

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
    service: serving.optional().describe('service this endpoint is a backend of, or several'),
    weight: z.int().min(0).max(65535).default(1),
    state: backendState.default('active'),
    gwPriority: z
      .int()
      .min(-1000)
      .max(1000)
      .default(0)
      .describe('the endpoint with the highest gives the default route; the name of the network decides a tie'),
    defaultRoute: z.boolean().default(true).describe('false: never gives the default route'),
    routes: z.array(endpointRoute).default([]).describe('static routes in the sandbox'),
    sysctls: z
      .record(z.string().regex(/^net\.(ipv4|ipv6)\.(conf|neigh)\.IFNAME\.[a-z0-9_]+$/), z.string())
      .default({})
      .describe('settings of the interface: net.ipv4.conf.IFNAME.log_martians, with IFNAME as it stands'),
    bandwidth: z
      .strictObject({
        toSandbox: rate.optional().describe('bits a second into the sandbox'),
        fromSandbox: rate.optional().describe('bits a second out of it'),
      })
      .default({}),
  })
  .meta({ id: 'Endpoint' });

/** An endpoint as stored: addresses, MAC and interface name are filled in, and the id is split. */
export type Endpoint = Omit<z.output<typeof endpointBody>, 'mac' | 'ifname'> & {
  sandbox: string;
  network: string;
  mac: string;
  ifname: string;
};
